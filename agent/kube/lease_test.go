package kube

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

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

func TestNothingIsSentWithoutTheLease(t *testing.T) {
	set, w := agentOf(t, &rest.Config{Host: "https://127.0.0.1:1"})
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", ResourceVersion: "7"}}
	s := &store{set: set, namespace: testNamespace, seen: map[string]sight{"default/web": {svc: svc}},
		lease: func() error { return errExpired }}
	claim := ipam.Claim{Service: "default/web", Version: "7"}
	if err := s.PutStatus(t.Context(), claim, ipam.Decision{Service: "default/web"}); !errors.Is(err, errExpired) {
		t.Errorf("PutStatus: %v", err)
	}
	if _, err := s.PutFence(t.Context(), ipam.Fence{}); !errors.Is(err, errExpired) {
		t.Errorf("PutFence: %v", err)
	}
	if _, err := s.patch(t.Context(), svc, nil); !errors.Is(err, errExpired) {
		t.Errorf("patch: %v", err)
	}
	if len(w.counts) > 0 {
		t.Errorf("requests: %v", w.counts)
	}
}

func TestFenceOfAnEditedLease(t *testing.T) {
	good := ipam.Fence{Leader: "lb1", Epoch: 7, Version: "9", Intents: []ipam.Intent{{Service: "a/b", UID: "u", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
	lease, err := leaseOf(testNamespace, good)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fenceOf(lease)
	if diff := cmp.Diff(good, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	for _, name := range []string{epochAnnotation, intentsAnnotation} {
		edited := lease.DeepCopy()
		edited.Annotations[name] = "sugar"
		if _, err := fenceOf(edited); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

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

	// One that waits for the lead and loses its pools meanwhile must not come to lead
	// without: it would take every address for one that no pool has any more.
	_, _, end = c.controller(t, "lb3", pool("four", "192.0.2.8/30"))
	third, w3, _ := c.controller(t, "lb4", pool("four", "192.0.2.8/30"))
	eventually(t, "candidate", func() error {
		if _, name := third.Leader(); name == "" {
			return fmt.Errorf("it has not seen the leader yet")
		}
		return nil
	})
	third.SetPools(nil)
	end()
	ctl.SetPools(nil)
	eventually(t, "end of the last leader", func() error {
		if _, name := third.Leader(); name != "lb4" {
			return fmt.Errorf("lb4 has not come by the lease yet")
		}
		lease, err := c.Client.CoordinationV1().Leases(testNamespace).Get(t.Context(), LeaderLease, metav1.GetOptions{})
		if err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
			err = fmt.Errorf("%s has the lease", *lease.Spec.HolderIdentity)
		}
		return err
	})
	if n := w3.count("PATCH services/status") + w3.count("PUT "+FenceLease); n > 0 {
		t.Errorf("%d writes without a pool", n)
	}
	c.becomes(t, "a", "192.0.2.8, True Allocated")
}
