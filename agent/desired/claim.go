package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/maps"
)

// Annotations of a Service that package ipam follows.
const (
	// IPsAnnotation holds the addresses that a Service wants, at most one of each family,
	// separated by a comma. It says what spec.loadBalancerIP does, for two families.
	IPsAnnotation = "penstock.dev/ips"
	// PoolAnnotation names the pool that its addresses are to be from.
	PoolAnnotation = "penstock.dev/pool"
	// SharingKeyAnnotation lets Services of one namespace with the same value have one
	// address, with different ports.
	SharingKeyAnnotation = "penstock.dev/sharing-key"
)

// Claim gives what a Service that is ours asks of package ipam, with what it holds; false
// for one that is not ours or gets no address. ns may be nil. Findings say what is wrong
// with its request, and are in the claim as well: such a Service keeps what it holds and
// gets nothing new, as another address than the one that was meant would have to be
// taken away again once the mistake is corrected.
//
// A Service that is being deleted keeps its claim for as long as the object is there, as
// its status goes on to name the address, but gets none any more. One whose ports
// cannot be served has an address all the same: an edit of ports never moves one.
func Claim(svc *corev1.Service, ns *corev1.Namespace, defaultClass bool) (c ipam.Claim, findings []ipam.Finding, ours bool) {
	held := heldBy(svc)
	switch {
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer || !classOurs(svc, defaultClass),
		svc.Spec.ClusterIP == corev1.ClusterIPNone,
		svc.DeletionTimestamp != nil && len(held) == 0:
		return ipam.Claim{}, nil, false
	}
	c = ipam.Claim{
		Service: key(svc), UID: string(svc.UID), Created: svc.CreationTimestamp.Time,
		Namespace: svc.Namespace, Labels: svc.Labels,
		Policy:     policyOf(svc),
		Ports:      portsToClaim(svc),
		Pool:       strings.TrimSpace(svc.Annotations[PoolAnnotation]),
		SharingKey: strings.TrimSpace(svc.Annotations[SharingKeyAnnotation]),
		Held:       held,
		Version:    svc.ResourceVersion,
	}
	if ns != nil {
		c.NamespaceLabels = ns.Labels
	}
	families := familiesOf(svc)
	c.IPv4, c.IPv6 = slices.Contains(families, ipv4), slices.Contains(families, ipv6)
	c.First6 = families[0] == ipv6
	c.Requested, c.AskedBy, c.Invalid = requestOf(svc, families)
	return c, c.Invalid, true
}

// heldBy gives the addresses in svc's status in their order. Whether ipMode is VIP or
// Proxy says what kube-proxy does with an address, not whose it is.
func heldBy(svc *corev1.Service) (out []netip.Addr) {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		a, err := netip.ParseAddr(in.IP)
		if a = a.Unmap(); err == nil && a.Zone() == "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func policyOf(svc *corev1.Service) ipam.Policy {
	if p := svc.Spec.IPFamilyPolicy; p != nil {
		switch *p {
		case corev1.IPFamilyPolicyPreferDualStack:
			return ipam.PreferDual
		case corev1.IPFamilyPolicyRequireDualStack:
			return ipam.RequireDual
		}
	}
	return ipam.SingleStack
}

// familiesOf gives the families of svc, the first one first. The API server fills
// ipFamilies in; where nobody has, those of the cluster addresses count, or IPv4.
func familiesOf(svc *corev1.Service) (out []family) {
	add := func(f family) {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	for _, f := range svc.Spec.IPFamilies {
		switch f {
		case corev1.IPv4Protocol:
			add(ipv4)
		case corev1.IPv6Protocol:
			add(ipv6)
		}
	}
	for _, s := range append(slices.Clone(svc.Spec.ClusterIPs), svc.Spec.ClusterIP) {
		if a, err := netip.ParseAddr(s); err == nil && len(svc.Spec.IPFamilies) == 0 {
			add(familyOf(a))
		}
	}
	if len(out) == 0 {
		add(ipv4)
	}
	return out
}

// portsToClaim gives the ports that can be served, without duplicates. Two ports of one
// name count both: the name does not matter to an address.
func portsToClaim(svc *corev1.Service) (out []ipam.Port) {
	seen := map[ipam.Port]bool{}
	for _, sp := range svc.Spec.Ports {
		p, no := parsePort(sp)
		proto := corev1.ProtocolTCP
		if p.proto == maps.UDP {
			proto = corev1.ProtocolUDP
		}
		c := ipam.Port{Number: p.number, Protocol: string(proto)}
		if no.reason == "" && !seen[c] {
			seen[c], out = true, append(out, c)
		}
	}
	return out
}

// What of a request is told to be wrong: whoever may annotate a Service can write 256 KiB.
const (
	mostWrong  = 3  // words
	mostOfWord = 80 // bytes of each
)

func clipped(text string) string {
	if len(text) <= mostOfWord {
		return text
	}
	return strings.ToValidUTF8(text[:mostOfWord], "") + "…"
}

// requestOf gives the addresses that svc asks for, by family, and the field that does, the
// first one of two; or, as a mistake may be in any of them, none and what is wrong.
func requestOf(svc *corev1.Service, families []family) (out []netip.Addr, first string, wrong []ipam.Finding) {
	ask := func(field, text string) {
		refuse := func(format string, args ...any) {
			wrong = append(wrong, ipam.Finding{Reason: ipam.InvalidRequest, Field: field,
				Message: fmt.Sprintf("%s asks for %q: ", field, clipped(text)) + fmt.Sprintf(format, args...)})
		}
		addr, no := usableVIP(text)
		if no.reason != "" {
			refuse("%s", no.detail)
			return
		}
		if f := familyOf(addr); !slices.Contains(families, f) {
			refuse("an %s address, which spec.ipFamilies %v does not have; add the family or remove the address", f, svc.Spec.IPFamilies)
			return
		}
		for _, have := range out {
			if have != addr && familyOf(have) == familyOf(addr) {
				refuse("%s asks for %s already, and a Service gets one address of each family; remove one of them", first, have)
				return
			}
		}
		if !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if text := svc.Annotations[IPsAnnotation]; strings.TrimSpace(text) != "" {
		first = annotation(IPsAnnotation)
		for word := range strings.SplitSeq(text, ",") {
			if ask(first, strings.TrimSpace(word)); len(wrong) == mostWrong {
				break
			}
		}
	}
	if text := svc.Spec.LoadBalancerIP; text != "" {
		if len(out) == 0 {
			first = "spec.loadBalancerIP"
		}
		ask("spec.loadBalancerIP", text)
	}
	if len(wrong) > 0 {
		return nil, "", wrong
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, first, nil
}
