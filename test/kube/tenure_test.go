package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/lab"
)

// asDaemonSets has the agents be of DaemonSets, as far as they can tell: nothing but the objects
// is there, and the test is what ends pods.
func (s *site) asDaemonSets() {
	s.t.Helper()
	for _, role := range []string{"lb", "backend"} {
		s.daemonSet(role)
	}
	for _, h := range s.Hosts() {
		h.Wrap = append([]string{"env", "PENSTOCK_SOURCE_DAEMONSET=penstock-" + s.role(h)}, h.Wrap...)
	}
}

func (s *site) daemonSet(role string) {
	s.t.Helper()
	name, labels := "penstock-"+role, map[string]string{"app": "penstock-" + role}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: system}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"penstock.dev/role": role}, HostNetwork: true, ServiceAccountName: name,
			TerminationGracePeriodSeconds: new(int64(60)),
			Containers:                    []corev1.Container{{Name: "penstock", Image: "penstock"}},
		}},
	}}
	if _, err := s.api.Client.AppsV1().DaemonSets(system).Create(s.t.Context(), set, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// role is that of a host's agent.
func (s *site) role(h *lab.Host) string {
	for _, b := range s.LBs {
		if h == &b.Host {
			return "lb"
		}
	}
	return "backend"
}

// ends has a kubelet's SIGTERM end an agent, which is to succeed.
func (s *site) ends(h *lab.Host) {
	s.t.Helper()
	if code := h.Agent.Stop(s.t, syscall.SIGTERM); code != 0 {
		s.t.Errorf("the agent of %s ended with %d:\n%s", h.Name, code, h.Agent.Output())
	}
}

// traces are what an agent leaves of itself on its host and in the cluster.
func (s *site) traces(h *lab.Host) (found []string) {
	s.t.Helper()
	if _, err := os.Stat(h.Pins()); !errors.Is(err, fs.ErrNotExist) {
		found = append(found, fmt.Sprintf("%s: %v", h.Pins(), err))
	}
	if _, err := os.Stat(h.Socket()); !errors.Is(err, fs.ErrNotExist) {
		found = append(found, fmt.Sprintf("%s: %v", h.Socket(), err))
	}
	out, err := h.Output("bpftool", "-j", "net", "show")
	if err != nil {
		s.t.Fatal(err)
	}
	var net []struct{ XDP, TC []json.RawMessage }
	if err := json.Unmarshal([]byte(out), &net); err != nil || len(net) != 1 {
		s.t.Fatalf("bpftool net: %v in %s", err, out)
	}
	if len(net[0].XDP)+len(net[0].TC) > 0 {
		found = append(found, out)
	}
	if p := s.published(h.Name); len(p) > 0 {
		found = append(found, fmt.Sprintf("Node %s says %v", h.Name, p))
	}
	return found
}

// TestTenure ends agents as kubelets do: for an update, as their Node is to have none any more,
// and with all of Penstock.
func TestTenure(t *testing.T) {
	s := newSite(t, lab.Options{Config: "shutdown: auto", IngressConfig: "shutdown: auto"})
	s.asDaemonSets()
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)

	t.Run("updates", func(t *testing.T) {
		for _, h := range s.Hosts() {
			before := s.traces(h)
			s.ends(h)
			if after := s.traces(h); len(after) != len(before)-1 { // the socket
				t.Errorf("%s has %q, it had %q", h.Name, after, before)
			}
			s.waitRoutes(vips, 2)
			s.more(load, 100)
			h.StartAgent(s.t)
			h.WaitAgent(t)
		}
		s.more(load, 100)
	})

	t.Run("a node that is no LB node any more", func(t *testing.T) {
		b := s.LBs[1]
		s.api.Kubectl(t, "", "label", "node", b.Name, "penstock.dev/role-")
		s.ends(&b.Host)
		s.waitRoutes(vips, 1)
		if left := s.traces(&b.Host); len(left) > 0 {
			t.Errorf("%s has %q", b.Name, left)
		}
		s.more(load, 100)
		s.api.Kubectl(t, "", "label", "node", b.Name, "penstock.dev/role=lb")
		b.StartAgent(s.t)
		s.waitRoutes(vips, 2)
		s.more(load, 100)
	})
	load.Check()

	t.Run("all of it", func(t *testing.T) {
		s.api.Kubectl(t, "", "-n", system, "delete", "daemonset", "--all")
		var all sync.WaitGroup
		for _, h := range s.Hosts() {
			all.Go(func() { s.ends(h) })
		}
		all.Wait()
		s.waitRoutes(vips, 0)
		for _, h := range s.Hosts() {
			if left := s.traces(h); len(left) > 0 {
				t.Errorf("%s has %q after\n%s", h.Name, left, h.Agent.Output())
			}
		}
	})
}
