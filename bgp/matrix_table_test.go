package bgp_test

import (
	"fmt"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

var tableRows = []row{
	{feature: "10,000 VIPs", run: func(g *rig) {
		g.build(1, 1)
		g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		start := time.Now()
		s.sync(g.vips(10000)...)
		given := since(start)
		g.counts(1, 10000)
		g.note("announced in %s, in the FIB after %s", given, since(start))
		start = time.Now()
		s.sync(g.vip(0))
		g.counts(1, 1)
		g.note("withdrawn in %s", since(start))
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "routes of the router, none re-advertised", run: func(g *rig) {
		g.build(2, 1)
		side := g.side(1)
		side.networks = g.others(200)
		g.start(1, side)
		second := g.side(2, func(n *neighbor) {
			n.everything = true // so that nothing but us stands in the way
			n.lines = []string{}
		})
		if g.kind == frr {
			second.lines = fmt.Sprintf("router bgp %d\n address-family %s unicast\n  neighbor %[3]s allowas-in\n  neighbor %[3]s soft-reconfiguration inbound\n", torASN, g.family, g.at(2, 1, 2))
		}
		r := g.start(2, second)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.receives(s, "tor1", 200)
		g.leaves(2, g.vip(0), "lb1")
		// A later announcement has passed the sessions after anything that would have been passed on.
		s.sync(g.vip(0), g.vip(1))
		g.leaves(2, g.vip(1), "lb1")
		if n, err := r.received(g.at(2, 1, 2), string(g.family)); err != nil || n != 2 {
			g.t.Errorf("the second router was sent %d networks, want our 2: %v", n, err)
		}
		for _, network := range g.others(200) {
			if got, err := r.told(network); err != nil || len(got) != 0 {
				g.t.Fatalf("the second router has %s: %+v, %v", network, got, err)
			}
		}
	}},
	{feature: "max prefixes", run: func(g *rig) {
		g.build(1, 1)
		side := g.side(1)
		side.networks = g.others(20)
		r := g.start(1, side)
		s := g.speaker(1, func(p *bgp.Peer) { p.MaxPrefixes, p.MaxPrefixesRestart = 10, 3*time.Second })
		s.sync(g.vip(0))
		g.says(r, g.at(1, 1, 2), "maximum number of prefixes")
		g.down(s, "tor1", fmt.Sprintf("the router announces more than 10 %s routes (maxPrefixes); it is left alone for 3s", g.family))
		// It comes back by itself, and stays once the router sends fewer.
		side.networks = g.others(10)
		for _, gone := range g.others(20)[10:] {
			side.forget += fmt.Sprintf("router bgp %d\n address-family %s unicast\n  no network %s\n exit-address-family\nexit\n", torASN, g.family, gone)
		}
		r.configure(g.t, side)
		start := time.Now()
		g.receives(s, "tor1", 10)
		g.leaves(1, g.vip(0), "lb1")
		g.note("back in %s", since(start))
		// The limit can be changed under the session, and raised too late it is of no use.
		flaps := s.peer("tor1").Flaps
		s.call("SetPeers", g.config(1, func(p *bgp.Peer) { p.MaxPrefixes, p.MaxPrefixesRestart = 30, 3*time.Second }).Peers)
		side.networks, side.forget = g.others(20), ""
		r.configure(g.t, side)
		g.receives(s, "tor1", 20)
		if got := s.peer("tor1"); got.Flaps != flaps || got.Causes[bgp.CauseMaxPrefixes] != flaps {
			g.t.Errorf("after a new limit: %+v", got)
		}
	}},
}

// counts waits until a router's kernel has so many of our routes.
func (g *rig) counts(tor, n int) {
	g.t.Helper()
	fixture.Wait(g.t, 60*time.Second, fmt.Sprintf("%d routes", n), func() error {
		table, err := fib(g.tors[tor-1], string(g.family))
		if err == nil && len(table) != n {
			err = fmt.Errorf("%d routes", len(table))
		}
		return err
	})
}

// receives waits until so many routes of a peer are counted.
func (g *rig) receives(s *speaker, peer string, n uint64) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("%d routes of %s", n, peer), func() error {
		if got := s.peer(peer); got.State != bgp.Established || got.Families[0].Received != n {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}
