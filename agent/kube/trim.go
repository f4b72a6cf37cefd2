package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prefix of labels, annotations and conditions that are ours.
const prefix = "penstock.dev/"

// trimmer makes objects small. What it returns shares nothing with objects that it was
// given before but strings and what nobody modifies. It is for one goroutine, and trims
// what is trimmed already to the same.
type trimmer struct {
	role, node string
	strings    map[string]*string
}

func newTrimmer(o Options) *trimmer {
	return &trimmer{role: o.Role, node: o.Node, strings: map[string]*string{}}
}

// meta keeps what tells an object from others, and what is read of any. The
// resourceVersion goes, as objects that differ in nothing else are the same here.
func (t *trimmer) meta(m metav1.ObjectMeta, labels map[string]string) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Namespace: *t.intern(m.Namespace), Name: m.Name, UID: m.UID, Labels: labels,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
	for name, value := range m.Annotations {
		if strings.HasPrefix(name, prefix) || name == corev1.AnnotationLoadBalancerSourceRangesKey || name == corev1.AnnotationTopologyMode {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[name] = value
		}
	}
	return out
}

// concerns reports whether svc is, or was, for us to look at.
func concerns(svc *corev1.Service) bool {
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer || svc.Spec.LoadBalancerClass != nil {
		return true
	}
	for _, c := range svc.Status.Conditions {
		if strings.HasPrefix(c.Type, prefix) {
			return true
		}
	}
	return false
}

// service leaves of others than those which concern us no more than the name.
func (t *trimmer) service(svc *corev1.Service) *corev1.Service {
	if !concerns(svc) {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	}
	out := &corev1.Service{ObjectMeta: t.meta(svc.ObjectMeta, svc.Labels), Spec: svc.Spec}
	out.ResourceVersion = svc.ResourceVersion // who writes it asks whether it is another
	out.Status.LoadBalancer = svc.Status.LoadBalancer
	for _, c := range svc.Status.Conditions {
		if strings.HasPrefix(c.Type, prefix) {
			out.Status.Conditions = append(out.Status.Conditions, c)
		}
	}
	return out
}

// slice keeps in the role backend the endpoints on this node alone: which of them LB nodes
// use, and at which ports, is for those to know.
func (t *trimmer) slice(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	var labels map[string]string
	if name, set := s.Labels[discoveryv1.LabelServiceName]; set {
		labels = map[string]string{discoveryv1.LabelServiceName: name}
	}
	out := &discoveryv1.EndpointSlice{ObjectMeta: t.meta(s.ObjectMeta, labels), AddressType: s.AddressType}
	if t.role == roleBackend {
		for _, ep := range s.Endpoints {
			if ep.NodeName != nil && *ep.NodeName == t.node {
				out.Endpoints = append(out.Endpoints, t.endpoint(s, ep))
			}
		}
		return out
	}
	out.Ports = s.Ports
	out.Endpoints = make([]discoveryv1.Endpoint, len(s.Endpoints))
	for i, ep := range s.Endpoints {
		out.Endpoints[i] = t.endpoint(s, ep)
	}
	return out
}

// endpoint shares with others what is alike in many. A pod of another namespace than the
// slice's is no reference: Kubernetes writes none, and whoever may write slices in one
// namespace has no say of pods in others.
func (t *trimmer) endpoint(s *discoveryv1.EndpointSlice, ep discoveryv1.Endpoint) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{Addresses: ep.Addresses, Hints: ep.Hints, Conditions: discoveryv1.EndpointConditions{
		Ready: shared(ep.Conditions.Ready), Serving: shared(ep.Conditions.Serving), Terminating: shared(ep.Conditions.Terminating),
	}}
	if ep.NodeName != nil {
		out.NodeName = t.intern(*ep.NodeName)
	}
	if ep.Zone != nil {
		out.Zone = t.intern(*ep.Zone)
	}
	if ref := ep.TargetRef; ref != nil && (ref.Namespace == "" || ref.Namespace == s.Namespace) {
		out.TargetRef = &corev1.ObjectReference{Kind: *t.intern(ref.Kind), Namespace: *t.intern(ref.Namespace), Name: ref.Name, UID: ref.UID}
	}
	return out
}

var yes, no = true, false

func shared(b *bool) *bool {
	switch {
	case b == nil:
		return nil
	case *b:
		return &yes
	}
	return &no
}

// namesKept bounds what intern remembers: nodes come and go.
const namesKept = 10000

// intern gives one string for all that are equal.
func (t *trimmer) intern(s string) *string {
	if p := t.strings[s]; p != nil {
		return p
	}
	if len(t.strings) >= namesKept {
		clear(t.strings)
	}
	s = strings.Clone(s) // not a part of a whole object
	t.strings[s] = &s
	return &s
}

// nodeObject keeps nothing that a healthy kubelet rewrites all the time.
func (t *trimmer) nodeObject(n *corev1.Node) *corev1.Node {
	out := &corev1.Node{ObjectMeta: t.meta(n.ObjectMeta, n.Labels)}
	out.Spec.Unschedulable = n.Spec.Unschedulable
	for _, taint := range n.Spec.Taints {
		out.Spec.Taints = append(out.Spec.Taints, corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect})
	}
	out.Status.Addresses = n.Status.Addresses
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return out
}

func (t *trimmer) namespace(n *corev1.Namespace) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, Labels: n.Labels}}
}
