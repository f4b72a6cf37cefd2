package kube

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/penstock-lb/penstock/agent/desired"
)

// crowd is a Source with that many Services of that many endpoints each, all of pods that
// were read. What it is fed with comes from an encoding, as from an API server.
func crowd(tb testing.TB, services, endpoints int) *Source {
	tb.Helper()
	client, err := connect(Options{Role: roleLB}, &rest.Config{Host: "https://192.0.2.1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	s := NewSource(client, slog.New(slog.DiscardHandler))
	s.ix.pods.ask = func(string) {}
	byKind := map[string]*feed{}
	for _, f := range s.feeds {
		byKind[f.kind] = f
	}
	add := func(kind string, o any) {
		if err := byKind[kind].Add(o); err != nil {
			tb.Fatal(err)
		}
	}
	add("Namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "crowd"}})
	for i := range services {
		name := fmt.Sprintf("web-%05d", i)
		svc := serviceOf("crowd", name)
		svc.UID = types.UID(fmt.Sprintf("11111111-2222-3333-4444-%012d", i))
		svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1(strings.Repeat(" ", 2000))}}
		add("Service", decoded(tb, svc, &corev1.Service{}))
		slice := crowdSlice(name, i, endpoints)
		add("EndpointSlice", decoded(tb, slice, &discoveryv1.EndpointSlice{}))
		for _, ep := range slice.Endpoints {
			p := podOf(ep.TargetRef.Name)
			p.Namespace, p.UID, p.Annotations = "crowd", ep.TargetRef.UID, nil
			p.Status.PodIPs = []corev1.PodIP{{IP: ep.Addresses[0]}}
			p.Status.StartTime = &metav1.Time{}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled}, {Type: corev1.PodInitialized}}
			running := corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(1, 0)}}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{running, running}
			s.takePod(tb.Context(), "crowd/"+p.Name, slimOf(tb, p))
		}
	}
	s.mu.Lock()
	s.synced = true
	s.ix.pods.synced.Store(true)
	s.mu.Unlock()
	if d, ok := s.Delta(); !ok || len(d.Bundles) != services {
		tb.Fatalf("%d bundles", len(d.Bundles))
	}
	return s
}

func crowdSlice(service string, i, endpoints int) *discoveryv1.EndpointSlice {
	slice := sliceOf("crowd", service, service+"-abcde")
	slice.Annotations = map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-23T00:00:00Z"}
	slice.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service, UID: "u"}}
	slice.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: metav1.NewFieldsV1(strings.Repeat(" ", 500))}}
	for n := range endpoints {
		addr := fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, n+1)
		ep := sliceOf("", "", "", addr).Endpoints[0]
		ep.NodeName = new(fmt.Sprintf("node-%03d", (i+n)%200))
		ep.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "crowd", Name: fmt.Sprintf("%s-7d4b9c-%03d", service, n),
			UID: types.UID(fmt.Sprintf("aaaaaaaa-bbbb-cccc-%04d-%012d", n, i))}
		slice.Endpoints = append(slice.Endpoints, ep)
	}
	return slice
}

// coded is what the API server's types are.
type coded interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// decoded gives an object as it comes from the API server.
func decoded[T coded](tb testing.TB, o, to T) T {
	text, err := o.Marshal()
	if err == nil {
		err = to.Unmarshal(text)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return to
}

// slimOf gives a pod as reads give it.
func slimOf(tb testing.TB, p *corev1.Pod) *corev1.Pod {
	return desired.SlimPod(decoded(tb, p, &corev1.Pod{}))
}

var crowds = []struct{ services, endpoints int }{{1000, 10}, {10000, 10}}

// BenchmarkDelta is one endpoint that becomes ready or ceases to be, from the event to the
// Delta.
func BenchmarkDelta(b *testing.B) {
	for _, c := range crowds {
		b.Run(fmt.Sprintf("%dx%d", c.services, c.endpoints), func(b *testing.B) {
			s := crowd(b, c.services, c.endpoints)
			feed := s.feeds[0]
			slice := crowdSlice("web-00007", 7, c.endpoints)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				slice.Endpoints[3].Conditions.Ready = new(i%2 == 1)
				if err := feed.Update(slice); err != nil {
					b.Fatal(err)
				}
				if d, _ := s.Delta(); len(d.Bundles) != 1 {
					b.Fatalf("%d bundles for one change", len(d.Bundles))
				}
			}
		})
	}
}

// BenchmarkRelist is all slices listed anew, of which one has changed.
func BenchmarkRelist(b *testing.B) {
	for _, c := range crowds {
		b.Run(fmt.Sprintf("%dx%d", c.services, c.endpoints), func(b *testing.B) {
			s := crowd(b, c.services, c.endpoints)
			var all []any
			for i := range c.services {
				all = append(all, crowdSlice(fmt.Sprintf("web-%05d", i), i, c.endpoints))
			}
			for i := 0; b.Loop(); i++ {
				list := slices.Clone(all)
				list[7].(*discoveryv1.EndpointSlice).Endpoints[3].Conditions.Ready = new(i%2 == 1)
				if err := s.feeds[0].Replace(list, ""); err != nil {
					b.Fatal(err)
				}
				if d, _ := s.Delta(); len(d.Bundles) != 1 {
					b.Fatalf("%d bundles for one change", len(d.Bundles))
				}
			}
		})
	}
}

// BenchmarkHeap is what a Source keeps.
func BenchmarkHeap(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for _, c := range crowds {
		b.Run(fmt.Sprintf("%dx%d", c.services, c.endpoints), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				s := crowd(b, c.services, c.endpoints)
				kept := heap() - before
				b.ReportMetric(kept/(1<<20), "MiB")
				b.ReportMetric(kept/float64(c.services*c.endpoints), "B/endpoint")
				runtime.KeepAlive(s)
			}
		})
	}
}
