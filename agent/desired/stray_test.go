package desired_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

func TestAnnotationsThatDoNotCount(t *testing.T) {
	for key, want := range map[string]string{
		"penstock.dev/ips":           "",
		"penstock.dev/pool":          "",
		"penstock.dev/sharing-key":   "",
		"penstock.dev/forwarding":    "",
		"example.com/weight":         "",
		"penstock.dev/weight":        "penstock.dev/weight does not count on a Service; it is for a Pod or an EndpointSlice",
		"penstock.dev/role":          "penstock.dev/role does not count on a Service; it is for a Node",
		"penstock.dev/wieght":        "penstock.dev/wieght does not count, as no annotation is called so; did you mean penstock.dev/weight? That is for a Pod or an EndpointSlice",
		"penstock.dev/ip":            "penstock.dev/ip does not count, as no annotation is called so; did you mean penstock.dev/ips?",
		"penstock.dev/Pool":          "penstock.dev/Pool does not count, as no annotation is called so; did you mean penstock.dev/pool?",
		"penstock.dev/sharingKey":    "penstock.dev/sharingKey does not count, as no annotation is called so; did you mean penstock.dev/sharing-key?",
		"penstock.dev/owned-by-team": "penstock.dev/owned-by-team does not count, as no annotation is called so",
	} {
		svc, all := offered()
		svc.Annotations[key] = "auto"
		s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, desired.Site{Node: "lb1", Allocated: true}, now)
		got := ""
		for _, r := range s.Reasons {
			if r.Reason == desired.InvalidAnnotation {
				got += r.Detail
			}
		}
		if got != want || len(s.Services) == 0 {
			t.Errorf("%s, %d services\ngot  %s\nwant %s", key, len(s.Services), got, want)
		}
		if counts := desired.CountsOnService(key, "auto"); counts != (want == "" && strings.HasPrefix(key, desired.Prefix)) {
			t.Errorf("%s: counts is %v", key, counts)
		}
	}
	svc, all := offered()
	for i := range 20 {
		svc.Annotations[fmt.Sprintf("penstock.dev/x%02d", i)] = ""
	}
	all[0].Annotations = map[string]string{"penstock.dev/weigth": "2"}
	s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, desired.Site{Node: "lb1", Allocated: true}, now)
	found := map[string]string{}
	for _, r := range s.Reasons {
		found[r.Subject] = r.Detail
	}
	if text := found[""]; !strings.HasPrefix(text, "penstock.dev/x00 ") || !strings.HasSuffix(text, "; and 17 more") {
		t.Errorf("of many: %s", text)
	}
	if text := found["slice "+all[0].Name]; !strings.HasSuffix(text, "did you mean penstock.dev/weight?") {
		t.Errorf("of a slice: %q", found)
	}
}

func TestEndpointsOfTheOtherFamily(t *testing.T) {
	const plain = "no EndpointSlice lists an ipv4 endpoint"
	for _, tt := range []struct {
		families []corev1.IPFamily
		spoil    func(six *discoveryv1.EndpointSlice)
		want     string
	}{
		{nil, func(*discoveryv1.EndpointSlice) {}, plain + "; those of web-6 are ipv6"},
		{[]corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, func(*discoveryv1.EndpointSlice) {}, plain + "; those of web-6 are ipv6"},
		{[]corev1.IPFamily{corev1.IPv4Protocol}, func(*discoveryv1.EndpointSlice) {}, plain + "; those of web-6 are ipv6, which spec.ipFamilies [IPv4] does not have"},
		{[]corev1.IPFamily{corev1.IPv4Protocol}, func(six *discoveryv1.EndpointSlice) { six.Endpoints = nil }, plain},
	} {
		svc, all := offered()
		svc.Spec.IPFamilies = tt.families
		all = all[1:]
		tt.spoil(all[0])
		s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, desired.Site{Node: "lb1", Allocated: true}, now)
		got := ""
		for _, r := range s.Reasons {
			if r.Subject == "port http/tcp/ipv4" {
				got = r.Detail
			}
		}
		if got != tt.want {
			t.Errorf("%v\ngot  %s\nwant %s", tt.families, got, tt.want)
		}
	}
}
