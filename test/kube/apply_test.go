package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestApply is a Service's life: kubectl apply, requests from outside, kubectl delete.
func TestApply(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.outOfPod(&s.LBs[1].Host, "lb")
	s.outOfPod(&s.Ingress[2].Host, "backend")
	s.startAll()
	vips := s.served("web")
	if !vips[0].Is4() || !vips[1].Is6() {
		t.Fatalf("addresses %v, want one of each family", vips)
	}
	s.waitAnswer(vips...)

	t.Run("client", func(t *testing.T) {
		for _, vip := range vips {
			for range 20 {
				if out, err := s.Client.Output("curl", "-sS", "--fail", "--max-time", "10", "http://"+netip.AddrPortFrom(vip, 80).String()+"/app"); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
		}
		got := slices.Sorted(maps.Keys(s.clients("/app")))
		if want := []string{lab.Client4.String(), lab.Client6.String()}; !slices.Equal(got, want) {
			t.Errorf("nginx has seen %v, want the client's own addresses %v", got, want)
		}
	})

	t.Run("status", func(t *testing.T) {
		c := meta.FindStatusCondition(s.service("web").Status.Conditions, "penstock.dev/Allocated")
		if c == nil || c.Status != "True" || !strings.Contains(c.Message, vips[0].String()) {
			t.Errorf("condition %+v", c)
		}
		// What an operator looks at first.
		s.wait("kubectl describe to tell who announces", func() error {
			out := s.api.Kubectl(t, "", "describe", "service", "web")
			for _, want := range []string{"LoadBalancer Ingress:     " + vips[0].String() + " (VIP)", "Announced", "lb1", "lb2", "tor4", "Allocated"} {
				if !strings.Contains(out, want) {
					return fmt.Errorf("no %q in\n%s", want, out)
				}
			}
			return nil
		})
		events, err := s.api.Client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items { // the API server has warnings of its own
			if e.Type == corev1.EventTypeWarning && strings.HasPrefix(e.Source.Component, "penstock") {
				t.Errorf("there is a warning: %s: %s", e.Reason, e.Message)
			}
		}
	})

	t.Run("published", func(t *testing.T) {
		for _, h := range s.Hosts() {
			s.wait(h.Name+" to publish itself", func() error {
				for _, text := range s.published(h.Name) {
					var p desired.Published
					if err := json.Unmarshal([]byte(text), &p); err != nil || p.Ready {
						return err
					}
				}
				return fmt.Errorf("its Node says %v", s.published(h.Name))
			})
		}
	})

	t.Run("explanation", func(t *testing.T) {
		var e api.Explanation
		out, err := s.LBs[0].Penstock("services", "-n", "default", "web", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &e)
		}
		if err != nil || e.Force != api.InForce || e.Object == nil || len(e.VIPs) != 2 || len(e.Tables) != 2 {
			t.Fatalf("%v: %+v", err, e)
		}
		for _, v := range e.VIPs {
			if len(v.Peers) != 1 {
				t.Errorf("%s is at the routers %+v, want the one of its family", v.VIP, v.Peers)
			}
		}
		for _, table := range e.Tables {
			for _, b := range table.Backends {
				if b.Endpoint == nil || !strings.HasPrefix(b.Endpoint.Pod, "default/web-") || !b.Endpoint.Ready {
					t.Errorf("backend %+v is of %+v", b, b.Endpoint)
				}
			}
			if len(table.Backends) != 3 {
				t.Errorf("%d backends in %s", len(table.Backends), table.Name)
			}
		}
	})

	t.Run("delete", func(t *testing.T) {
		s.api.Kubectl(t, "", "delete", "service", "web")
		s.waitRoutes(vips, 0)
		s.waitTables("web")
		s.waitRefused(vips[0], 80)
		// Its addresses are free: who asks for them gets them.
		s.apply(strings.Replace(webYAML("heir"), "  namespace: default\n",
			fmt.Sprintf("  namespace: default\n  annotations: {penstock.dev/ips: \"%s,%s\"}\n", vips[0], vips[1]), 1))
		if got := s.waitAddresses("heir", 2); !slices.Equal(got, vips) {
			t.Errorf("the next Service asked for %v and got %v", vips, got)
		}
	})
}
