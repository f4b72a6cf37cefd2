package kube

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

func TestServicesGetAddresses(t *testing.T) {
	c := newCluster(t)
	ctl, w, _ := c.controller(t, "lb1", pool("four", "192.0.2.8/29"), pool("six", "2001:db8::/64"))
	dual := func(svc *corev1.Service) {
		policy := corev1.IPFamilyPolicyRequireDualStack
		svc.Spec.IPFamilyPolicy = &policy
	}
	asks := func(addr string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Annotations = map[string]string{desired.IPsAnnotation: addr} }
	}
	for _, tc := range []struct {
		name string
		edit func(*corev1.Service)
		want string
	}{
		{"single", asks("192.0.2.10"), "192.0.2.10, True Allocated"},
		{"dual", func(svc *corev1.Service) { dual(svc); asks("192.0.2.11,2001:db8::5")(svc) }, "192.0.2.11, 2001:db8::5, True Allocated"},
		{"six-first", func(svc *corev1.Service) {
			dual(svc)
			svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
			asks("192.0.2.12,2001:db8::6")(svc)
		}, "2001:db8::6, 192.0.2.12, True Allocated"},
		{"taken", asks("192.0.2.10"), "False AddressInUse"},
		{"outside", asks("198.51.100.1"), "False AddressOutsidePool"},
		{"garbage", asks("sugar,1.2.3"), "False InvalidRequest"},
	} {
		c.service(t, tc.name, tc.edit)
		c.becomes(t, tc.name, tc.want)
	}
	c.has(t, "single", corev1.EventTypeNormal, "Allocated", "192.0.2.10 (pool four)")
	c.has(t, "taken", corev1.EventTypeWarning, "AddressInUse", "default/single")
	c.has(t, "outside", corev1.EventTypeWarning, "AddressOutsidePool", "198.51.100.1")
	if e := c.has(t, "garbage", corev1.EventTypeWarning, "InvalidRequest", "sugar"); !strings.Contains(e.Message, "1.2.3") {
		t.Errorf("one of two mistakes: %q", e.Message)
	}

	// What others have written stays: the patch is of our fields alone.
	foreign := metav1.Condition{Type: "example.com/Checked", Status: "True", Reason: "Yes", LastTransitionTime: metav1.Now()}
	svc := c.get(t, "taken")
	svc.Status.Conditions = append(svc.Status.Conditions, foreign)
	if _, err := c.Client.CoreV1().Services("default").UpdateStatus(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.edit(t, "taken", func(svc *corev1.Service) {
		svc.Labels, svc.Annotations = map[string]string{"a": "b"}, map[string]string{desired.IPsAnnotation: "192.0.2.13", "c": "d"}
	})
	c.becomes(t, "taken", "192.0.2.13, True Allocated")
	svc = c.get(t, "taken")
	if len(svc.Status.Conditions) != 2 || svc.Labels["a"] != "b" || svc.Annotations["c"] != "d" {
		t.Errorf("labels %v, annotations %v, conditions %v", svc.Labels, svc.Annotations, svc.Status.Conditions)
	}
	since := findCondition(svc.Status.Conditions).LastTransitionTime
	if since.IsZero() {
		t.Error("the condition has no lastTransitionTime")
	}

	// Nothing is written where nothing changes: not for an edit that does not matter, and
	// not for another order of the pools.
	writes := w.count("PATCH services/status") + w.count("PUT "+FenceLease)
	c.edit(t, "single", func(svc *corev1.Service) { svc.Spec.Ports[0].Port = 81 })
	ctl.SetPools([]ipam.Pool{pool("six", "2001:db8::/64"), pool("four", "192.0.2.8/29")})
	c.service(t, "last", asks("192.0.2.14"))
	c.becomes(t, "last", "192.0.2.14, True Allocated")
	if n := w.count("PATCH services/status") + w.count("PUT "+FenceLease) - writes; n > 3 {
		t.Errorf("%d writes for one new Service, want at most 3", n)
	}
	if self, name := ctl.Leader(); !self || name != "lb1" {
		t.Errorf("Leader: %v, %q", self, name)
	}
	if usage := ctl.Usage(); len(usage) != 2 {
		t.Errorf("usage %v", usage)
	}
}

func TestServicesThatAreNotOursAnyMore(t *testing.T) {
	c := newCluster(t)
	ctl, _, end := c.controller(t, "lb1", pool("four", "192.0.2.8/30"))
	ctl.SetDefaultClass(true)
	vip := corev1.LoadBalancerIPModeVIP
	theirs := corev1.LoadBalancerIngress{IP: "203.0.113.5", IPMode: &vip}
	asks := func(addr string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Annotations = map[string]string{desired.IPsAnnotation: addr} }
	}
	c.service(t, "typed", asks("192.0.2.8"))
	c.becomes(t, "typed", "192.0.2.8, True Allocated")
	c.service(t, "classless", func(svc *corev1.Service) { asks("192.0.2.9")(svc); svc.Spec.LoadBalancerClass = nil })
	c.becomes(t, "classless", "192.0.2.9, True Allocated")
	c.service(t, "moved", func(svc *corev1.Service) { asks("192.0.2.10")(svc); svc.Spec.LoadBalancerClass = nil })
	c.becomes(t, "moved", "192.0.2.10, True Allocated")

	c.edit(t, "typed", func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil
	})
	c.becomes(t, "typed", "no condition")
	c.service(t, "heir", asks("192.0.2.8"))
	c.becomes(t, "heir", "192.0.2.8, True Allocated")
	other := "example.com/other"
	c.edit(t, "typed", func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &other
	})
	patch := fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":%q,"ipMode":"VIP"}]}}}`, theirs.IP)
	if _, err := c.Client.CoreV1().Services("default").Patch(t.Context(), "typed", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}

	// The cluster's default class is another's from now on: while we lead,
	ctl.SetDefaultClass(false)
	c.becomes(t, "classless", "no condition")
	c.becomes(t, "moved", "no condition")
	c.becomes(t, "typed", "203.0.113.5, no condition")
	c.service(t, "next", asks("192.0.2.9"))
	c.becomes(t, "next", "192.0.2.9, True Allocated")

	// and while nobody does, so that the other one has written already.
	ctl.SetDefaultClass(true)
	c.becomes(t, "moved", "192.0.2.10, True Allocated")
	end()
	svc := c.get(t, "moved")
	svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, theirs)
	if _, err := c.Client.CoreV1().Services("default").UpdateStatus(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.controller(t, "lb2", pool("four", "192.0.2.8/30"))
	c.becomes(t, "moved", "203.0.113.5, no condition")
	c.becomes(t, "heir", "192.0.2.8, True Allocated")
}
