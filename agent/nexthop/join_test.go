package nexthop

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	lbmaps "github.com/penstock-lb/penstock/maps"
)

func attrs(index int, mac byte, change ...func(*netlink.LinkAttrs)) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Index, a.MTU, a.EncapType = index, 1500, "ether"
	a.RawFlags = unix.IFF_UP | unix.IFF_RUNNING
	a.HardwareAddr = []byte{2, 0, 0, 0, 0, mac}
	for _, c := range change {
		c(&a)
	}
	return a
}

func under(parent int) func(*netlink.LinkAttrs) {
	return func(a *netlink.LinkAttrs) { a.ParentIndex = parent }
}

// How devices join with routes and neighbours, for kinds that not every kernel has.
func TestJoin(t *testing.T) {
	const dev = 7
	src, dst := [6]byte{2, 0, 0, 0, 0, 7}, [6]byte{2, 0, 0, 0, 0, 99}
	phys := &netlink.Device{LinkAttrs: attrs(1, 1)}
	inVLAN := func(protocol netlink.VlanProtocol, a netlink.LinkAttrs) netlink.Link {
		return &netlink.Vlan{LinkAttrs: a, VlanId: 42, VlanProtocol: protocol}
	}
	for _, c := range []struct {
		name  string
		links []netlink.Link
		state int
		want  lbmaps.NextHop // of which Source and MTU are set below
	}{
		{"device", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_REACHABLE, lbmaps.NextHop{Ifindex: dev, SrcMAC: src, DstMAC: dst}},
		{"bond", []netlink.Link{&netlink.Bond{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_STALE, lbmaps.NextHop{Ifindex: dev, SrcMAC: src, DstMAC: dst}},
		{"VLAN", []netlink.Link{phys, inVLAN(netlink.VLAN_PROTOCOL_8021Q, attrs(dev, 7, under(1)))}, netlink.NUD_DELAY, lbmaps.NextHop{Ifindex: 1, VLAN: 42, SrcMAC: src, DstMAC: dst}},
		{"VLAN of an unnamed protocol", []netlink.Link{phys, inVLAN(0, attrs(dev, 7, under(1)))}, netlink.NUD_PROBE, lbmaps.NextHop{Ifindex: 1, VLAN: 42, SrcMAC: src, DstMAC: dst}},
		{"permanent neighbour", []netlink.Link{phys, &netlink.Veth{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_PERMANENT, lbmaps.NextHop{Ifindex: dev, SrcMAC: src, DstMAC: dst}},
		{"device without ARP", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_NOARP, lbmaps.NextHop{Ifindex: dev, SrcMAC: src, DstMAC: dst}},

		{"VLAN in a VLAN", []netlink.Link{phys, inVLAN(0, attrs(2, 2, under(1))), inVLAN(0, attrs(dev, 7, under(2)))}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"provider VLAN", []netlink.Link{phys, inVLAN(netlink.VLAN_PROTOCOL_8021AD, attrs(dev, 7, under(1)))}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"VLAN of another namespace's device", []netlink.Link{phys, inVLAN(0, attrs(dev, 7, under(1), func(a *netlink.LinkAttrs) { a.NetNsID = 0 }))}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"VLAN over a bridge", []netlink.Link{&netlink.Bridge{LinkAttrs: attrs(1, 1)}, inVLAN(0, attrs(dev, 7, under(1)))}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"bridge", []netlink.Link{&netlink.Bridge{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"macvlan", []netlink.Link{&netlink.Macvlan{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_REACHABLE, lbmaps.NextHop{}},
		{"no Ethernet", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7, func(a *netlink.LinkAttrs) { a.EncapType = "none" })}}, netlink.NUD_NOARP, lbmaps.NextHop{}},
		{"no carrier", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7, func(a *netlink.LinkAttrs) { a.RawFlags = unix.IFF_UP })}}, netlink.NUD_PERMANENT, lbmaps.NextHop{}},
		{"incomplete neighbour", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_INCOMPLETE, lbmaps.NextHop{}},
		{"failed neighbour", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_FAILED, lbmaps.NextHop{}},
		{"no neighbour", []netlink.Link{&netlink.Device{LinkAttrs: attrs(dev, 7)}}, netlink.NUD_NONE, lbmaps.NextHop{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := New(slog.New(slog.DiscardHandler))
			var s suspects
			for _, l := range c.links {
				r.setLink(linkOf(l), &s)
			}
			r.setNeighbour(&netlink.Neigh{
				LinkIndex: dev, Family: unix.AF_INET, IP: []byte{10, 0, 0, 1}, State: c.state, HardwareAddr: dst[:],
			}, false)
			c.want.Source, c.want.MTU = netip.MustParseAddr("10.0.0.9"), 1500
			got := r.hop(&route{found: true, via: neighbour{dev, netip.MustParseAddr("10.0.0.1")}, source: c.want.Source})
			if got != c.want {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// Who adds an address that others use as well learns of its new next hop, and the others
// have to be told nevertheless.
func TestAddLeavesNewsToOthers(t *testing.T) {
	const dev = 7
	addr := netip.MustParseAddr("10.0.0.1")
	r := New(slog.New(slog.DiscardHandler))
	r.following = true // nothing is read from the kernel
	var s suspects
	r.setLink(linkOf(&netlink.Device{LinkAttrs: attrs(dev, 7)}), &s)
	neighbourIs := func(mac byte) {
		r.setNeighbour(&netlink.Neigh{
			LinkIndex: dev, Family: unix.AF_INET, IP: addr.AsSlice(), State: netlink.NUD_REACHABLE,
			HardwareAddr: []byte{2, 0, 0, 0, 0, mac},
		}, false)
	}
	neighbourIs(1)
	r.routes[addr] = &route{found: true, via: neighbour{dev, addr}}
	if got := r.Add(t.Context(), []netip.Addr{addr})[addr].DstMAC[5]; got != 1 || r.signalIfChanged() {
		t.Fatalf("at first: MAC %d, or a signal of what is new to nobody", got)
	}
	r.routes[netip.MustParseAddr("10.0.0.2")] = &route{found: true, via: neighbour{dev, addr}}
	if r.signalIfChanged() {
		t.Error("a signal for an address that was never given")
	}
	neighbourIs(2)
	if got := r.Add(t.Context(), []netip.Addr{addr})[addr].DstMAC[5]; got != 2 {
		t.Errorf("added again: MAC %d, want the new one", got)
	}
	if !r.signalIfChanged() {
		t.Error("no signal, though whoever asked before has the old MAC")
	}
}

func TestMTU(t *testing.T) {
	for _, c := range []struct{ route, link, want int }{
		{0, 1500, 1500}, {1400, 1500, 1400}, {9000, 1500, 1500}, {0, 65536, 65535}, {0, 0, 0},
	} {
		if got := mtuOf(c.route, c.link); int(got) != c.want {
			t.Errorf("mtuOf(route %d, link %d) = %d, want %d", c.route, c.link, got, c.want)
		}
	}
}

// A link message without news, such as one for its counters, puts nothing in doubt.
func TestLinkNews(t *testing.T) {
	r := New(slog.New(slog.DiscardHandler))
	after := func(mac byte) bool {
		var s suspects
		r.setLink(linkOf(&netlink.Device{LinkAttrs: attrs(1, mac)}), &s)
		return s.any()
	}
	if !after(1) || after(1) || !after(2) {
		t.Error("news: want at the first message and with another MAC, not with the same again")
	}
}
