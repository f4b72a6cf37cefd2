package kube

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
		{"garbage", asks("sugar"), "False InvalidRequest"},
	} {
		c.service(t, tc.name, tc.edit)
		c.becomes(t, tc.name, tc.want)
	}
	c.has(t, "single", corev1.EventTypeNormal, "Allocated", "192.0.2.10 (pool four)")
	c.has(t, "taken", corev1.EventTypeWarning, "AddressInUse", "default/single")
	c.has(t, "outside", corev1.EventTypeWarning, "AddressOutsidePool", "198.51.100.1")
	c.has(t, "garbage", corev1.EventTypeWarning, "InvalidRequest", "sugar")

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

// A restart and a new leader find what is there: the same addresses, no write, no Event.
func TestRestartWritesNothing(t *testing.T) {
	c := newCluster(t)
	pools := []ipam.Pool{pool("four", "192.0.2.0/24")}
	_, _, end := c.controller(t, "lb1", pools...)
	var before []string
	for i := range 10 {
		name := fmt.Sprintf("web%d", i)
		c.service(t, name, func(svc *corev1.Service) {
			if i == 9 {
				svc.Annotations = map[string]string{desired.IPsAnnotation: "203.0.113.1"}
			}
		})
		eventually(t, name, func() error {
			if findCondition(c.get(t, name).Status.Conditions) == nil {
				return fmt.Errorf("no condition")
			}
			return nil
		})
		before = append(before, c.get(t, name).ResourceVersion)
	}
	eventually(t, "events", func() error {
		if n := len(c.events(t, "")); n != 10 {
			return fmt.Errorf("%d, want 10", n)
		}
		return nil
	})
	end()
	for _, name := range []string{"lb1", "lb2"} {
		ctl, w, end := c.controller(t, name, pools...)
		c.service(t, "new-of-"+name, nil)
		eventually(t, "new one", func() error {
			if len(c.get(t, "new-of-"+name).Status.LoadBalancer.Ingress) == 0 {
				return fmt.Errorf("no address")
			}
			return nil
		})
		c.has(t, "new-of-"+name, corev1.EventTypeNormal, "Allocated", "192.0.2.")
		if self, _ := ctl.Leader(); !self {
			t.Errorf("%s does not lead", name)
		}
		end()
		if n := w.count("PATCH services/status"); n != 1 {
			t.Errorf("%s: %d writes of a status, want 1", name, n)
		}
		if n := w.count("POST events") + w.count("PUT events"); n != 1 {
			t.Errorf("%s: %d writes of events, want 1", name, n)
		}
	}
	for i, version := range before {
		if svc := c.get(t, fmt.Sprintf("web%d", i)); svc.ResourceVersion != version {
			t.Errorf("%s was written again: %s", svc.Name, state(svc))
		}
	}
}

// The leader is cut off without a word. The other one takes over when the lease expires.
func TestLeaderDies(t *testing.T) {
	c := newCluster(t)
	pools := []ipam.Pool{pool("four", "192.0.2.0/24")}
	first, cut, _ := c.controller(t, "lb1", pools...)
	c.service(t, "old", nil)
	eventually(t, "address", func() error {
		if len(c.get(t, "old").Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	want := state(c.get(t, "old"))
	second, _, _ := c.controller(t, "lb2", pools...)
	eventually(t, "leader as lb2 sees it", func() error {
		if self, name := second.Leader(); self || name != "lb1" {
			return fmt.Errorf("%v %q", self, name)
		}
		return nil
	})
	cut.cut()
	start := time.Now()
	c.service(t, "new", nil)
	eventually(t, "new Service", func() error {
		if len(c.get(t, "new").Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("no address")
		}
		return nil
	})
	t.Logf("served again %v after the leader died, with a lease of 1.5 s", time.Since(start).Round(time.Millisecond))
	if got := state(c.get(t, "old")); got != want {
		t.Errorf("old Service: %q, was %q", got, want)
	}
	eventually(t, "first leader", func() error {
		if self, _ := first.Leader(); self {
			return fmt.Errorf("it still believes that it leads")
		}
		return nil
	})
}

// The leader stands still within a write of a status, for so long that another one leads,
// and what it was about to write goes out when it wakes up.
func TestPausedLeaderWritesNothing(t *testing.T) {
	c := newCluster(t)
	pools := []ipam.Pool{pool("four", "192.0.2.8/31")}
	_, w, _ := c.controller(t, "lb1", pools...)
	c.service(t, "a", nil)
	eventually(t, "a", func() error {
		if len(c.get(t, "a").Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("no address")
		}
		return nil
	})
	w.mu.Lock()
	w.stop = func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/services/b/status")
	}
	w.mu.Unlock()
	c.service(t, "b", nil)
	goOn := <-w.held
	w.mu.Lock()
	w.stop, w.dead = nil, true // but for that request, nothing of it gets through
	w.mu.Unlock()

	second, _, _ := c.controller(t, "lb2", pools...)
	c.edit(t, "a", func(svc *corev1.Service) { svc.Spec.Ports[0].Port = 8080 })
	c.service(t, "c", nil)
	eventually(t, "the other leader's writes", func() error {
		if self, _ := second.Leader(); !self || findCondition(c.get(t, "c").Status.Conditions) == nil {
			return fmt.Errorf("it does not lead, or has not written yet")
		}
		return nil
	})
	versions := func() (out []string) {
		for _, name := range []string{"a", "b", "c"} {
			svc := c.get(t, name)
			out = append(out, name+" "+svc.ResourceVersion+" "+state(svc))
		}
		return out
	}
	before := versions()
	goOn()
	eventually(t, "the write that was held", func() error {
		if w.count("PATCH services/status") != 2 { // that of a, and this one
			return fmt.Errorf("it has not gone out")
		}
		return nil
	})
	c.service(t, "d", nil) // whose condition comes from the one that leads, after all that
	eventually(t, "d", func() error {
		if findCondition(c.get(t, "d").Status.Conditions) == nil {
			return fmt.Errorf("no condition")
		}
		return nil
	})
	if after := versions(); !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
	holders := map[netip.Addr]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		for _, in := range c.get(t, name).Status.LoadBalancer.Ingress {
			a := netip.MustParseAddr(in.IP)
			if other := holders[a]; other != "" {
				t.Errorf("%s and %s have %s", other, name, a)
			}
			holders[a] = name
		}
	}
}

// A Service that is ours no more loses what we wrote, and nothing else.
func TestServicesThatAreNotOursAnyMore(t *testing.T) {
	c := newCluster(t)
	ctl, _, _ := c.controller(t, "lb1", pool("four", "192.0.2.8/30"))
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

	// The cluster's default class is another's from now on, and that one is quick.
	svc := c.get(t, "moved")
	svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, theirs)
	ctl.SetDefaultClass(false)
	if _, err := c.Client.CoreV1().Services("default").UpdateStatus(t.Context(), svc, metav1.UpdateOptions{}); err != nil && !strings.Contains(err.Error(), "modified") {
		t.Fatal(err)
	}
	c.becomes(t, "classless", "no condition")
	eventually(t, "moved", func() error {
		if got := state(c.get(t, "moved")); got != "no condition" && got != "203.0.113.5, no condition" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	c.becomes(t, "typed", "203.0.113.5, no condition")
	c.service(t, "next", asks("192.0.2.9"))
	c.becomes(t, "next", "192.0.2.9, True Allocated")
}

// Without a pool an agent leaves the lead to others, and takes it once it has one.
func TestNoPool(t *testing.T) {
	c := newCluster(t)
	ctl, w, _ := c.controller(t, "lb1")
	second, _, end := c.controller(t, "lb2", pool("four", "192.0.2.8/30"))
	c.service(t, "a", nil)
	c.becomes(t, "a", "192.0.2.8, True Allocated")
	if self, _ := ctl.Leader(); self || w.count("POST leases")+w.count("GET "+LeaderLease) > 0 {
		t.Error("the agent without pools takes part in the election")
	}
	ctl.SetPools([]ipam.Pool{pool("four", "192.0.2.8/30")})
	second.SetPools(nil)
	c.service(t, "b", nil)
	c.becomes(t, "b", "192.0.2.9, True Allocated")
	if self, _ := ctl.Leader(); !self {
		t.Error("it does not lead")
	}
	end()
}

// A Service that can't be written costs itself alone.
func TestOneServiceFails(t *testing.T) {
	c := newCluster(t)
	_, w, _ := c.controller(t, "lb1", pool("four", "192.0.2.0/24"))
	w.mu.Lock()
	w.fail = func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/services/bad/")
	}
	w.mu.Unlock()
	c.service(t, "bad", nil)
	for i := range 5 {
		name := fmt.Sprintf("good%d", i)
		c.service(t, name, nil)
		eventually(t, name, func() error {
			if len(c.get(t, name).Status.LoadBalancer.Ingress) == 0 {
				return fmt.Errorf("no address")
			}
			return nil
		})
	}
	if n := w.count("refused"); n == 0 || n > 12 {
		t.Errorf("%d tries of the bad one", n)
	}
	w.mu.Lock()
	w.fail = nil
	w.mu.Unlock()
	eventually(t, "the bad one", func() error {
		if len(c.get(t, "bad").Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("no address")
		}
		return nil
	})
}

func TestThousandServices(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	c := newCluster(t)
	const n = 1000
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				c.service(t, fmt.Sprintf("web%d", i), nil)
			}
		})
	}
	wg.Wait()
	start := time.Now()
	_, w, _ := c.controller(t, "lb1", pool("four", "10.0.0.0/16"))
	eventually(t, "addresses", func() error {
		if done := w.count("PATCH services/status"); done < n {
			return fmt.Errorf("%d of %d", done, n)
		}
		list, err := c.Client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		addresses := map[string]bool{}
		for _, svc := range list.Items {
			for _, in := range svc.Status.LoadBalancer.Ingress {
				addresses[in.IP] = true
			}
		}
		if len(addresses) != n {
			return fmt.Errorf("%d different ones of %d", len(addresses), n)
		}
		return nil
	})
	at := time.Since(start)
	fences, patches := w.count("PUT "+FenceLease), w.count("PATCH services/status")
	t.Logf("a new leader and %d Services that wait: %v, %d writes of the fence, %d of statuses", n, at.Round(time.Millisecond), fences, patches)
	if patches != n || fences > n/50 {
		t.Errorf("%d writes of statuses and %d of the fence", patches, fences)
	}

	// The same again, of Services that come while it leads.
	start = time.Now()
	reads := w.count("GET services")
	for i := range 100 {
		c.service(t, fmt.Sprintf("more%d", i), nil)
	}
	eventually(t, "the last one's address", func() error {
		if len(c.get(t, "more99").Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	t.Logf("100 more, made one after another: %v, %d writes of the fence, %d of statuses, %d reads", time.Since(start).Round(time.Millisecond),
		w.count("PUT "+FenceLease)-fences, w.count("PATCH services/status")-patches, w.count("GET services")-reads)
}
