package kube

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/desired"
)

// world is a cluster as objects.
type world struct {
	services   map[string]*corev1.Service
	slices     map[string]*discoveryv1.EndpointSlice
	namespaces map[string]*corev1.Namespace
	pods       map[string]*corev1.Pod
}

func drawService(t *rapid.T) *corev1.Service {
	svc := serviceOf("a", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "service"))
	svc.Spec.Type = rapid.SampledFrom([]corev1.ServiceType{corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP}).Draw(t, "type")
	svc.Labels = map[string]string{"l": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "label")}
	return svc
}

func drawSlice(t *rapid.T) *discoveryv1.EndpointSlice {
	service := rapid.SampledFrom([]string{"x", "y", ""}).Draw(t, "of")
	v6 := rapid.Bool().Draw(t, "v6")
	s := sliceOf("a", service, rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "slice"))
	if service == "" {
		s.Labels = nil
	}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(1, 4), 0, 4, rapid.ID[int]).Draw(t, "endpoints") {
		addr := fmt.Sprintf("10.0.0.%d", i)
		if v6 {
			addr, s.AddressType = fmt.Sprintf("fd00::%d", i), discoveryv1.AddressTypeIPv6
		}
		ep := sliceOf("a", "x", "s", addr).Endpoints[0]
		ready := rapid.Bool().Draw(t, "ready")
		ep.Conditions.Ready, ep.Conditions.Serving = &ready, &ready
		ep.NodeName = new(rapid.SampledFrom([]string{"node1", "node2"}).Draw(t, "node"))
		if i > 1 {
			ep.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("p%d", i)}
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

// TestIndex checks that an index that is told of changes one by one, in any order and any
// number of times, knows what one knows that is told of the outcome alone; and that it says
// of each bundle that is another that it changed.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{map[string]*corev1.Service{}, map[string]*discoveryv1.EndpointSlice{}, map[string]*corev1.Namespace{}, map[string]*corev1.Pod{}}
		b := newBench(roleLB, 0)
		seen := map[string]desired.Bundle{}
		actions := map[string]func(*rapid.T){
			"put service": func(t *rapid.T) {
				svc := drawService(t)
				w.services["a/"+svc.Name] = svc
				b.putService(svc)
			},
			"remove service": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a/x", "a/y"}).Draw(t, "name")
				delete(w.services, name)
				b.removeService(name)
			},
			"put slice": func(t *rapid.T) {
				s := drawSlice(t)
				w.slices["a/"+s.Name] = s
				b.putSlice(s)
				b.putSlice(s.DeepCopy())
			},
			"remove slice": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a/s1", "a/s2", "a/s3"}).Draw(t, "name")
				delete(w.slices, name)
				b.removeSlice(name)
			},
			"namespace": func(t *rapid.T) {
				delete(w.namespaces, "a")
				b.removeNamespace("a")
				if l := rapid.IntRange(0, 2).Draw(t, "label"); l > 0 {
					ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"l": fmt.Sprint(l)}}}
					w.namespaces["a"] = ns
					b.putNamespace(ns)
				}
			},
			"pods": func(t *rapid.T) {
				for i := range 5 {
					key := fmt.Sprintf("a/p%d", i)
					delete(w.pods, key)
					if rapid.Bool().Draw(t, key) {
						w.pods[key] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: key[2:], UID: "u"}}
					}
				}
				for _, key := range b.asked {
					b.podRead(key, w.pods[key])
					b.pods.answer(key)
				}
				b.asked = nil
			},
			"": func(t *rapid.T) {
				for name := range b.dirty {
					seen[name] = b.bundle(name)
				}
				b.dirty = map[string]bool{}
				compare(t, w, b, seen)
			},
		}
		t.Repeat(actions)
	})
}

// compare holds the bundles that were taken against those that the outcome gives.
func compare(t *rapid.T, w world, b *bench, seen map[string]desired.Bundle) {
	all := desired.Snapshot{}
	for _, svc := range w.services {
		if concerns(svc) {
			all.Services = append(all.Services, svc)
		}
	}
	used := map[string]bool{}
	for _, s := range w.slices {
		all.Slices = append(all.Slices, s)
		for _, ep := range s.Endpoints {
			svc := w.services["a/"+s.Labels[discoveryv1.LabelServiceName]]
			used[podKey(s, ep)] = used[podKey(s, ep)] || svc != nil && concerns(svc)
		}
	}
	for _, ns := range w.namespaces {
		all.Namespaces = append(all.Namespaces, ns)
	}
	for _, p := range b.pods.known() {
		all.Pods = append(all.Pods, p)
	}
	want := desired.Whole(all).Bundles
	for name, got := range seen {
		w := want[name]
		if w.Service == nil {
			w.Pods = nil
		}
		if diff := cmp.Diff(w, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-whole +changes):\n%s", name, diff)
		}
	}
	for name := range want {
		if _, told := seen[name]; !told {
			t.Fatalf("%s was never said to have changed", name)
		}
	}
	for key := range b.pods.entries {
		if !used[key] {
			t.Fatalf("pod %s is kept and nothing needs it", key)
		}
		delete(used, key)
	}
	for key, use := range used {
		if use && key != "" {
			t.Fatalf("pod %s is not asked for", key)
		}
	}
	waiting := 0
	for _, e := range b.pods.entries {
		if e.waiting != answered {
			waiting++
		}
	}
	if before, since := b.pods.awaits(); before+since != waiting {
		t.Fatalf("%d+%d pods awaited, should be %d", before, since, waiting)
	}
}

// TestIndexSaysNothing checks that what makes no difference is no change.
func TestIndexSaysNothing(t *testing.T) {
	lb, backend := newTrimmer(Options{Role: roleLB}), newTrimmer(Options{Role: roleBackend, Node: "node1"})
	b := newBench(roleLB, time.Second)
	s, svc := sliceOf("a", "web", "one", "10.0.0.1", "10.0.0.2"), serviceOf("a", "web")
	s.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "p"}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	put := func() {
		s.ResourceVersion += "1"
		s.Annotations = map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": s.ResourceVersion}
		b.putSlice(lb.slice(s))
		svc.ResourceVersion += "1"
		svc.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = svc.ResourceVersion
		b.putService(lb.service(svc))
		node.ResourceVersion += "1"
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
		b.putNode(lb.nodeObject(node))
	}
	put()
	b.dirty, b.nodesDirty, b.touched, b.asked = map[string]bool{}, false, nil, nil
	put()
	if len(b.dirty)+len(b.touched)+len(b.asked) != 0 || b.nodesDirty {
		t.Errorf("no change, yet dirty %v, nodes %v, touched %v, pods %v", b.dirty, b.nodesDirty, b.touched, b.asked)
	}
	if got, _ := b.records["a/web"], 0; got.service.ResourceVersion != "11" {
		t.Errorf("resourceVersion %q; who writes the Service needs the newest", got.service.ResourceVersion)
	}
	svc.Labels = map[string]string{"new": "label"}
	put()
	if !b.dirty["a/web"] || !slices.Equal(b.touched, []string{"a/web"}) {
		t.Errorf("a new label is no change: dirty %v, touched %v", b.dirty, b.touched)
	}

	b = newBench(roleBackend, time.Second)
	b.putSlice(backend.slice(s))
	b.dirty = map[string]bool{}
	s.Endpoints[0].Conditions.Ready = new(false)
	s.Endpoints[1].NodeName = new("node1")
	b.putSlice(backend.slice(s))
	if len(b.dirty) != 0 {
		t.Error("an ingress node is told of conditions")
	}
	s.Endpoints[1].NodeName = new("node2")
	b.putSlice(backend.slice(s))
	if got := b.endpoints("a/web"); !b.dirty["a/web"] || !slices.Equal(got, []string{"one:10.0.0.1", "~000-one:10.0.0.2"}) {
		t.Errorf("an endpoint left for another node: %v", got)
	}
	s.Endpoints[0].NodeName = nil
	b.putSlice(backend.slice(s))
	b.after(time.Second)
	if len(b.records) != 0 {
		t.Errorf("an ingress node keeps others' endpoints: %v", b.endpoints("a/web"))
	}
}

// TestTouched checks of which Services watchers hear.
func TestTouched(t *testing.T) {
	b := newBench(roleLB, 0)
	touched := func(what string, want ...string) {
		t.Helper()
		slices.Sort(b.touched)
		if !slices.Equal(b.touched, want) {
			t.Errorf("%s: heard of %v, want %v", what, b.touched, want)
		}
		b.touched = nil
	}
	web, plain := serviceOf("a", "web"), serviceOf("a", "plain")
	plain.Spec.Type = corev1.ServiceTypeClusterIP
	b.putService(web)
	b.putService(plain)
	touched("new ones", "a/web")
	b.putNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	touched("their namespace", "a/web")
	b.putNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
	touched("another namespace")
	mine := plain.DeepCopy()
	mine.Status.Conditions = []metav1.Condition{{Type: "penstock.dev/Allocated"}}
	b.putService(mine)
	touched("one that was ours", "a/plain")
	web = web.DeepCopy()
	web.Spec.Type = corev1.ServiceTypeClusterIP
	b.putService(web)
	touched("one that stops being", "a/web")
	b.putSlice(sliceOf("a", "plain", "s", "10.0.0.1"))
	touched("a slice")
	b.removeService("a/plain")
	touched("one that is gone", "a/plain")
	b.removeService("a/plain")
	touched("again")
}
