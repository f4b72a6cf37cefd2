package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/ipam"
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

// asked is an address that a Service has or wants, as written.
type asked struct {
	text     string
	status   bool // status has it
	external bool // externalIPs has it
}

// addressesOf gives what svc calls its external addresses. Where package ipam allocates
// them, requests are for it to grant: they count once status has them.
func (s Site) addressesOf(svc *corev1.Service) (out []asked) {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			out = append(out, asked{text: in.IP, status: true})
		}
	}
	if !s.Allocated {
		if svc.Spec.LoadBalancerIP != "" {
			out = append(out, asked{text: svc.Spec.LoadBalancerIP})
		}
		if ips := svc.Annotations[IPsAnnotation]; strings.TrimSpace(ips) != "" {
			for ip := range strings.SplitSeq(ips, ",") {
				out = append(out, asked{text: strings.TrimSpace(ip)})
			}
		}
	}
	for _, ip := range svc.Spec.ExternalIPs {
		out = append(out, asked{text: ip, external: true})
	}
	return out
}

// vips gives the valid external addresses of svc, sorted and without duplicates, and
// explains the others. External are those that only externalIPs has, where package ipam
// allocates addresses.
func (b *builder) vips(svc *corev1.Service) (out []netip.Addr, external map[netip.Addr]bool) {
	written := b.site.addressesOf(svc)
	external = map[netip.Addr]bool{}
	for _, a := range written {
		addr, no := b.vip(a.text)
		switch {
		case no.reason == AddressIsNode && b.granted(addr, a):
			no = b.site.outside(addr)
			b.explain(svc, a.text, AddressClaimed, fmt.Sprintf("node %s says that it has this address, which a pool gave to this Service, and does not get it; correct the Node's status.addresses, or take the address out of the pool", b.nodes[addr]))
		case no.reason == "" && b.site.Allocated:
			no = b.pooled(svc, addr, a)
		}
		if no.reason != "" {
			b.explain(svc, a.text, no.reason, no.detail)
		}
		if no.reason != "" && no.reason != OutsidePools || slices.Contains(out, addr) {
			continue
		}
		out = append(out, addr)
		if a.external && b.site.Allocated {
			external[addr] = true
		}
	}
	switch {
	case len(written) > 0:
	case b.site.Allocated:
		no := b.unallocated(svc)
		b.explain(svc, "", no.reason, no.detail)
	default:
		b.explain(svc, "", NoAddress, "no IP address in status.loadBalancer.ingress, spec.loadBalancerIP, spec.externalIPs or the annotation "+IPsAnnotation)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, external
}

// unallocated says why a Service has no address from a pool. What its condition says is
// told in those words, if it is what package ipam says.
func (b *builder) unallocated(svc *corev1.Service) refusal {
	if len(b.site.Pools) == 0 {
		return refusal{NoAddress, "no IP address in status.loadBalancer.ingress, and no pool is configured to give it one; write pools into the configuration"}
	}
	i := slices.IndexFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == AllocatedCondition })
	if i < 0 {
		return refusal{AddressPending, "it has yet to get an address from a pool; 'penstock pools' says which agent gives them"}
	}
	c := svc.Status.Conditions[i]
	if slices.Contains(ipam.Refusals, ipam.Reason(c.Reason)) {
		return refusal{Reason(c.Reason), c.Message}
	}
	return refusal{NoAddress, "no IP address in status.loadBalancer.ingress; its condition " + AllocatedCondition + " says: " + c.Message}
}

// granted tells whether an address that a Node claims was given from a pool. The pools are
// the operator's, while a kubelet may write any address into its own Node, and could end any VIP
// with that. What is in truth this node's own is nobody's VIP in either case.
func (b *builder) granted(addr netip.Addr, a asked) bool {
	return b.site.Allocated && a.status && b.site.reserved(addr).reason == "" &&
		slices.ContainsFunc(b.site.Pools, func(p ipam.Pool) bool { return p.Contains(addr) })
}

// pooled holds an address of svc to the pools. One in its status stays in force when its
// pool goes, for live traffic is on it. Whoever may write a Service may write externalIPs
// too, and could take any host's traffic with them (CVE-2020-8554): they count only where
// the Service could have got the address from a pool.
func (b *builder) pooled(svc *corev1.Service, addr netip.Addr, a asked) refusal {
	var in []string
	for _, p := range b.site.Pools {
		if !p.Contains(addr) {
			continue
		}
		if a.status || ipam.Admits(p, b.claimant(svc)) {
			return refusal{}
		}
		in = append(in, p.Name)
	}
	switch {
	case a.status && len(b.site.Pools) == 0: // somebody else allocates
		return refusal{}
	case a.status:
		return refusal{OutsidePools, "it is in status and stays in force, but no pool has it any more; add it to a pool, or delete and create the Service to have another"}
	case len(in) > 0:
		return refusal{ExternalIPRefused, fmt.Sprintf("spec.externalIPs has it, but pool %s does not admit this Service", strings.Join(in, ", "))}
	}
	return refusal{ExternalIPRefused, "spec.externalIPs has it, but no pool does; give an address of a pool that admits this Service"}
}

// claimant is svc as pools see it.
func (b *builder) claimant(svc *corev1.Service) ipam.Claim {
	c := ipam.Claim{Namespace: svc.Namespace, Labels: svc.Labels}
	if b.space != nil {
		c.NamespaceLabels = b.space.Labels
	}
	return c
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
