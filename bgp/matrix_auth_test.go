package bgp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

var authRows = []row{
	{feature: "MD5, right key", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, withPassword("right"))
		s := g.speaker(1, ourPassword("right"))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "MD5, wrong key", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, withPassword("right"))
		s := g.speaker(1, ourPassword("wrong"))
		s.sync(g.vip(0))
		g.down(s, "tor1", "password")
		g.leaves(1, g.vip(0))
	}},
	{feature: "MD5, key changed, ours first", run: func(g *rig) { g.changeKey(true) }},
	{feature: "MD5, key changed, the router's first", run: func(g *rig) { g.changeKey(false) }},
	{feature: "MD5, passive", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, withPassword("right"))
		s := g.speaker(1, ourPassword("right"), passive)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "GTSM", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, func(n *neighbor) { n.ttlSecurity = true })
		s := g.speaker(1, func(p *bgp.Peer) { p.TTLSecurity = true })
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "GTSM, passive", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, func(n *neighbor) { n.ttlSecurity = true })
		s := g.speaker(1, passive, func(p *bgp.Peer) { p.TTLSecurity = true })
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "GTSM, only the router's", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, func(n *neighbor) { n.ttlSecurity = true })
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.neverUp(r, s)
	}},
	{feature: "GTSM, only ours", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, func(n *neighbor) { n.passive = true })
		s := g.speaker(1, func(p *bgp.Peer) { p.TTLSecurity = true })
		s.sync(g.vip(0))
		g.neverUp(r, s)
	}},
}

// changeKey changes the key on both sides. Our session is not rebuilt for it; whether the router keeps its
// own is the router's, see TestKeyChangesUnderSession.
func (g *rig) changeKey(oursFirst bool) {
	g.build(1, 1)
	side := g.side(1, withPassword("old"))
	r := g.start(1, side)
	s := g.speaker(1, ourPassword("old"))
	s.sync(g.vip(0))
	g.leaves(1, g.vip(0), "lb1")
	side.neighbors[0].password = "new"
	if oursFirst {
		s.call("SetPeers", g.config(1, ourPassword("new")).Peers)
		r.configure(g.t, side)
	} else {
		r.configure(g.t, side)
		s.call("SetPeers", g.config(1, ourPassword("new")).Peers)
	}
	s.sync(g.vip(0), g.vip(1))
	g.leaves(1, g.vip(1), "lb1")
	g.leaves(1, g.vip(0), "lb1")
	s.waitEstablished("tor1")
	if lines(s.proc.Output(), "BGP session closed") != 0 || lines(s.proc.Output(), "its session goes on") != 1 {
		g.t.Errorf("the session was rebuilt for a new key:\n%s", s.proc.Output())
	}
	if got := s.peer("tor1"); got.Flaps > 0 {
		g.note("one flap: %s", got.DownReason)
	} else {
		g.note("session kept")
	}
}

// Two speakers of ours stand for routers that keep a session over a change of its key, in either order.
func TestKeyChangesUnderSession(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	for _, family := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		g := &rig{lab: l, t: t, family: family}
		router := func(password string) []bgp.Peer {
			return []bgp.Peer{{
				Name: "lb1", Address: netip.MustParseAddr(g.at(1, 1, 2)), ASN: lbASN, Passive: true, Password: password, HoldTime: 9 * time.Second,
				LocalAddress: netip.MustParseAddr(g.at(1, 1, 1)),
			}}
		}
		node := func(password string) []bgp.Peer {
			return g.config(1, ourPassword(password), func(p *bgp.Peer) { p.HoldTime = 9 * time.Second }).Peers
		}
		r := startSpeaker(t, l.tors[0], bgp.Config{ASN: torASN, RouterID: netip.MustParseAddr("192.0.2.250"), Peers: router("first")})
		cfg := g.config(1)
		cfg.Peers = node("first")
		s := startSpeaker(t, l.lbs[0], cfg)
		r.sync()
		s.sync()
		s.waitEstablished("tor1")
		s.call("SetPeers", node("second"))
		s.sync(g.vip(0))
		g.dropped(1) // by the side that has the old key
		if got := r.peer("lb1").Families[0].Received; got != 0 {
			t.Errorf("%d routes came with another key than the router's", got)
		}
		r.call("SetPeers", router("second"))
		count := func(want uint64) {
			t.Helper()
			fixture.Wait(t, 8*time.Second, "the new key to carry a route", func() error {
				if got := r.peer("lb1"); got.Families[0].Received != want || got.Flaps != 0 || s.peer("tor1").Flaps != 0 {
					return fmt.Errorf("%+v and %+v", got, s.peer("tor1"))
				}
				return nil
			})
		}
		count(1)
		r.call("SetPeers", router("third"))
		s.call("SetPeers", node("third"))
		s.sync()
		count(0)
	}
}

func withPassword(password string) func(*neighbor) {
	return func(n *neighbor) { n.password = password }
}

func ourPassword(password string) func(*bgp.Peer) {
	return func(p *bgp.Peer) { p.Password = password }
}

func passive(p *bgp.Peer) { p.Passive = true }

// neverUp lets two attempts fail.
func (g *rig) neverUp(r router, s *speaker) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, "a reason", func() error {
		if got := s.peer("tor1"); got.State == bgp.Established || got.DownReason == "" {
			return fmt.Errorf("%s, %q", got.State, got.DownReason)
		}
		return nil
	})
	g.note("%q", s.peer("tor1").DownReason)
	if up, err := r.established(g.at(1, 1, 2)); err != nil || up {
		g.t.Errorf("the router's session: %v, %v", up, err)
	}
	g.leaves(1, g.vip(0))
}
