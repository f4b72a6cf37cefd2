package bgp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// Each kind of session carries both families to the router's kernel.
func TestSessionKinds(t *testing.T) {
	t.Parallel()
	both := []string{"ipv4", "ipv6"}
	peer := func(addr string, asn uint32) bgp.Peer {
		return bgp.Peer{Name: "tor", Address: netip.MustParseAddr(addr), ASN: asn, HoldTime: 3 * time.Second, ConnectRetry: time.Second}
	}
	ibgp4, ibgp6 := peer(v4(1, 1, 1), torASN), peer(v6(1, 1, 1), torASN)
	ibgp6.Name = "tor-v6"
	gtsm4, gtsm6 := peer(v4(1, 1, 1), torASN), peer(v6(1, 1, 1), torASN)
	gtsm6.Name = "tor-v6"
	gtsm4.TTLSecurity, gtsm6.TTLSecurity = true, true
	over4 := peer(v4(1, 1, 1), torASN)
	over4.NextHop6 = netip.MustParseAddr(v6(1, 1, 2))
	over6 := peer(v6(1, 1, 1), torASN)
	over6.Families = []bgp.Family{bgp.IPv4, bgp.IPv6}
	explicit := peer(v6(1, 1, 1), torASN)
	explicit.NextHop4, explicit.NextHop6 = netip.MustParseAddr(v4(1, 1, 2)), netip.MustParseAddr(v6(1, 1, 2))
	local := peer(v4(1, 1, 1), torASN)
	local.LocalAddress, local.NextHop6 = netip.MustParseAddr("10.1.1.3"), netip.MustParseAddr(v6(1, 1, 2))

	gtsm := []string{"ttl-security hops 1"}
	for _, c := range []struct {
		name       string
		asn        uint32
		peers      []bgp.Peer
		neighbors  []neighbor
		hop4, hop6 string
	}{
		{"iBGP", torASN, []bgp.Peer{ibgp4, ibgp6}, []neighbor{{addr: v4(1, 1, 2), asn: torASN}, {addr: v6(1, 1, 2), asn: torASN}}, v4(1, 1, 2), v6(1, 1, 2)},
		{"TTL security", lbASN, []bgp.Peer{gtsm4, gtsm6}, []neighbor{{addr: v4(1, 1, 2), asn: lbASN, lines: gtsm}, {addr: v6(1, 1, 2), asn: lbASN, lines: gtsm}}, v4(1, 1, 2), v6(1, 1, 2)},
		{"IPv6 over IPv4", lbASN, []bgp.Peer{over4}, []neighbor{{addr: v4(1, 1, 2), asn: lbASN, families: both}}, v4(1, 1, 2), v6(1, 1, 2)},
		{"IPv4 over IPv6", lbASN, []bgp.Peer{over6}, []neighbor{{addr: v6(1, 1, 2), asn: lbASN, families: both, lines: []string{"capability extended-nexthop"}}}, v6(1, 1, 2), v6(1, 1, 2)},
		{"explicit next hops", lbASN, []bgp.Peer{explicit}, []neighbor{{addr: v6(1, 1, 2), asn: lbASN, families: both}}, v4(1, 1, 2), v6(1, 1, 2)},
		{"local address", lbASN, []bgp.Peer{local}, []neighbor{{addr: "10.1.1.3", asn: lbASN, families: both}}, "10.1.1.3", v6(1, 1, 2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1, 1)
			l.lbs[0].AddAddr(t, "tor1", "10.1.1.3/24")
			r := fixture.StartFRR(t, l.tors[0], frrConf(v4(1, 1, 1), c.neighbors...))
			s := startSpeaker(t, l.lbs[0], bgp.Config{ASN: c.asn, RouterID: netip.MustParseAddr("192.0.2.1"), Peers: c.peers})
			s.sync(vipA4, vipA6)
			waitRIB(t, r, vipA4, c.hop4)
			waitRIB(t, r, vipA6, c.hop6)
			waitFIB(t, l.tors[0], vipA4, "lb1")
			waitFIB(t, l.tors[0], vipA6, "lb1")
			for _, route := range s.routes() {
				want := c.hop4
				if route.Prefix.Addr().Is6() {
					want = c.hop6
				}
				if len(route.Peers) != 1 || route.Peers[0].NextHop.String() != want {
					t.Errorf("Routes has %s by %v, want %s", route.Prefix, route.Peers, want)
				}
			}
			s.sync()
			waitFIB(t, l.tors[0], vipA4)
			waitFIB(t, l.tors[0], vipA6)
		})
	}
}

// A router two hops away: without the multihop TTL our packets do not reach it.
func TestMultihop(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	far := fixture.NewNetns(t, "far")
	fixture.Link(t, l.tors[0], "far", far, "eth0", fixture.LinkOptions{
		AddrsA: []string{"10.9.9.1/24", "fd00:9::1/64"}, AddrsB: []string{"10.9.9.2/24", "fd00:9::2/64"},
	})
	for _, n := range []struct {
		netns    *fixture.Netns
		gw4, gw6 string
	}{{far, "10.9.9.1", "fd00:9::1"}, {l.lbs[0], v4(1, 1, 1), v6(1, 1, 1)}} {
		n.netns.AddRoute(t, "default", n.gw4)
		n.netns.AddRoute(t, "default6", n.gw6)
	}
	lines := []string{"ebgp-multihop 3"}
	r := fixture.StartFRR(t, far, frrConf("10.9.9.2", neighbor{addr: v4(1, 1, 2), asn: lbASN, lines: lines}, neighbor{addr: v6(1, 1, 2), asn: lbASN, lines: lines}))
	cfg := l.config(1)
	for i, addr := range []string{"10.9.9.2", "fd00:9::2"} {
		cfg.Peers[i].Address, cfg.Peers[i].MultihopTTL = netip.MustParseAddr(addr), 3
	}
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	waitRIB(t, r, vipA4, v4(1, 1, 2))
	waitRIB(t, r, vipA6, v6(1, 1, 2))
}
