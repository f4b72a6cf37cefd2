package bgp

import (
	"fmt"
	"net"
	"net/netip"
)

// hops are the next hops of one session, by family, and why there is none.
type hops struct {
	addrs map[Family]netip.Addr
	lacks map[Family]string
}

// hops says what a router is given as next hops by a session from a local address: what is configured,
// else our end of the session. Where that is of the other family, IPv4 goes by an IPv6 next hop (RFC
// 8950), and IPv6 by an address of the device that has our end.
func (p Peer) hops(local netip.Addr) hops {
	h := hops{map[Family]netip.Addr{}, map[Family]string{}}
	for _, f := range p.Families {
		configured := p.NextHop4
		if f == IPv6 {
			configured = p.NextHop6
		}
		switch {
		case configured.IsValid():
			h.addrs[f] = configured
		case f == IPv6 && local.Is4():
			addr, err := neighbour(local)
			if err != nil {
				h.lacks[f] = err.Error()
				continue
			}
			h.addrs[f] = addr
		default:
			h.addrs[f] = reachable(local)
		}
	}
	return h
}

// neighbour is a global IPv6 address of the device that has an IPv4 one.
func neighbour(local netip.Addr) (netip.Addr, error) {
	device, err := deviceOf(local)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := globalAddress(device, IPv6)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no next hop for ipv6 over an IPv4 session: %w: set nextHop6", err)
	}
	return addr, nil
}

// reachable prefers a global address of the same device to a link-local one, which not every router
// takes as a next hop. There may be none.
func reachable(local netip.Addr) netip.Addr {
	if !local.IsLinkLocalUnicast() || local.Is4() {
		return local
	}
	if addr, err := globalAddress(local.Zone(), IPv6); err == nil {
		return addr
	}
	return local.WithZone("")
}

func deviceOf(addr netip.Addr) (string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list devices: %w", err)
	}
	for _, d := range devices {
		addrs, _ := d.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr {
				return d.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no device has the address %s", addr)
}
