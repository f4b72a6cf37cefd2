package desired_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

func loadBalancer(name, port string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type:        corev1.ServiceTypeLoadBalancer,
			ExternalIPs: []string{"192.0.2.1"},
			Ports:       []corev1.ServicePort{{Name: port, Port: 80}},
		},
	}
}

func TestLongNames(t *testing.T) {
	const most = 159
	name := func(svc *corev1.Service) string {
		t.Helper()
		s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}}, desired.Site{Node: "lb1", DefaultClass: true}, now)
		if len(s.Services) != 1 {
			t.Fatalf("services: %+v", s.Services)
		}
		return s.Services[0].Name
	}
	// The longest that the API server takes.
	whole := name(loadBalancer(strings.Repeat("s", 63), strings.Repeat("p", 15)))
	if want := "default/" + strings.Repeat("s", 63) + ":" + strings.Repeat("p", 15) + "/tcp/ipv4"; whole != want {
		t.Errorf("name = %s", whole)
	}
	fits := strings.Repeat("s", most-len("default/:p/tcp/ipv4"))
	if got := name(loadBalancer(fits, "p")); len(got) != most || !strings.HasSuffix(got, ":p/tcp/ipv4") {
		t.Errorf("name of %d bytes = %s", len(got), got)
	}
	a, b := name(loadBalancer(fits+"s", "a")), name(loadBalancer(fits+"s", "b"))
	if a == b || len(a) != most || len(b) != most {
		t.Errorf("names of %d and %d bytes: %s, %s", len(a), len(b), a, b)
	}
	if cut := name(loadBalancer(strings.Repeat("ü", 200), "p")); len(cut) > most || !utf8.ValidString(cut) {
		t.Errorf("name = %q", cut)
	}
}

// From of 1,000 Services with 100 endpoints each.
func BenchmarkFrom(b *testing.B) {
	var s desired.Snapshot
	for i := range 1000 {
		svc := loadBalancer(fmt.Sprintf("svc-%d", i), "http")
		svc.Spec.ExternalIPs = []string{fmt.Sprintf("192.0.%d.%d", i/250, 1+i%250)}
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: svc.Name, Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		}
		for j := range 100 {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", i/250, i%250, 1+j)}})
		}
		s.Services, s.Slices = append(s.Services, svc), append(s.Slices, slice)
	}
	for b.Loop() {
		desired.From(s, desired.Site{Node: "lb1", DefaultClass: true}, now)
	}
}
