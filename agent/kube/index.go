package kube

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/penstock-lb/penstock/agent/desired"
)

// index holds trimmed objects by the Service that they are of, and knows which have
// changed. Each change costs what is of its Service, however many there are. It is for
// one goroutine at a time, and takes objects in any order: slices before their Service,
// the same ones twice, an endpoint in two of them.
type index struct {
	role string
	hold time.Duration
	now  time.Time // of the change that is being made

	records     map[string]*record // by the Service's namespace/name
	owners      map[string]string  // of each slice, by namespace/name, its record
	namespaces  map[string]*corev1.Namespace
	inNamespace map[string]map[string]bool // records with a Service
	nodes       map[string]*corev1.Node
	self        string          // name of this node's Node
	departed    bool            // it was there, and is not any more
	holding     map[string]bool // records with held endpoints
	pods        *podTable       // nil in the role backend

	dirty      map[string]bool // records that changed since they were last taken
	nodesDirty bool
	touched    []string // Services whose own objects changed since they were last taken
}

// record is all of one Service.
type record struct {
	service *corev1.Service              // nil: there are only slices
	slices  []*discoveryv1.EndpointSlice // by name
	held    []held
}

func newIndex(role string, hold time.Duration, pods *podTable) *index {
	return &index{
		role: role, hold: hold, pods: pods,
		records: map[string]*record{}, owners: map[string]string{},
		namespaces: map[string]*corev1.Namespace{}, inNamespace: map[string]map[string]bool{},
		nodes: map[string]*corev1.Node{}, holding: map[string]bool{}, dirty: map[string]bool{},
	}
}

func (ix *index) record(service string) *record {
	r := ix.records[service]
	if r == nil {
		r = &record{}
		ix.records[service] = r
	}
	return r
}

// tidy removes a record that is empty.
func (ix *index) tidy(service string) {
	if r := ix.records[service]; r != nil && r.service == nil && len(r.slices)+len(r.held) == 0 {
		delete(ix.records, service)
	}
}

func (ix *index) putService(svc *corev1.Service) {
	name := nameOf(svc.Namespace, svc.Name)
	if !concerns(svc) {
		ix.removeService(name)
		return
	}
	r := ix.record(name)
	before := r.service
	r.service = svc
	if before != nil && sameService(before, svc) {
		return
	}
	ix.dirty[name] = true
	ix.touched = append(ix.touched, name)
	if before != nil {
		return
	}
	if ix.inNamespace[svc.Namespace] == nil {
		ix.inNamespace[svc.Namespace] = map[string]bool{}
	}
	ix.inNamespace[svc.Namespace][name] = true
	for _, s := range r.slices {
		ix.pods.use(name, s)
	}
}

// sameService reports whether two differ in their resourceVersion at most.
func sameService(a, b *corev1.Service) bool {
	x, y := *a, *b
	x.ResourceVersion, y.ResourceVersion = "", ""
	return apiequality.Semantic.DeepEqual(&x, &y)
}

func (ix *index) removeService(name string) {
	r := ix.records[name]
	if r == nil || r.service == nil {
		return
	}
	namespace := r.service.Namespace
	delete(ix.inNamespace[namespace], name)
	if len(ix.inNamespace[namespace]) == 0 {
		delete(ix.inNamespace, namespace)
	}
	ix.letGo(name, r, func(held) bool { return true })
	for _, s := range r.slices {
		ix.pods.unuse(name, s)
	}
	r.service = nil
	ix.dirty[name] = true
	ix.touched = append(ix.touched, name)
	ix.tidy(name)
}

// putSlice takes over a slice. One that belongs to no Service, or that holds nothing for
// this node, is none.
func (ix *index) putSlice(s *discoveryv1.EndpointSlice) {
	key, service := nameOf(s.Namespace, s.Name), s.Labels[discoveryv1.LabelServiceName]
	if service == "" || ix.role == roleBackend && len(s.Endpoints) == 0 {
		ix.removeSlice(key)
		return
	}
	name := nameOf(s.Namespace, service)
	if owner, known := ix.owners[key]; known && owner != name {
		ix.removeSlice(key)
	}
	ix.owners[key] = name
	r := ix.record(name)
	i, found := r.find(s.Name)
	if !found {
		r.slices = slices.Insert(r.slices, i, s)
		ix.settle(name, r, nil, s)
		return
	}
	before := r.slices[i]
	if apiequality.Semantic.DeepEqual(before, s) {
		return
	}
	r.slices[i] = s
	if ix.role == roleBackend && sameAddresses(before, s) {
		return
	}
	ix.settle(name, r, before, s)
}

// sameAddresses reports whether an ingress node makes the same of two slices: whether
// endpoints are ready is for LB nodes to know.
func sameAddresses(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y discoveryv1.Endpoint) bool {
		return slices.Equal(x.Addresses, y.Addresses)
	})
}

func (ix *index) removeSlice(key string) {
	name, known := ix.owners[key]
	if !known {
		return
	}
	delete(ix.owners, key)
	r := ix.records[name]
	_, short := splitName(key)
	i, _ := r.find(short)
	before := r.slices[i]
	r.slices = slices.Delete(r.slices, i, i+1)
	ix.settle(name, r, before, nil)
	ix.tidy(name)
}

func (r *record) find(slice string) (int, bool) {
	return slices.BinarySearchFunc(r.slices, slice, func(s *discoveryv1.EndpointSlice, name string) int { return cmp.Compare(s.Name, name) })
}

// settle follows up that one slice of a record was replaced by another; either may be nil.
// Pods are let go of last, so that one that is still in use is not read again.
func (ix *index) settle(name string, r *record, before, after *discoveryv1.EndpointSlice) {
	ix.dirty[name] = true
	reads := r.service != nil
	if reads && after != nil {
		ix.pods.use(name, after)
	}
	if before != nil && ix.holds(r) {
		ix.keep(name, r, before)
	}
	if after != nil {
		ix.letGo(name, r, func(h held) bool { return lists(after, h.slice.AddressType, h.endpoint) })
	}
	if reads && before != nil {
		ix.pods.unuse(name, before)
	}
}

func (ix *index) putNode(n *corev1.Node) {
	if n.Name == ix.self {
		ix.departed = false
	}
	if before := ix.nodes[n.Name]; before == nil || !apiequality.Semantic.DeepEqual(before, n) {
		ix.nodes[n.Name] = n
		ix.nodesDirty = true
	}
}

func (ix *index) removeNode(name string) {
	if _, known := ix.nodes[name]; known {
		delete(ix.nodes, name)
		ix.nodesDirty = true
		ix.departed = ix.departed || name == ix.self
	}
}

func (ix *index) putNamespace(n *corev1.Namespace) {
	if before := ix.namespaces[n.Name]; before == nil || !apiequality.Semantic.DeepEqual(before, n) {
		ix.namespaces[n.Name] = n
		ix.touch(n.Name)
	}
}

func (ix *index) removeNamespace(name string) {
	if _, known := ix.namespaces[name]; known {
		delete(ix.namespaces, name)
		ix.touch(name)
	}
}

// touch marks the Services of a namespace.
func (ix *index) touch(namespace string) {
	for name := range ix.inNamespace[namespace] {
		ix.dirty[name] = true
		ix.touched = append(ix.touched, name)
	}
}

// podRead takes over what a pod is now; nil: it is gone.
func (ix *index) podRead(key string, p *corev1.Pod) {
	for _, name := range ix.pods.put(key, p) {
		ix.dirty[name] = true
	}
	for _, name := range ix.pods.users(key) {
		if r := ix.records[name]; r != nil && ix.holding[name] {
			ix.letGo(name, r, func(h held) bool { return h.pod == key && gone(p, h.endpoint, r.service) })
		}
	}
}

// bundle gives what there is of a Service.
func (ix *index) bundle(name string) (b desired.Bundle) {
	r := ix.records[name]
	if r == nil {
		return b
	}
	b.Service, b.Slices = r.service, r.all()
	if r.service != nil {
		b.Namespace = ix.namespaces[r.service.Namespace]
		b.Pods = desired.PodsOf(b.Slices, ix.pods.known())
	}
	return b
}
