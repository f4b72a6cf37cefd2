package desired

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/maps"
)

// Class is the loadBalancerClass of Services that are meant for us alone.
const Class = "penstock.dev/xdp"

// refusal is why a whole Service is not in force. The zero value is none.
type refusal struct {
	reason Reason
	detail string
}

// classOurs reports whether the loadBalancerClass of svc is ours; byDefault says that
// none is. The API server lets the class of a LoadBalancer Service be changed only
// together with its type (KEP-1959).
func classOurs(svc *corev1.Service, byDefault bool) bool {
	if class := svc.Spec.LoadBalancerClass; class != nil && *class != "" {
		return *class == Class
	}
	return byDefault
}

// ours reports whether svc is for us to look at, and if so why it is refused.
// byDefault says that Services without a class are ours.
func ours(svc *corev1.Service, byDefault bool, now time.Time) (bool, refusal) {
	class := ""
	if svc.Spec.LoadBalancerClass != nil {
		class = *svc.Spec.LoadBalancerClass
	}
	switch {
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer && class == Class:
		return true, refusal{NotLoadBalancer, fmt.Sprintf("type is %q; only LoadBalancer is served", svc.Spec.Type)}
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return false, refusal{}
	case !classOurs(svc, byDefault) && class != "":
		return true, refusal{OtherClass, fmt.Sprintf("loadBalancerClass is %q; ours is %q", class, Class)}
	case !classOurs(svc, byDefault):
		return true, refusal{OtherClass, fmt.Sprintf("it has no loadBalancerClass; ours is %q, and without one only with defaultClass: true", Class)}
	case svc.DeletionTimestamp != nil && !svc.DeletionTimestamp.After(now):
		return true, refusal{Deleted, "deletionTimestamp has passed"}
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return true, refusal{Headless, "clusterIP is None, which a LoadBalancer Service cannot be"}
	case len(svc.Spec.Ports) == 0:
		return true, refusal{NoPorts, "spec.ports is empty"}
	}
	return true, refusal{}
}

// seniority orders Services so that of two which claim one frontend the first
// has it: the older one, one of known age before one of unknown age, and of two
// equally old ones the first by name. All load balancer nodes must agree, so
// that who came first to this node does not count.
func seniority(a, b *corev1.Service) int {
	x, y := a.CreationTimestamp.Time, b.CreationTimestamp.Time
	switch {
	case x.Equal(y):
		return strings.Compare(key(a), key(b))
	case x.IsZero():
		return 1
	case y.IsZero():
		return -1
	}
	return x.Compare(y)
}

// older reports whether a is known to be older than b.
func older(a, b *corev1.Service) bool {
	x, y := a.CreationTimestamp.Time, b.CreationTimestamp.Time
	return !x.IsZero() && !y.IsZero() && x.Before(y)
}

// whySenior says why winner comes before loser.
func whySenior(winner, loser *corev1.Service) string {
	x, y := winner.CreationTimestamp.Time, loser.CreationTimestamp.Time
	switch {
	case x.IsZero() && y.IsZero():
		return "comes first by name, as neither has a creationTimestamp"
	case x.Equal(y):
		return "is as old and comes first by name"
	case y.IsZero():
		return "has a creationTimestamp and this one has none"
	}
	return "is older, of " + x.UTC().Format(time.RFC3339)
}

func key(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// port is a Service port that the data path can have.
type port struct {
	label  string // name, or the number where it has none
	name   string // as slices call it
	number uint16
	proto  maps.Proto
}

func (p port) String() string { return p.label + "/" + p.proto.String() }

func parsePort(sp corev1.ServicePort) (port, refusal) {
	p := port{label: sp.Name, name: sp.Name}
	if p.label == "" {
		p.label = fmt.Sprint(sp.Port)
	}
	proto, ok := parseProto(&sp.Protocol)
	if !ok {
		return p, refusal{UnsupportedProtocol, fmt.Sprintf("protocol %q; TCP and UDP are served", sp.Protocol)}
	}
	if sp.Port < 1 || sp.Port > 65535 {
		return p, refusal{InvalidPort, fmt.Sprintf("port %d is not within 1–65535", sp.Port)}
	}
	p.proto, p.number = proto, uint16(sp.Port)
	return p, refusal{}
}

// parseProto applies the default of the API: TCP.
func parseProto(p *corev1.Protocol) (maps.Proto, bool) {
	if p == nil {
		return maps.TCP, true
	}
	switch *p {
	case "", corev1.ProtocolTCP:
		return maps.TCP, true
	case corev1.ProtocolUDP:
		return maps.UDP, true
	}
	return 0, false
}

func affinity(svc *corev1.Service) (maps.Affinity, refusal) {
	switch svc.Spec.SessionAffinity {
	case "", corev1.ServiceAffinityNone:
		return maps.AffinityNone, refusal{}
	case corev1.ServiceAffinityClientIP:
		return maps.AffinityClientIP, refusal{}
	}
	return maps.AffinityNone, refusal{UnsupportedAffinity,
		fmt.Sprintf("sessionAffinity %q; None is used, ClientIP can be", svc.Spec.SessionAffinity)}
}
