package desired

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// Claim gives what a Service that is ours asks of package ipam, with what it holds; false
// for one that is not ours or gets no address. ns may be nil. Findings are of annotations
// that do not count.
func Claim(svc *corev1.Service, ns *corev1.Namespace, defaultClass bool) (c ipam.Claim, findings []ipam.Finding, ours bool) {
	return ipam.Claim{}, nil, false
}
