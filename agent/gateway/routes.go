package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bgp"
)

var families = map[bgp.Family]int{bgp.IPv4: netlink.FAMILY_V4, bgp.IPv6: netlink.FAMILY_V6}

// read asks the kernel for the gateways of each family, sorted.
func read(h *netlink.Handle) (map[bgp.Family][]netip.Addr, error) {
	out := map[bgp.Family][]netip.Addr{}
	for f, family := range families {
		routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // the kernel has no such family
		}
		if err != nil {
			return nil, fmt.Errorf("read %s default routes: %w", f, err)
		}
		if out[f], err = gateways(h, best(routes)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// best gives the default routes of the lowest metric that have a gateway.
func best(routes []netlink.Route) (out []netlink.Route) {
	for _, r := range routes {
		switch usable := isDefault(r.Dst) && r.Type == unix.RTN_UNICAST && len(hops(r)) > 0; {
		case !usable || len(out) > 0 && r.Priority > out[0].Priority:
		case len(out) > 0 && r.Priority < out[0].Priority:
			out = []netlink.Route{r}
		default:
			out = append(out, r)
		}
	}
	return out
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0
}

// hop is a next hop with a gateway.
type hop struct {
	addr netip.Addr
	link int
}

// hops leaves out next hops that the kernel has for dead, as their link is down.
func hops(r netlink.Route) (out []hop) {
	all := r.MultiPath
	if len(all) == 0 {
		all = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Flags: r.Flags}}
	}
	for _, n := range all {
		if n.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0 {
			continue
		}
		if a, ok := gatewayOf(n); ok {
			out = append(out, hop{a, n.LinkIndex})
		}
	}
	return out
}

// gatewayOf may be of the other family than its route (RFC 5549).
func gatewayOf(n *netlink.NexthopInfo) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(n.Gw)
	if via, is := n.Via.(*netlink.Via); !ok && is {
		a, ok = netip.AddrFromSlice(via.Addr)
	}
	return a.Unmap(), ok && !a.IsUnspecified()
}

// gateways names the devices of link-local addresses.
func gateways(h *netlink.Handle, routes []netlink.Route) (out []netip.Addr, err error) {
	for _, r := range routes {
		for _, n := range hops(r) {
			if n.addr.Is6() && n.addr.IsLinkLocalUnicast() {
				link, err := h.LinkByIndex(n.link)
				if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
					continue // and so is the route, by now
				}
				if err != nil {
					return nil, fmt.Errorf("look up interface %d of gateway %s: %w", n.link, n.addr, err)
				}
				n.addr = n.addr.WithZone(link.Attrs().Name)
			}
			out = append(out, n.addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}
