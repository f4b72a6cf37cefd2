package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// condition is what an endpoint is fit for. Where two slices disagree about an
// endpoint, the greater one holds.
type condition uint8

const (
	unfit       condition = iota // keeps the flows that it has
	terminating                  // serves, and takes new flows where nothing is ready
	ready                        // takes new flows
)

// conditionOf applies the defaults of the API (KEP-1672): serving and not terminating
// unless said otherwise. Who says that an endpoint is ready means it, whatever else is
// said, as the controller does of terminating ones where publishNotReadyAddresses is set.
// Where nothing says whether it is, one is that serves and is not terminating; the API
// would have it ready even if it is not serving, which nobody writes on purpose.
// publishNotReady makes every endpoint ready, as it does for the controller.
func conditionOf(c discoveryv1.EndpointConditions, publishNotReady bool) condition {
	isTrue := func(b *bool, unset bool) bool {
		if b == nil {
			return unset
		}
		return *b
	}
	serving, ending := isTrue(c.Serving, true), isTrue(c.Terminating, false)
	switch {
	case publishNotReady, isTrue(c.Ready, false):
		return ready
	case !serving:
		return unfit
	case ending:
		return terminating
	case c.Ready == nil:
		return ready
	}
	return unfit
}

type endpoint struct {
	addr   netip.Addr
	cond   condition
	node   string
	weight uint32   // from 1
	zones  []string // that hints name
	times
}

// endpointSet is the usable content of one slice.
type endpointSet struct {
	family    family
	ports     []discoveryv1.EndpointPort
	endpoints []endpoint
}

// byService groups slices by the namespace/name of the Service that they belong
// to, each group sorted by name.
func byService(all []*discoveryv1.EndpointSlice) map[string][]*discoveryv1.EndpointSlice {
	out := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range all {
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			k := s.Namespace + "/" + name
			out[k] = append(out[k], s)
		}
	}
	for _, group := range out {
		slices.SortFunc(group, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	}
	return out
}

// parseSlices reads the slices of svc and explains what in them is of no use.
func (b *builder) parseSlices(svc *corev1.Service) []endpointSet {
	var out []endpointSet
	for _, s := range b.slices {
		set := endpointSet{ports: s.Ports}
		weight, why := weightOf(s)
		if why != "" {
			b.explain(svc, "slice "+s.Name, InvalidAnnotation, why)
		}
		if why := strays(onSlice, s); why != "" {
			b.explain(svc, "slice "+s.Name, InvalidAnnotation, why)
		}
		switch s.AddressType {
		case discoveryv1.AddressTypeIPv4:
			set.family = ipv4
		case discoveryv1.AddressTypeIPv6:
			set.family = ipv6
		default:
			b.explain(svc, "slice "+s.Name, UnsupportedSlice, fmt.Sprintf("addressType %q; IPv4 and IPv6 are served", s.AddressType))
			continue
		}
		var bad []string
		for _, ep := range s.Endpoints {
			e, why := b.parseEndpoint(ep, set.family)
			if why != "" {
				bad = append(bad, why)
			}
			if e.addr.IsValid() {
				e.weight = weight
				b.know(&e, svc, podOf(ep, s, b.pods), ep)
				set.endpoints = append(set.endpoints, e)
			}
		}
		if len(bad) > 0 {
			slices.Sort(bad)
			b.explain(svc, "slice "+s.Name, InvalidEndpoint, abridge(slices.Compact(bad)))
		}
		out = append(out, set)
	}
	return out
}

// otherFamily says which slices list endpoints of the other family than f, which is mostly
// why there are none of f.
func (b *builder) otherFamily(svc *corev1.Service, f family) string {
	other, kind, protocol := ipv6, discoveryv1.AddressTypeIPv6, corev1.IPv6Protocol
	if f == ipv6 {
		other, kind, protocol = ipv4, discoveryv1.AddressTypeIPv4, corev1.IPv4Protocol
	}
	var names []string
	for _, s := range b.slices {
		if s.AddressType == kind && len(s.Endpoints) > 0 {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	text := fmt.Sprintf("; those of %s are %s", abridge(names), other)
	if families := svc.Spec.IPFamilies; len(families) > 0 && !slices.Contains(families, protocol) {
		text += fmt.Sprintf(", which spec.ipFamilies %v does not have", families)
	}
	return text
}

// parseEndpoint gives an endpoint, whose address is invalid if it is of no use,
// and what is wrong with it. Only the first address counts, as in kube-proxy.
func (b *builder) parseEndpoint(ep discoveryv1.Endpoint, f family) (endpoint, string) {
	if len(ep.Addresses) == 0 {
		return endpoint{}, "endpoint without an address"
	}
	s := ep.Addresses[0]
	addr, why := unicast(s)
	switch {
	case why != "":
		return endpoint{}, fmt.Sprintf("endpoint %s: %s", s, why)
	case familyOf(addr) != f:
		return endpoint{}, fmt.Sprintf("endpoint %s: not an %s address", s, f)
	}
	if holder := b.holder(addr); holder != nil {
		return endpoint{}, fmt.Sprintf("endpoint %s: it is a VIP of the older Service %s; list the endpoints behind it", s, key(holder))
	}
	if len(ep.Addresses) > 1 {
		return endpoint{addr: addr}, fmt.Sprintf("endpoint %s: its further addresses are not used; make each an endpoint", s)
	}
	return endpoint{addr: addr}, ""
}

// know fills in what else there is to know of an endpoint, which has its slice's
// weight. The pod may be nil.
func (b *builder) know(e *endpoint, svc *corev1.Service, p *corev1.Pod, ep discoveryv1.Endpoint) {
	publish := svc.Spec.PublishNotReadyAddresses
	e.cond, e.node, e.times = conditionOf(ep.Conditions, publish), nodeOf(ep, p), timesOf(p, publish)
	if p != nil {
		weight, why := weightOf(p)
		if why != "" {
			b.explain(svc, "pod "+p.Namespace+"/"+p.Name, InvalidAnnotation, why)
		}
		if weight > 0 {
			e.weight = weight
		}
	}
	e.weight, e.zones = max(e.weight, 1), zonesOf(ep)
}

func abridge(s []string) string {
	const most = 3
	if len(s) <= most {
		return strings.Join(s, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(s[:most], "; "), len(s)-most)
}

// portNumbers gives the numbers under which a slice has a Service's port. A port
// without a number or with an impossible one is skipped.
func portNumbers(ports []discoveryv1.EndpointPort, p port) []uint16 {
	var out []uint16
	for _, sp := range ports {
		name := ""
		if sp.Name != nil {
			name = *sp.Name
		}
		proto, ok := parseProto(sp.Protocol)
		if !ok || proto != p.proto || name != p.name || sp.Port == nil || *sp.Port < 1 || *sp.Port > 65535 {
			continue
		}
		out = append(out, uint16(*sp.Port))
	}
	return out
}
