package desired

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

type family string

const (
	ipv4 family = "ipv4"
	ipv6 family = "ipv6"
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// externalAddresses gives what svc calls its external addresses, as written.
func externalAddresses(svc *corev1.Service) []string {
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			out = append(out, in.IP)
		}
	}
	if svc.Spec.LoadBalancerIP != "" {
		out = append(out, svc.Spec.LoadBalancerIP)
	}
	return append(out, svc.Spec.ExternalIPs...)
}

// vips gives the valid external addresses of svc, sorted and without
// duplicates, and explains the others.
func (b *builder) vips(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	written := externalAddresses(svc)
	for _, s := range written {
		addr, no := b.vip(s)
		if no.reason != "" {
			b.explain(svc, s, no.reason, no.detail)
			continue
		}
		out = append(out, addr)
	}
	if len(written) == 0 {
		b.explain(svc, "", NoAddress, "no IP address in status.loadBalancer.ingress, spec.loadBalancerIP or spec.externalIPs")
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// vip parses an external address, or says why no Service may have it.
func (b *builder) vip(s string) (netip.Addr, refusal) {
	addr, no := usableVIP(s)
	if no.reason != "" {
		return addr, no
	}
	if no := b.site.reserved(addr); no.reason != "" {
		return addr, no
	}
	if node := b.nodes[addr]; node != "" {
		return addr, refusal{AddressIsNode, fmt.Sprintf("it is the address of node %s; give one that no host has", node)}
	}
	return addr, b.site.outside(addr)
}

// usableVIP parses an external address, or says why it is none anywhere.
func usableVIP(s string) (netip.Addr, refusal) {
	addr, why := unicast(s)
	if why == "" {
		why = unroutable(addr)
	}
	if why != "" {
		return addr, refusal{InvalidAddress, why + "; give a unicast address"}
	}
	return addr, refusal{}
}

// unroutable says why no router takes a route to addr. Pods may well have an
// address of 240.0.0.0/4, so that this is not asked of endpoints.
func unroutable(addr netip.Addr) string {
	for _, r := range []struct{ prefix, what string }{
		{"240.0.0.0/4", "reserved address (RFC 1112)"},
		{"::/96", "IPv4-compatible address (RFC 4291)"},
		{"100::/64", "discard-only address (RFC 6666)"},
		{"fec0::/10", "site-local address (RFC 3879)"},
	} {
		if netip.MustParsePrefix(r.prefix).Contains(addr) {
			return r.what
		}
	}
	return ""
}

// unicast parses an address that packets of other hosts can have as their
// destination, or says why it is none.
func unicast(s string) (addr netip.Addr, why string) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return addr, "not an IP address"
	case addr.Zone() != "":
		return addr, "it has a zone"
	case addr.Is4In6():
		return addr, fmt.Sprintf("IPv4-mapped; write %s", addr.Unmap())
	case addr.IsUnspecified():
		return addr, "unspecified address"
	case addr.Is4() && addr.As4()[0] == 0:
		return addr, "address of this network (RFC 791)"
	case addr.IsLoopback():
		return addr, "loopback address"
	case addr.IsMulticast():
		return addr, "multicast address"
	case addr.IsLinkLocalUnicast():
		return addr, "link-local address"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, "broadcast address"
	}
	return addr, ""
}

// nodeAddresses maps the addresses of hosts to the first node by name that has
// each.
func nodeAddresses(nodes []*corev1.Node) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
				continue
			}
			addr, err := netip.ParseAddr(a.Address)
			if have, ok := out[addr]; err == nil && (!ok || n.Name < have) {
				out[addr] = n.Name
			}
		}
	}
	return out
}

// excluded reports whether the label that keeps a node out of external load
// balancers is set on the node of that name.
func excluded(nodes []*corev1.Node, name string) bool {
	return slices.ContainsFunc(nodes, func(n *corev1.Node) bool {
		_, set := n.Labels[corev1.LabelNodeExcludeBalancers]
		return n.Name == name && set
	})
}
