package system

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// MTU is an interface's, in bytes of IP packet.
func (Kernel) MTU(name string) (int, error) {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return dev.Attrs().MTU, nil
}

// PodNetns finds the network namespace that an address of this node is in: bpf.PodNetnsOwn
// for the node's own, bpf.PodNetnsUnknown where the route to it tells nothing, or the ID that
// the node's namespace has for the other end of the veth that the route leads to, as it is or
// as a port of a bridge.
func (Kernel) PodNetns(pod netip.Addr) int32 {
	routes, err := netlink.RouteGet(net.IP(pod.AsSlice()))
	if err != nil || len(routes) == 0 {
		return bpf.PodNetnsUnknown
	}
	if routes[0].Type == unix.RTN_LOCAL {
		return bpf.PodNetnsOwn
	}
	dev, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return bpf.PodNetnsUnknown
	}
	if dev.Type() == "bridge" {
		if dev = port(dev.Attrs().Index, pod); dev == nil {
			return bpf.PodNetnsUnknown
		}
	}
	if id := dev.Attrs().NetNsID; dev.Type() == "veth" && id >= 0 {
		return int32(id)
	}
	return bpf.PodNetnsUnknown
}

// port is the one of a bridge that an address is behind, by its neighbour entry and the
// forwarding database; nil if that does not tell.
func port(bridge int, pod netip.Addr) netlink.Link {
	family := netlink.FAMILY_V4
	if pod.Is6() {
		family = netlink.FAMILY_V6
	}
	neighbours, _ := netlink.NeighList(bridge, family) // none tells as little as an error
	var mac net.HardwareAddr
	for _, n := range neighbours {
		if addr, ok := netip.AddrFromSlice(n.IP); ok && addr.Unmap() == pod {
			mac = n.HardwareAddr
		}
	}
	if len(mac) == 0 {
		return nil
	}
	entries, _ := netlink.NeighList(0, unix.AF_BRIDGE)
	for _, e := range entries {
		if e.MasterIndex != bridge || !bytes.Equal(e.HardwareAddr, mac) {
			continue
		}
		if dev, err := netlink.LinkByIndex(e.LinkIndex); err == nil {
			return dev
		}
	}
	return nil
}
