package nexthop

import (
	"maps"
	"math"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what a next hop needs to know of a device.
type link struct {
	index     int
	mac       [6]byte
	mtu       int
	running   bool   // up, and with a carrier
	transmits bool   // takes Ethernet frames from XDP
	vlan      uint16 // 802.1Q ID of a VLAN device, whose frames leave by lower
	lower     int
}

func linkOf(l netlink.Link) link {
	a := l.Attrs()
	out := link{
		index:     a.Index,
		mtu:       a.MTU,
		running:   a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
		transmits: transmits(l),
	}
	out.mac, _ = macOf(a.HardwareAddr)
	if v, ok := l.(*netlink.Vlan); ok && v.VlanProtocol != netlink.VLAN_PROTOCOL_8021AD {
		out.vlan = uint16(v.VlanId)
		if a.NetNsID < 0 { // otherwise ParentIndex is another namespace's
			out.lower = a.ParentIndex
		}
	}
	return out
}

// transmits is true for physical Ethernet devices, which have no kind, and for the virtual ones that have an
// ndo_xdp_xmit. A redirect to another one (bridge, macvlan, dummy, tunnel) would lose the frame.
func transmits(l netlink.Link) bool {
	if l.Attrs().EncapType != "ether" {
		return false
	}
	switch l.Type() {
	case "device", "veth", "bond":
		return true
	}
	return false
}

func macOf(hw net.HardwareAddr) (mac [6]byte, ok bool) {
	if len(hw) != len(mac) {
		return mac, false
	}
	return [6]byte(hw), true
}

// mtuOf is the route's MTU where it has one, and never more than the device's or than an IP packet.
func mtuOf(routeMTU, linkMTU int) uint16 {
	mtu := linkMTU
	if routeMTU != 0 {
		mtu = min(mtu, routeMTU)
	}
	return uint16(min(mtu, math.MaxUint16))
}

// setLink takes a new state of a device over. Going down takes routes away without an event for each
// (fib_sync_down_dev), coming up may bring back any that ignored it.
func (r *Resolver) setLink(l link, s *suspects) {
	old, had := r.links[l.index]
	r.links[l.index] = l
	s.joined = s.joined || l != old
	switch {
	case !had || old.running == l.running:
	case l.running:
		s.all = true
		maps.DeleteFunc(r.provoked, func(n neighbour, _ time.Time) bool { return n.link == l.index })
	default:
		s.addLink(l.index)
	}
}

func (r *Resolver) deleteLink(index int, s *suspects) {
	delete(r.links, index)
	s.addLink(index)
	maps.DeleteFunc(r.neighbours, func(n neighbour, _ entry) bool { return n.link == index })
}
