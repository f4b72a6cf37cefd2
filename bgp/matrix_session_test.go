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

var both = []string{"ipv4", "ipv6"}

var sessionRows = []row{
	{feature: "session", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		start := time.Now()
		s.sync(g.vips(2)...)
		g.leaves(1, g.vip(0), "lb1")
		g.note("up in %s", since(start))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		// An empty set withdraws all and keeps the session.
		s.sync()
		g.leaves(1, g.vip(0))
		g.told(r, g.vip(1))
		if up, err := r.established(g.at(1, 1, 2)); err != nil || !up {
			g.t.Errorf("the router's session after the withdrawal: %v, %v", up, err)
		}
	}},
	{feature: "ECMP over two nodes", run: func(g *rig) {
		g.build(1, 2)
		r := g.router(1)
		speakers := []*speaker{g.speaker(1), g.speaker(2)}
		for _, s := range speakers {
			s.sync(g.vips(2)...)
		}
		g.leaves(1, g.vip(0), "lb1", "lb2")
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"}, told{hop: g.at(1, 2, 2), asPath: "64513"})
		// The same again changes nothing; fewer withdraws only the difference.
		g.leaves(1, g.vip(1), "lb1", "lb2")
		m := monitorRoutes(g.t, g.tors[0])
		speakers[0].sync(g.vips(2)...)
		speakers[0].sync(g.vip(0))
		g.leaves(1, g.vip(1), "lb2")
		speakers[1].sync(g.vip(0))
		g.leaves(1, g.vip(1))
		g.untouched(m, g.vip(0))
	}},
	{feature: "iBGP", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, func(n *neighbor) { n.asn = torASN })
		cfg := g.config(1)
		cfg.ASN = torASN
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), localPref: "100"})
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "local AS", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, func(n *neighbor) { n.asn = 65099 })
		s := g.speaker(1, func(p *bgp.Peer) { p.LocalASN = 65099 })
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "65099"})
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "4-byte AS", run: func(g *rig) {
		g.build(1, 1)
		side := g.side(1, func(n *neighbor) { n.asn = 4200000001 })
		side.asn = 4200000002
		r := g.start(1, side)
		cfg := g.config(1, func(p *bgp.Peer) { p.ASN = 4200000002 })
		cfg.ASN = 4200000001
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.call("Sync", []bgp.Path{g.path(0, bgp.Attributes{Prepend: 1})})
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "4200000001 4200000001"})
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "wrong ASN", run: func(g *rig) {
		g.build(2, 1)
		// The first router expects another ASN of us, of the second one we do.
		g.router(1, func(n *neighbor) { n.asn = 65000 })
		g.router(2)
		cfg := g.config(1)
		cfg.Peers[1].ASN = 65001
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.sync(g.vip(0))
		g.down(s, "tor1", "the router refused our OPEN")
		g.down(s, "tor2", "it is in AS 64512, and the configuration expects AS 65001")
		for _, words := range []string{"refused our OPEN", "expects AS 65001"} {
			if lines(s.proc.Output(), "level=WARN", words) == 0 {
				g.t.Errorf("the log does not say %q", words)
			}
		}
	}},
	{feature: "routes of both families", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1, func(n *neighbor) { n.families, n.extended = both, g.family == bgp.IPv6 })
		s := g.speaker(1, func(p *bgp.Peer) { p.Families = []bgp.Family{bgp.IPv4, bgp.IPv6} })
		s.sync(vipA4, vipA6)
		// IPv4 over IPv6 has the session's IPv6 next hop, IPv6 over IPv4 an address of our device.
		g.told(r, vipA4, told{hop: g.at(1, 1, 2), asPath: "64513"})
		g.told(r, vipA6, told{hop: v6(1, 1, 2), asPath: "64513"})
		g.leaves(1, vipA4, "lb1")
		g.leaves(1, vipA6, "lb1")
		s.sync()
		g.leaves(1, vipA4)
		g.leaves(1, vipA6)
	}},
	{feature: "the other family alone", run: func(g *rig) {
		g.build(1, 1)
		other, vip := bgp.IPv6, vipA6
		if g.family == bgp.IPv6 {
			other, vip = bgp.IPv4, vipA4
		}
		r := g.router(1, func(n *neighbor) { n.families, n.extended = []string{string(other)}, g.family == bgp.IPv6 })
		s := g.speaker(1, func(p *bgp.Peer) { p.Families = []bgp.Family{other} })
		s.sync(vipA4, vipA6)
		g.leaves(1, vip, "lb1")
		g.told(r, g.vip(0))
	}},
	{feature: "explicit next hop", run: func(g *rig) {
		g.build(1, 1)
		hop := g.at(1, 1, 7)
		g.lbs[0].AddAddr(g.t, "tor1", hop+map[bgp.Family]string{bgp.IPv4: "/24", bgp.IPv6: "/64"}[g.family])
		r := g.router(1)
		s := g.speaker(1, func(p *bgp.Peer) {
			p.LocalAddress = netip.MustParseAddr(g.at(1, 1, 2)) // of two in IPv6 the kernel would take the newer
			if g.family == bgp.IPv4 {
				p.NextHop4 = netip.MustParseAddr(hop)
			} else {
				p.NextHop6 = netip.MustParseAddr(hop)
			}
		})
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: hop, asPath: "64513"})
	}},
	{feature: "local address", run: func(g *rig) {
		g.build(1, 1)
		local := g.at(1, 1, 3)
		g.lbs[0].AddAddr(g.t, "tor1", local+map[bgp.Family]string{bgp.IPv4: "/24", bgp.IPv6: "/64"}[g.family])
		r := g.router(1, func(n *neighbor) { n.addr = local })
		s := g.speaker(1, func(p *bgp.Peer) { p.LocalAddress = netip.MustParseAddr(local) })
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: local, asPath: "64513"})
	}},
	{feature: "link-local address", run: func(g *rig) {
		g.build(1, 1)
		router, node := g.linkLocal(g.tors[0], "lb1"), g.linkLocal(g.lbs[0], "tor1")
		r := g.router(1, func(n *neighbor) {
			n.addr, n.device, n.families, n.extended = node, "lb1", []string{string(g.family)}, true
		})
		s := g.speaker(1, func(p *bgp.Peer) {
			p.Address, p.Families = netip.MustParseAddr(router+"%tor1"), []bgp.Family{g.family}
		})
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.told(r, g.vip(0), told{hop: v6(1, 1, 2), asPath: "64513"}) // a global address of the device
	}},
	{feature: "multihop", run: func(g *rig) {
		g.build(1, 1)
		far := g.far()
		r := g.startFar(far)
		s := g.speaker(1, func(p *bgp.Peer) { p.Address, p.MultihopTTL = netip.MustParseAddr(far.addr), 3 })
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		waitFIB(g.t, far.netns, g.vip(0), "eth0")
	}},
	{feature: "multihop without TTL", run: func(g *rig) {
		g.build(1, 1)
		far := g.far()
		g.startFar(far)
		s := g.speaker(1, func(p *bgp.Peer) { p.Address = netip.MustParseAddr(far.addr) })
		s.sync(g.vip(0))
		g.down(s, "tor1", "connect: ")
	}},
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }

// path is the n-th VIP with attributes for all peers.
func (g *rig) path(n int, a bgp.Attributes) bgp.Path {
	return bgp.Path{Prefix: netip.MustParsePrefix(g.vip(n)), Offers: []bgp.Offer{{Attributes: a}}}
}

// linkLocal is the link-local address of a device.
func (g *rig) linkLocal(n *fixture.Netns, device string) string {
	g.t.Helper()
	fields := strings.Fields(n.Run(g.t, "ip", "-6", "-o", "addr", "show", "dev", device, "scope", "link"))
	for i, f := range fields {
		if f == "inet6" {
			addr, _, _ := strings.Cut(fields[i+1], "/")
			return addr
		}
	}
	g.t.Fatalf("%s of %s has no link-local address: %q", device, n.Host, fields)
	return ""
}

type farRouter struct {
	netns *fixture.Netns
	addr  string
}

// far is a router behind router 1, two hops away from node 1.
func (g *rig) far() farRouter {
	g.t.Helper()
	far := fixture.NewNetns(g.t, "far")
	fixture.Link(g.t, g.tors[0], "far", far, "eth0", fixture.LinkOptions{
		AddrsA: []string{"10.9.9.1/24", "fd00:9::1/64"}, AddrsB: []string{"10.9.9.2/24", "fd00:9::2/64"},
	})
	far.AddRoute(g.t, "10.1.1.0/24", "10.9.9.1") // a default route is no way to a next hop
	far.AddRoute(g.t, "fd00:1:1::/64", "fd00:9::1")
	g.lbs[0].AddRoute(g.t, "default", v4(1, 1, 1))
	g.lbs[0].AddRoute(g.t, "default6", v6(1, 1, 1))
	return farRouter{far, map[bgp.Family]string{bgp.IPv4: "10.9.9.2", bgp.IPv6: "fd00:9::2"}[g.family]}
}

func (g *rig) startFar(far farRouter, edits ...func(*neighbor)) router {
	g.t.Helper()
	s := g.side(1, append(edits, func(n *neighbor) { n.multihop, n.local = 3, far.addr })...)
	s.id = "10.9.9.2"
	if g.kind == bird {
		s.lines = `protocol direct { ipv4; ipv6; }
protocol static { ipv4; route 10.1.1.0/24 via 10.9.9.1; }
protocol static { ipv6; route fd00:1:1::/64 via fd00:9::1; }
`
	}
	return startRouter(g.t, g.kind, far.netns, s)
}

// waitUp waits until the router has a session with the neighbors.
func (g *rig) waitUp(r router, neighbors ...string) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("the router's sessions with %v", neighbors), func() error {
		for _, n := range neighbors {
			if up, err := r.established(n); err != nil || !up {
				return errors.Join(err, fmt.Errorf("none with %s", n))
			}
		}
		return nil
	})
}
