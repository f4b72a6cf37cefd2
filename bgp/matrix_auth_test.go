package bgp_test

import (
	"strings"

	"github.com/penstock-lb/penstock/bgp"
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
	{feature: "MD5, key changed", run: func(g *rig) {
		g.build(1, 1)
		side := g.side(1, withPassword("old"))
		r := g.start(1, side)
		s := g.speaker(1, ourPassword("old"))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.call("SetPeers", g.config(1, ourPassword("new")).Peers)
		side.neighbors[0].password = "new"
		r.configure(g.t, side)
		s.sync(g.vip(0), g.vip(1))
		g.leaves(1, g.vip(1), "lb1")
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		if lines(s.proc.Output(), "BGP session closed") != 0 || lines(s.proc.Output(), "its session goes on") != 1 {
			g.t.Errorf("the session was rebuilt for a new key:\n%s", s.proc.Output())
		}
		// Whether the router keeps the session is the router's.
		if got := s.peer("tor1"); got.Flaps > 0 {
			g.note("the router ended the session: %s", strings.TrimPrefix(got.DownReason, "the router ended the session: "))
		} else {
			g.note("session kept")
		}
	}},
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
	g.down(s, "tor1", "conne")
	g.note("%q", s.peer("tor1").DownReason)
	if up, err := r.established(g.at(1, 1, 2)); err != nil || up {
		g.t.Errorf("the router's session: %v, %v", up, err)
	}
	g.leaves(1, g.vip(0))
}
