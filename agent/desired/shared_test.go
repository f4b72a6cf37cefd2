package desired_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// sharers are n Services with one address and a port each, of which the first is the oldest.
func sharers(n int) (s desired.Snapshot) {
	for i := range n {
		s.Services = append(s.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%05d", i), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(i-n) * time.Minute))},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: int32(i + 1), Protocol: corev1.ProtocolTCP}}},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}}},
		})
	}
	return s
}

// change is what the model makes of another version of one of them.
func (w *sharing) change(i int, edit func(*corev1.Service)) desired.Change {
	svc := w.Services[i].DeepCopy()
	edit(svc)
	w.Services[i] = svc
	return w.m.Apply(desired.Delta{Bundles: map[string]desired.Bundle{svc.Namespace + "/" + svc.Name: {Service: svc}}}, w.site, now)
}

type sharing struct {
	desired.Snapshot
	m    *desired.Model
	site desired.Site
}

func newSharing(n int) *sharing {
	w := &sharing{sharers(n), desired.NewModel(), desired.Site{DefaultClass: true, Allocated: true}}
	w.m.Apply(desired.Whole(w.Snapshot), w.site, now)
	return w
}

// Of Services with one address, only those are worked out anew that may get something else
// for an edit of one: whoever may edit that cannot keep LB nodes busy with all of them.
func TestSharersAreLeftAlone(t *testing.T) {
	w := newSharing(20)
	for _, c := range []struct {
		name string
		edit func(*corev1.Service)
		want int
	}{
		{"annotation", func(s *corev1.Service) { s.Annotations = map[string]string{desired.ForwardingAnnotation: "nat"} }, 1},
		{"label", func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} }, 1},
		{"target port's name", func(s *corev1.Service) { s.Spec.Ports[0].Name = "http" }, 1},
		{"condition", func(s *corev1.Service) { s.Status.Conditions = []metav1.Condition{{Type: "a"}} }, 1},
		{"port", func(s *corev1.Service) { s.Spec.Ports[0].Port = 5 }, 20},
		{"age", func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour)) }, 20},
		{"second address", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: "203.0.113.2"})
		}, 1},
		{"no address", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil }, 20},
	} {
		if got := len(w.change(10, c.edit).Services); got != c.want {
			t.Errorf("%s: %d Services are worked out anew, want %d", c.name, got, c.want)
		}
	}
}

// BenchmarkSharers moves the port of one among many Services with one address: all of them
// are worked out anew.
func BenchmarkSharers(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, port := newSharing(n), int32(10000)
			for b.Loop() {
				port++
				w.change(n/2, func(s *corev1.Service) { s.Spec.Ports[0].Port = port })
			}
		})
	}
}
