package kube

import (
	"fmt"
	"net/http"
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

func TestControllerOverSource(t *testing.T) {
	c := newCluster(t)
	client, err := connect(Options{Role: roleLB, Node: "lb1", Namespace: testNamespace}, c.lb, testLog(t, "client"))
	if err != nil {
		t.Fatal(err)
	}
	source := NewSource(client, testLog(t, "source"))
	small, big := pool("small", "192.0.2.8/31"), pool("gold", "198.51.100.0/24")
	big.NamespaceSelector = labelled("tier=gold")
	big.Priority = -1
	ctl := NewController(client, source, ControllerOptions{Identity: "lb1", Namespace: testNamespace, Pools: []ipam.Pool{small, big}}, testLog(t, "lb1"))
	c.runs(t, "source", source.Run)
	c.runs(t, "controller", ctl.Run)

	c.service(t, "a", nil)
	c.becomes(t, "a", "192.0.2.8, True Allocated")
	c.service(t, "b", nil)
	c.becomes(t, "b", "192.0.2.9, True Allocated")
	c.service(t, "c", nil)
	c.becomes(t, "c", "False PoolExhausted")
	c.has(t, "c", corev1.EventTypeWarning, "PoolExhausted", "pool small")

	// What is freed goes to who waits.
	if err := c.Client.CoreV1().Services("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.becomes(t, "c", "192.0.2.8, True Allocated")
	c.has(t, "c", corev1.EventTypeNormal, "Allocated", "192.0.2.8 (pool small)")

	// A Namespace's labels open a pool to its Services.
	c.service(t, "d", nil)
	c.becomes(t, "d", "False PoolExhausted")
	patch := []byte(`{"metadata":{"labels":{"tier":"gold"}}}`)
	if _, err := c.Client.CoreV1().Namespaces().Patch(t.Context(), "default", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.becomes(t, "d", "198.51.100.0, True Allocated")
	c.becomes(t, "c", "192.0.2.8, True Allocated")

	// Shared by two that want it so.
	share := func(port int32) func(*corev1.Service) {
		return func(svc *corev1.Service) {
			svc.Annotations = map[string]string{desired.SharingKeyAnnotation: "k", desired.IPsAnnotation: "198.51.100.7"}
			svc.Spec.Ports[0].Port = port
		}
	}
	c.service(t, "one", share(80))
	c.becomes(t, "one", "198.51.100.7, True Allocated")
	c.service(t, "two", share(443))
	c.becomes(t, "two", "198.51.100.7, True Shared")
	c.has(t, "two", corev1.EventTypeNormal, "Shared", "default/one")
	c.becomes(t, "one", "198.51.100.7, True Shared")
	c.service(t, "three", share(443))
	c.becomes(t, "three", "False PortInUse")
	c.has(t, "three", corev1.EventTypeWarning, "PortInUse", "default/two")

	// The API server is away for a moment, and one Service comes right after it.
	c.Stop()
	c.Restart(t)
	c.service(t, "after", nil)
	eventually(t, "address after the restart", func() error {
		if got := state(c.get(t, "after")); !strings.HasPrefix(got, "198.51.100.") {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	c.becomes(t, "two", "198.51.100.7, True Shared")
}

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
	patches, reads = w.count("PATCH services/status")-patches, w.count("GET services")-reads
	t.Logf("100 more, made one after another: %v, %d writes of the fence, %d of statuses, %d reads",
		time.Since(start).Round(time.Millisecond), w.count("PUT "+FenceLease)-fences, patches, reads)
	if patches != 100 || reads > 200 {
		t.Errorf("%d writes of statuses and %d reads", patches, reads)
	}
}

// Where no agent has a pool, Services say so; and once one has, no more.
func TestNoPoolAnywhere(t *testing.T) {
	c := newCluster(t)
	idle, _, _ := c.controller(t, "lb1")
	c.controller(t, "lb2")
	c.service(t, "web", nil)
	c.service(t, "other", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = new("example.com/other") })
	e := c.has(t, "web", corev1.EventTypeWarning, "NoPool", "no pool is configured on any LB node")
	if e.Count != 1 {
		t.Errorf("the Event counts %d", e.Count)
	}
	if all := c.events(t, "other"); len(all) > 0 {
		t.Errorf("a Service of another class has %s", eventLines(all))
	}
	idle.SetPools([]ipam.Pool{pool("main", "192.0.2.0/28")})
	c.becomes(t, "web", "192.0.2.0, True Allocated")
	c.service(t, "late", nil)
	c.becomes(t, "late", "192.0.2.1, True Allocated")
	for _, e := range c.events(t, "late") {
		if e.Reason == "NoPool" {
			t.Errorf("late has %s", e.Message)
		}
	}
}
