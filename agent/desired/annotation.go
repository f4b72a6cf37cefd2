package desired

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations that are read.
const (
	// RoleAnnotation, on a Node, is what it takes part in tunnels as: lb, backend
	// or both, separated by a comma.
	RoleAnnotation = "penstock.dev/role"
	// TunnelAnnotation, on a Node, holds the addresses at which it takes tunnel
	// packets, and sends them from, at most one of each family: the one to use of
	// several comes first. Without it the InternalIPs are.
	TunnelAnnotation = "penstock.dev/tunnel-address"
	// WeightAnnotation, on a Pod or for all endpoints of an EndpointSlice, is a
	// share of the new flows, from 1 to MaxWeight. The Pod's counts first.
	WeightAnnotation = "penstock.dev/weight"
	// ForwardingAnnotation, on a Service, is a Forwarding.
	ForwardingAnnotation = "penstock.dev/forwarding"
)

// AllocatedCondition is the type of the condition on a Service that says what became of its
// request for addresses.
const AllocatedCondition = "penstock.dev/Allocated"

// MaxWeight is the greatest weight of an endpoint. One without a weight has 1.
const MaxWeight = 1000

// Forwarding says how packets may reach the endpoints of a Service.
type Forwarding string

const (
	ForwardingAuto Forwarding = "auto" // through a tunnel where the endpoint's node answers, else translated
	ForwardingDSR  Forwarding = "dsr"  // through a tunnel or not at all
	ForwardingNAT  Forwarding = "nat"  // translated
)

// forwarding gives what svc asks for, or else the configuration, and in source
// which of them it was.
func (b *builder) forwarding(svc *corev1.Service) (f Forwarding, source string) {
	text, set := svc.Annotations[ForwardingAnnotation]
	switch f := Forwarding(text); f {
	case ForwardingAuto, ForwardingDSR, ForwardingNAT:
		return f, "the Service's annotation " + ForwardingAnnotation
	}
	f = b.site.Forwarding
	if f == "" {
		f = ForwardingAuto
	}
	if set {
		b.explain(svc, "", InvalidAnnotation, fmt.Sprintf("%s is %q, so that %s of the configuration counts; write auto, dsr or nat", ForwardingAnnotation, clipped(text), f))
	}
	return f, "the configuration's key forwarding"
}

// weightOf gives an object's weight, 0 if it has none, and what is wrong with it.
func weightOf(o metav1.Object) (uint32, string) {
	text, set := o.GetAnnotations()[WeightAnnotation]
	if !set {
		return 0, ""
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > MaxWeight {
		return 0, fmt.Sprintf("%s is %q and does not count; write a whole number from 1 to %d", WeightAnnotation, clipped(text), MaxWeight)
	}
	return uint32(n), ""
}
