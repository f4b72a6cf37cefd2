package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// fast is BFD of 3 × 100 ms, and a hold time that finds nothing.
func fast(p *bgp.Peer) {
	p.HoldTime = 90 * time.Second
	p.BFD = bgp.BFD{Enabled: true, Interval: 100 * time.Millisecond, Multiplier: 3}
}

func fastNeighbor(n *neighbor) { n.bfd, n.keepalive, n.hold = true, 30, 90 }

var failoverRows = []row{
	{feature: "BFD, the path to us fails", run: func(g *rig) {
		r, s := g.watched()
		start := time.Now()
		g.signal(s, syscall.SIGSTOP)
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
		g.signal(s, syscall.SIGCONT)
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
		g.note("back in %s", since(start))
	}},
	{feature: "BFD, the path to the router fails", run: func(g *rig) {
		r, s := g.watched()
		start := time.Now()
		r.signal(g.t, syscall.SIGSTOP)
		g.lostByBFD(s)
		g.note("found in %s", since(start))
		r.signal(g.t, syscall.SIGCONT)
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
	}},
	{feature: "BFD, both directions cut", run: func(g *rig) {
		r, s := g.watched()
		start := time.Now()
		cut(g.t, g.lbs[0], "tor1")
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
		g.lostByBFD(s)
		mend(g.t, g.lbs[0])
		start = time.Now()
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
		g.note("back in %s", since(start))
	}},
	{feature: "BFD, one direction cut", run: func(g *rig) {
		r, s := g.watched()
		start := time.Now()
		g.lbs[0].Run(g.t, "nft", "add table netdev cut; add chain netdev cut out { type filter hook egress device tor1 priority 0; policy drop; }")
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
		// The router's word may be here before its BFD packet is.
		fixture.Wait(g.t, 10*time.Second, "the loss", func() error {
			if got := s.peer("tor1"); got.Flaps == 0 || got.Causes[bgp.CauseHoldTimer] != 0 {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		mend(g.t, g.lbs[0])
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
	}},
	{feature: "BFD turned off, the router's first", run: func(g *rig) {
		g.build(1, 1)
		side := g.side(1, fastNeighbor)
		r := g.start(1, side)
		s := g.speaker(1, fast)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
		side.neighbors[0].bfd = false
		side.forget = fmt.Sprintf("router bgp %d\n no neighbor %s bfd\nexit\n", torASN, g.at(1, 1, 2))
		r.configure(g.t, side)
		// FRR says Down instead of AdminDown, and BIRD nothing: to us the path fails.
		g.lostByBFD(s)
		g.note("one flap: %s", s.peer("tor1").DownReason)
		// Without BFD on its side the session comes up again, and stays when it goes on ours.
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		flaps := s.peer("tor1").Flaps
		s.call("SetPeers", g.config(1, long).Peers)
		s.sync(g.vip(0), g.vip(1))
		g.leaves(1, g.vip(1), "lb1")
		if got := s.peer("tor1"); got.Flaps != flaps || got.BFD != nil {
			g.t.Errorf("after the end of BFD: %+v", got)
		}
	}},
	{feature: "BFD turned off, ours first", run: func(g *rig) {
		r, s := g.watched()
		s.call("SetPeers", g.config(1, long).Peers)
		// Against RFC 5882 section 4.2 both routers end the session for AdminDown.
		fixture.Wait(g.t, 10*time.Second, "the router to end the session", func() error {
			if got := s.peer("tor1"); got.Flaps == 0 {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		g.note("one flap: %s", s.peer("tor1").DownReason)
		s.call("SetPeers", g.config(1, fast).Peers)
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
	}},
	{feature: "BFD and graceful restart, crash", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, fastNeighbor)
		client := g.client(g.vip(0))
		config := func(restarting bool) bgp.Config {
			cfg := g.graceful(1, restarting)
			fast(&cfg.Peers[0])
			return cfg
		}
		s := startSpeaker(g.t, g.lbs[0], config(false))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
		m, p := monitorRoutes(g.t, g.tors[0]), g.ping(client, g.vip(0))
		s.crash()
		g.keeps(r, 1, 0)
		p.more()
		again := startSpeaker(g.t, g.lbs[0], config(true))
		again.sync(g.vip(0))
		again.waitEstablished("tor1")
		again.sync(g.vip(0), g.vip(1))
		g.leaves(1, g.vip(1), "lb1")
		g.bfdUp(r, again)
		g.untouched(m, g.vip(0))
		p.none()
	}},
	{feature: "BFD with TTL security", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, fastNeighbor, func(n *neighbor) { n.ttlSecurity = true })
		s := g.speaker(1, fast, func(p *bgp.Peer) {
			p.TTLSecurity, p.BFD.Multihop = true, g.kind == frr // which then watches as over several hops
		})
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.bfdUp(r, s)
	}},
	{feature: "BFD multihop", run: func(g *rig) {
		g.build(1, 1)
		far := g.far()
		r := g.startFar(far, fastNeighbor)
		s := g.speaker(1, fast, func(p *bgp.Peer) { p.Address, p.MultihopTTL = netip.MustParseAddr(far.addr), 3 })
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		g.bfdUp(r, s)
		start := time.Now()
		cut(g.t, g.lbs[0], "tor1")
		g.told(r, g.vip(0))
		g.note("routes gone in %s", since(start))
		g.lostByBFD(s)
	}},
	{feature: "GSHUT, then leave", run: func(g *rig) {
		g.build(1, 2)
		r := g.router(1)
		client := g.client(g.vip(0))
		speakers := []*speaker{g.speaker(1), g.speaker(2)}
		for _, s := range speakers {
			s.sync(g.vip(0))
		}
		g.leaves(1, g.vip(0), "lb1", "lb2")
		m, p := monitorRoutes(g.t, g.tors[0]), g.ping(client, g.vip(0))
		start := time.Now()
		speakers[0].call("Sync", []bgp.Path{g.path(0, bgp.Attributes{Communities: []bgp.Community{bgp.GracefulShutdown}})})
		g.leaves(1, g.vip(0), "lb2")
		g.note("out of ECMP in %s", since(start))
		if got, err := r.told(g.vip(0)); err != nil || len(got) != 2 {
			g.t.Errorf("the router has %+v, %v; want both paths", got, err)
		}
		p.more()
		speakers[0].call("StopWith", Farewell{Mode: bgp.StopDrain, Why: "rebooted"})
		g.lbs[0].Run(g.t, "ip", "addr", "del", g.vip(0), "dev", "lo")
		if slices.ContainsFunc(m.changes(g.vip(0)), func(c string) bool { return len(c) > 7 && c[:7] == "Deleted" }) {
			g.t.Errorf("the route was removed: %q", m.changes(g.vip(0)))
		}
		p.none()
	}},
	{feature: "GSHUT of the only path keeps it", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.call("Sync", []bgp.Path{g.path(0, bgp.Attributes{Communities: []bgp.Community{bgp.GracefulShutdown}})})
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513", communities: "65535:0"})
		g.leaves(1, g.vip(0), "lb1")
	}},
}

// watched is a router and a node that watch the path between them by BFD.
func (g *rig) watched() (router, *speaker) {
	g.t.Helper()
	g.build(1, 1)
	r := g.router(1, fastNeighbor)
	s := g.speaker(1, fast)
	s.sync(g.vip(0))
	g.leaves(1, g.vip(0), "lb1")
	g.bfdUp(r, s)
	return r, s
}

// lostByBFD waits until BFD ended our session. On a machine that is busy it may do so more often.
func (g *rig) lostByBFD(s *speaker) {
	g.t.Helper()
	fixture.Wait(g.t, 10*time.Second, "BFD to end the session", func() error {
		if got := s.peer("tor1"); got.Causes[bgp.CauseBFD] == 0 || got.BFD.Detections == 0 && got.State == bgp.Established {
			return fmt.Errorf("%s, %q, %v, BFD %+v", got.State, got.DownReason, got.Causes, got.BFD)
		}
		return nil
	})
	g.waitLog(s, "level=WARN", "BGP session lost", "cause=bfd", "BFD: ")
}

// bfdUp waits until both sides see BFD up, over a session that is established.
func (g *rig) bfdUp(r router, s *speaker) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, "BFD", func() error {
		if up, err := r.bfd(g.at(1, 1, 2)); err != nil || !up {
			return errors.Join(err, fmt.Errorf("the router's is down, ours is %+v", s.peer("tor1").BFD))
		}
		return bfdIs(s, "tor1", "up")
	})
}
