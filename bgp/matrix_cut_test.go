package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

var cutRows = []row{
	{feature: "connection reset, graceful", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		client := g.client(g.vip(0))
		s := startSpeaker(g.t, g.lbs[0], g.graceful(1, false))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		m, p := monitorRoutes(g.t, g.tors[0]), g.ping(client, g.vip(0))
		g.lbs[0].Run(g.t, "ss", "-K", "dst", netip.AddrPortFrom(netip.MustParseAddr(g.at(1, 1, 1)), 179).String())
		g.lost(s, "tor1", 1, bgp.CauseConnection, "connection")
		g.keeps(r, 1, 0)
		start := time.Now()
		s.waitEstablished("tor1")
		s.sync(g.vip(0), g.vip(1))
		g.leaves(1, g.vip(1), "lb1")
		g.note("back in %s", since(start))
		g.untouched(m, g.vip(0))
		p.none()
	}},
	{feature: "cut shorter than the hold time", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, longNeighbor)
		s := g.speaker(1, func(p *bgp.Peer) { p.HoldTime = 30 * time.Second })
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		m := monitorRoutes(g.t, g.tors[0])
		ends := map[string]*fixture.Netns{"tor1": g.lbs[0], "lb1": g.tors[0]}
		for device, n := range ends { // as they come in: TCP counts what its own device drops in half a second each
			n.Run(g.t, "nft", "add table netdev cut; add chain netdev cut in { type filter hook ingress device "+device+" priority 0; policy drop; }")
		}
		s.sync(g.vip(0), g.vip(1))
		g.dropped(1)
		for _, n := range ends {
			mend(g.t, n)
		}
		g.leaves(1, g.vip(1), "lb1")
		g.untouched(m, g.vip(0))
		if got := s.peer("tor1"); got.Flaps != 0 {
			g.t.Errorf("the session did not survive: %+v", got)
		}
	}},
	{feature: "cut longer than the hold time, graceful", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := startSpeaker(g.t, g.lbs[0], g.graceful(1, false))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		cut(g.t, g.lbs[0], "tor1")
		start := time.Now()
		g.lost(s, "tor1", 1, bgp.CauseHoldTimer, "hold timer expired")
		// RFC 4724 is for connections that end: the router's own timer means that the path is dead.
		g.leaves(1, g.vip(0))
		g.told(r, g.vip(0))
		g.note("routes gone in %s", since(start))
		mend(g.t, g.lbs[0])
		start = time.Now()
		s.waitEstablished("tor1")
		g.leaves(1, g.vip(0), "lb1")
		g.note("back in %s", since(start))
	}},
	{feature: "link down and up, graceful", run: func(g *rig) {
		g.build(1, 1)
		g.router(1)
		s := startSpeaker(g.t, g.lbs[0], g.graceful(1, false))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		start := time.Now()
		g.lbs[0].Run(g.t, "ip", "link", "set", "tor1", "down")
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
		fixture.Wait(g.t, 20*time.Second, "the loss of the session", func() error {
			if got := s.peer("tor1"); got.State == bgp.Established {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		g.lbs[0].Run(g.t, "ip", "link", "set", "tor1", "up")
		if g.family == bgp.IPv6 { // a device that goes down loses them
			g.lbs[0].AddAddr(g.t, "tor1", g.at(1, 1, 2)+"/64")
		}
		start = time.Now()
		g.leaves(1, g.vip(0), "lb1")
		g.note("back in %s", since(start))
	}},
}

// dropped waits until a cut has dropped something of a node.
func (g *rig) dropped(lb int) {
	g.t.Helper()
	fixture.Wait(g.t, 10*time.Second, "a segment that is not acknowledged", func() error {
		out, err := g.lbs[lb-1].Output("ss", "-Htino", "state", "established", "dport", "=", ":179")
		if err == nil && !strings.Contains(out, "retrans:") {
			err = errors.New(out)
		}
		return err
	})
}
