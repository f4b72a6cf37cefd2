package bgp_test

import (
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

var passiveRows = []row{
	{feature: "passive", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1, passive)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
	}},
	{feature: "passive, the router comes again", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		// With a long hold time only the second connection says that the first one is dead.
		s := g.speaker(1, passive, func(p *bgp.Peer) { p.HoldTime = 90 * time.Second })
		s.sync(g.vip(0))
		g.waitUp(r, g.at(1, 1, 2))
		s.waitEstablished("tor1")
		// Its socket dies with no segment of its end, as with a router that loses power.
		cut(g.t, g.lbs[0], "tor1")
		r.signal(g.t, syscall.SIGKILL)
		g.sockets(1)
		mend(g.t, g.lbs[0])
		start := time.Now()
		r.restart(g.t)
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		g.note("back in %s", since(start))
		g.lost(s, "tor1", 1, bgp.CauseConnection, "")
	}},
	{feature: "several passive peers, one listener", run: func(g *rig) {
		g.build(3, 1)
		for i := range g.tors {
			g.router(i+1, withPassword([]string{"", "two", "three"}[i]))
		}
		cfg := g.config(1, passive)
		cfg.Peers[1].Password, cfg.Peers[2].Password = "two", "three"
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.sync(g.vip(0))
		for i := range g.tors {
			g.leaves(i+1, g.vip(0), "lb1")
		}
		if out := g.lbs[0].Run(g.t, "ss", "-Hltn", "sport", "=", ":179"); lines(out, "LISTEN") != 1 {
			g.t.Errorf("listeners:\n%s", out)
		}
		// One peer goes, and the listener stays for the others.
		s.call("SetPeers", cfg.Peers[:2])
		g.leaves(3, g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.call("SetPeers", cfg.Peers[:0])
		g.leaves(1, g.vip(0))
		if out := g.lbs[0].Run(g.t, "ss", "-Hltn", "sport", "=", ":179"); lines(out, "LISTEN") != 0 {
			g.t.Errorf("listeners without a passive peer:\n%s", out)
		}
	}},
	{feature: "a stranger connects", run: func(g *rig) {
		g.build(2, 1)
		g.router(1)
		r := g.router(2)
		cfg := g.config(1, passive)
		cfg.Peers = cfg.Peers[:1]
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.waitLog(s, "refused a BGP connection", g.at(2, 1, 1), "no passive peer has this address")
		if up, err := r.established(g.at(2, 1, 2)); err != nil || up {
			g.t.Errorf("a router that is no peer has a session: %v", err)
		}
	}},
	{feature: "dynamic neighbours", run: func(g *rig) {
		g.build(1, 2)
		net := g.network(1, 1)
		side := g.side(1)
		side.neighbors = side.neighbors[:1]
		side.neighbors[0].addr = net
		r := g.start(1, side)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		s.call("Stop", bgp.StopDrain)
		g.leaves(1, g.vip(0))
	}},
}
