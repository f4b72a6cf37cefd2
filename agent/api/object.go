package api

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// Object is what the source has of one Kubernetes Service, in the API's own words.
type Object struct {
	Service string    `json:"service"` // namespace/name
	UID     string    `json:"uid,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Deleted time.Time `json:"deleted,omitzero"` // its deletionTimestamp

	Type           string   `json:"type"`
	Class          string   `json:"class,omitempty"` // loadBalancerClass
	FamilyPolicy   string   `json:"ipFamilyPolicy,omitempty"`
	Families       []string `json:"ipFamilies,omitempty"`
	Ports          []string `json:"ports"` // as in "http 80/TCP"
	TrafficPolicy  string   `json:"externalTrafficPolicy,omitempty"`
	Affinity       string   `json:"sessionAffinity,omitempty"`
	AffinitySecond int32    `json:"sessionAffinitySeconds,omitempty"`
	SourceRanges   []string `json:"sourceRanges,omitempty"` // spec.loadBalancerSourceRanges; its annotation form is in Annotations
	ExternalIPs    []string `json:"externalIPs,omitempty"`
	Requested      string   `json:"loadBalancerIP,omitempty"`

	Annotations map[string]string `json:"annotations,omitempty"`        // those that count
	Ignored     map[string]string `json:"ignoredAnnotations,omitempty"` // those of ours that do not; a reason says why
	Held        []netip.Addr      `json:"held"`                         // in status.loadBalancer.ingress
	Condition   *Condition        `json:"condition,omitempty"`          // nil: nothing has been decided
	Endpoints   []Endpoint        `json:"endpoints"`                    // by address
}

// Condition is desired.AllocatedCondition.
type Condition struct {
	Status  string    `json:"status"` // True, False or Unknown
	Reason  string    `json:"reason"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Endpoint is an endpoint as its EndpointSlice has it.
type Endpoint struct {
	Addr        netip.Addr `json:"addr"`
	Pod         string     `json:"pod,omitempty"` // namespace/name; empty without one
	Node        string     `json:"node,omitempty"`
	Zone        string     `json:"zone,omitempty"`
	Slice       string     `json:"slice"`
	Ready       bool       `json:"ready"`
	Serving     bool       `json:"serving"`
	Terminating bool       `json:"terminating"`
}

// Words describes the conditions, as in "terminating, serving".
func (e Endpoint) Words() string {
	switch {
	case e.Terminating && e.Serving:
		return "terminating, serving"
	case e.Terminating:
		return "terminating"
	case e.Ready:
		return "ready"
	}
	return "not ready"
}

// NewObject describes the Service of a bundle, which it does not keep or change; nil if
// there is none.
func NewObject(b desired.Bundle) *Object {
	svc := b.Service
	if svc == nil {
		return nil
	}
	o := &Object{
		Service: svc.Namespace + "/" + svc.Name, UID: string(svc.UID), Created: svc.CreationTimestamp.Time,
		Type: string(svc.Spec.Type), TrafficPolicy: string(svc.Spec.ExternalTrafficPolicy), Affinity: string(svc.Spec.SessionAffinity),
		SourceRanges: slices.Clone(svc.Spec.LoadBalancerSourceRanges), ExternalIPs: slices.Clone(svc.Spec.ExternalIPs),
		Requested: svc.Spec.LoadBalancerIP, Ports: []string{}, Held: []netip.Addr{}, Endpoints: []Endpoint{},
	}
	if svc.DeletionTimestamp != nil {
		o.Deleted = svc.DeletionTimestamp.Time
	}
	if svc.Spec.LoadBalancerClass != nil {
		o.Class = *svc.Spec.LoadBalancerClass
	}
	if svc.Spec.IPFamilyPolicy != nil {
		o.FamilyPolicy = string(*svc.Spec.IPFamilyPolicy)
	}
	for _, f := range svc.Spec.IPFamilies {
		o.Families = append(o.Families, string(f))
	}
	for _, p := range svc.Spec.Ports {
		o.Ports = append(o.Ports, strings.TrimSpace(p.Name+" "+strconv.Itoa(int(p.Port))+"/"+string(cmp.Or(p.Protocol, corev1.ProtocolTCP))))
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		o.AffinitySecond = *c.ClientIP.TimeoutSeconds
	}
	for k, v := range svc.Annotations {
		switch {
		case k == corev1.AnnotationLoadBalancerSourceRangesKey, desired.CountsOnService(k, v):
			set(&o.Annotations, k, v)
		case strings.HasPrefix(k, desired.Prefix):
			set(&o.Ignored, k, v)
		}
	}
	o.decided(svc.Status)
	o.listed(b.Slices)
	return o
}

func set(m *map[string]string, k, v string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[k] = v
}

// decided reads the Service's status.
func (o *Object) decided(s corev1.ServiceStatus) {
	for _, in := range s.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			o.Held = append(o.Held, a)
		}
	}
	for _, c := range s.Conditions {
		if c.Type == desired.AllocatedCondition {
			o.Condition = &Condition{string(c.Status), c.Reason, c.Message, c.LastTransitionTime.Time}
		}
	}
}

// listed reads the Service's slices. Of an endpoint only the first address counts.
func (o *Object) listed(all []*discoveryv1.EndpointSlice) {
	unless := func(b *bool, unset bool) bool {
		if b == nil {
			return unset
		}
		return *b
	}
	for _, s := range all {
		for _, ep := range s.Endpoints {
			if len(ep.Addresses) == 0 {
				continue
			}
			a, err := netip.ParseAddr(ep.Addresses[0])
			if err != nil {
				continue // desired gives the reason
			}
			c := ep.Conditions
			e := Endpoint{Addr: a, Slice: s.Name, Ready: unless(c.Ready, true), Serving: unless(c.Serving, true), Terminating: unless(c.Terminating, false)}
			if ep.NodeName != nil {
				e.Node = *ep.NodeName
			}
			if ep.Zone != nil {
				e.Zone = *ep.Zone
			}
			if r := ep.TargetRef; r != nil && r.Kind == "Pod" {
				e.Pod = cmp.Or(r.Namespace, s.Namespace) + "/" + r.Name
			}
			o.Endpoints = append(o.Endpoints, e)
		}
	}
	slices.SortStableFunc(o.Endpoints, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
}
