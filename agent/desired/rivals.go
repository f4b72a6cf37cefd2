package desired

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// yield takes away the VIPs that are addresses of endpoints, and notes the
// Services of those. An address cannot be both: the data path would take
// what it sends to the endpoint for a client's packet.
//
// The VIP yields, because whoever may write a Service can ask for any address
// and would get the traffic of others' endpoints, and slices are written by
// controllers. It stands only against an endpoint that is no pod's, as whoever
// may write slices could else end any VIP: there the older Service has the
// address where both ages are known, and what points to a VIP from a Service
// that is not ours does no harm.
func (b *builder) yield(all []*discoveryv1.EndpointSlice, mine []*corev1.Service) {
	owners := make(map[string]*corev1.Service, len(mine))
	for _, svc := range mine {
		owners[key(svc)] = svc
	}
	for _, s := range all {
		name := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		for _, ep := range s.Endpoints {
			addr, taken := b.takes(ep, owners[name])
			if have, known := b.rivals[addr]; taken && (!known || name < have) {
				b.rivals[addr] = name
			}
		}
	}
	for addr := range b.rivals {
		delete(b.holders, addr)
	}
}

// takes reports whether an endpoint of owner, which is nil if it is not ours,
// takes its address from the Service that would have it as a VIP.
func (b *builder) takes(ep discoveryv1.Endpoint, owner *corev1.Service) (netip.Addr, bool) {
	if len(ep.Addresses) == 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(ep.Addresses[0])
	holder := b.holders[addr]
	if err != nil || holder == nil {
		return addr, false
	}
	pod := ep.TargetRef != nil && ep.TargetRef.Kind == "Pod"
	return addr, pod || owner != nil && !older(holder, owner)
}
