package nexthop

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	lbmaps "github.com/penstock-lb/penstock/maps"
)

// Without Run, so that each case reads the kernel's tables anew.
func TestResolve(t *testing.T) {
	l := newLab(t)
	gw0v4, gw0v6 := l.via(l.eth0, l.gw0, "192.0.2.1"), l.via(l.eth0, l.gw0, "2001:db8::1")
	gw1v4, gw1v6 := l.via(l.eth1, l.gw1, "198.51.100.1"), l.via(l.eth1, l.gw1, "2001:db8:1::1")
	with := func(hop lbmaps.NextHop, change func(*lbmaps.NextHop)) lbmaps.NextHop {
		change(&hop)
		return hop
	}
	for _, c := range []struct {
		name  string
		setup string
		addr  string
		want  lbmaps.NextHop
	}{
		{"on link v4", "", "192.0.2.254", gw0v4},
		{"on link v6", "", "2001:db8::fe", gw0v6},
		{"second device v4", "", "198.51.100.254", gw1v4},
		{"second device v6", "", "2001:db8:1::fe", gw1v6},
		{"gateway v4", "route add 10.1.0.0/16 via 192.0.2.254", "10.1.2.3", gw0v4},
		{"gateway v6", "route add fd00:1::/64 via 2001:db8::fe", "fd00:1::3", gw0v6},
		{"gateway on the second device", "route add 10.1.9.0/24 via 198.51.100.254", "10.1.9.3", gw1v4},
		{"v4 over a v6 gateway", "route add 10.2.0.0/16 via inet6 2001:db8::fe dev eth0", "10.2.0.3", gw0v4},
		{
			"route's MTU", "route add 10.3.0.0/16 via 192.0.2.254 mtu 1400", "10.3.0.3",
			with(gw0v4, func(h *lbmaps.NextHop) { h.MTU = 1400 }),
		},
		{
			"route's MTU v6", "route add fd00:3::/64 via 2001:db8::fe mtu 1400", "fd00:3::3",
			with(gw0v6, func(h *lbmaps.NextHop) { h.MTU = 1400 }),
		},
		{
			"route's source", "route add 10.4.0.0/16 via 192.0.2.254 src 198.51.100.1", "10.4.0.3",
			with(gw0v4, func(h *lbmaps.NextHop) { h.Source = netip.MustParseAddr("198.51.100.1") }),
		},
		{
			"route's source v6", "route add fd00:4::/64 via 2001:db8::fe src 2001:db8:1::1", "fd00:4::3",
			with(gw0v6, func(h *lbmaps.NextHop) { h.Source = netip.MustParseAddr("2001:db8:1::1") }),
		},
		{"no route v4", "", "203.0.113.1", lbmaps.NextHop{}},
		{"no route v6", "", "2001:db8:99::1", lbmaps.NextHop{}},
		{"blackhole", "route add blackhole 10.5.0.0/16", "10.5.0.3", lbmaps.NextHop{}},
		{"unreachable v6", "route add unreachable fd00:5::/64", "fd00:5::3", lbmaps.NextHop{}},
		{"the node itself", "", "192.0.2.1", lbmaps.NextHop{}},
		{"the node itself v6", "", "2001:db8::1", lbmaps.NextHop{}},
		{"nobody there v4", "", "192.0.2.77", unresolved("192.0.2.1")},
		{"nobody there v6", "", "2001:db8::77", unresolved("2001:db8::1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.setup != "" {
				l.ip(c.setup)
			}
			if diff := cmp.Diff(c.want, l.resolve(c.addr), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.addr, diff)
			}
		})
	}
}

func TestResolveWithoutAddress(t *testing.T) {
	l := newLab(t)
	if got := l.resolveAll(netip.Addr{}); got[netip.Addr{}] != (lbmaps.NextHop{}) {
		t.Errorf("next hop of no address: %+v", got)
	}
}

// A device that XDP can't hand a frame to is left to the kernel, even if its neighbours are known.
func TestResolveLeavesOtherDevicesToTheKernel(t *testing.T) {
	for _, kind := range []string{"bridge", "dummy"} {
		t.Run(kind, func(t *testing.T) {
			l := newLab(t)
			l.ipOrSkip("link add other type " + kind)
			l.ip("link set other up")
			l.ip("addr add 10.7.0.1/24 dev other")
			l.ip("neigh replace 10.7.0.2 lladdr 02:00:00:00:00:02 nud permanent dev other")
			if got := l.resolve("10.7.0.2"); got.Ifindex != 0 || got.DstMAC != [6]byte{} {
				t.Errorf("next hop over a %s: %+v", kind, got)
			}
		})
	}
}

func TestResolveVLAN(t *testing.T) {
	l := newLab(t)
	l.ipOrSkip("link add vlan7 link eth0 address 02:00:00:00:07:01 type vlan id 7")
	l.ip("link set vlan7 up mtu 1450")
	l.ip("addr add 10.7.0.1/24 dev vlan7")
	l.ip("addr add fd00:7::1/64 dev vlan7")
	l.on(l.gw0, "ip link add vlan7 link lan address 02:00:00:00:07:02 type vlan id 7")
	l.on(l.gw0, "ip link set vlan7 up")
	l.on(l.gw0, "ip addr add 10.7.0.2/24 dev vlan7")
	l.on(l.gw0, "ip addr add fd00:7::2/64 dev vlan7")
	for addr, source := range map[string]string{"10.7.0.2": "10.7.0.1", "fd00:7::2": "fd00:7::1"} {
		want := lbmaps.NextHop{
			Ifindex: uint32(l.eth0.Index),
			VLAN:    7,
			SrcMAC:  [6]byte{2, 0, 0, 0, 7, 1},
			DstMAC:  [6]byte{2, 0, 0, 0, 7, 2},
			MTU:     1450,
			Source:  netip.MustParseAddr(source),
		}
		if got := l.resolve(addr); got != want {
			t.Errorf("next hop of %s over a VLAN:\n got %+v\nwant %+v", addr, got, want)
		}
	}
}

func TestResolveEncapsulatingRoute(t *testing.T) {
	l := newLab(t)
	l.ipOrSkip("route add 10.6.0.0/16 encap seg6 mode encap segs fd00::1 via 192.0.2.254 dev eth0")
	if got := l.resolve("10.6.0.3"); got.Ifindex != 0 {
		t.Errorf("next hop of a route that encapsulates: %+v", got)
	}
}

func TestResolveWaitsOnceForSilentNeighbour(t *testing.T) {
	l := newLab(t)
	start := time.Now()
	l.resolve("192.0.2.77")
	if took := time.Since(start); took < firstWait {
		t.Errorf("first Resolve of a silent neighbour waited %s, want %s", took, firstWait)
	}
	start = time.Now()
	l.resolve("192.0.2.77")
	if took := time.Since(start); took >= firstWait {
		t.Errorf("second Resolve of a silent neighbour took %s", took)
	}
}

func TestResolveForgetsOthers(t *testing.T) {
	l := newLab(t)
	l.resolve("192.0.2.254")
	l.resolve("198.51.100.254")
	if got := l.r.Stats(); got.Addresses != 1 || got.Unresolved != 0 {
		t.Errorf("stats after the watched set was replaced: %+v", got)
	}
	if len(l.r.routes) != 1 {
		t.Errorf("routes kept: %d, want 1", len(l.r.routes))
	}
}

// Add finds what Resolve finds, and leaves alone what was found before.
func TestAdd(t *testing.T) {
	l := newLab(t)
	l.run()
	old := []netip.Addr{netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8::fe")}
	l.resolveAll(old...)
	before := l.r.Stats()
	added := []netip.Addr{netip.MustParseAddr("198.51.100.254"), netip.MustParseAddr("2001:db8:1::fe")}
	got := l.r.Add(t.Context(), added)
	after := l.r.Stats()
	if n := after.RouteLookups - before.RouteLookups; n != 2 || after.Addresses != 4 {
		t.Errorf("%d route lookups for two addresses, and %d of 4 watched", n, after.Addresses)
	}
	want := l.resolveAll(append(old, added...)...)
	for _, a := range added {
		if diff := cmp.Diff(want[a], got[a], cmpopts.EquateComparable(netip.Addr{})); diff != "" || got[a].Ifindex == 0 {
			t.Errorf("%s: next hop (-Resolve +Add):\n%s", a, diff)
		}
	}
}
