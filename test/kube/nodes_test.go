package kube

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestNodes has nodes of both roles leave and come back, as an operator does it.
func TestNodes(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)

	t.Run("agents killed", func(t *testing.T) {
		for _, h := range s.Hosts() {
			h.KillAgent(t)
			s.more(load, 200)
			h.StartAgent(s.t) // for longer than this part
			h.WaitAgent(t)
			s.waitRoutes(vips, 2)
		}
		s.same("web", vips)
	})

	t.Run("all agents killed at once", func(t *testing.T) {
		for _, h := range s.Hosts() {
			h.KillAgent(t)
		}
		s.more(load, 200)
		for _, h := range s.Hosts() {
			h.StartAgent(s.t)
		}
		for _, h := range s.Hosts() {
			h.WaitAgent(t)
		}
		s.waitRoutes(vips, 2)
		s.same("web", vips)
	})

	t.Run("cordon", func(t *testing.T) {
		s.api.Kubectl(t, "", "cordon", "lb1")
		s.waitRoutes(vips, 1)
		s.more(load, 100)
		s.api.Kubectl(t, "", "uncordon", "lb1")
		s.waitRoutes(vips, 2)
		s.more(load, 100)
	})

	t.Run("drain", func(t *testing.T) {
		s.api.Kubectl(t, "", "taint", "node", "lb2", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
		s.waitRoutes(vips, 1)
		s.more(load, 100)
		s.api.Kubectl(t, "", "taint", "node", "lb2", "node.kubernetes.io/out-of-service-")
		s.waitRoutes(vips, 2)
	})

	t.Run("agents stopped in order", func(t *testing.T) {
		for _, b := range s.LBs {
			if code := b.Agent.Stop(t, syscall.SIGTERM); code != 0 {
				t.Errorf("the agent of %s ended with %d", b.Name, code)
			}
			s.waitRoutes(vips, 1)
			s.more(load, 100)
			b.StartAgent(s.t)
			s.waitRoutes(vips, 2)
		}
		s.same("web", vips)
	})

	t.Run("an ingress node without its agent", func(t *testing.T) {
		g := s.Ingress[2]
		old := s.pods[2]
		if old.Node != g {
			t.Fatalf("%s is on %s", old.Name, old.Node.Name)
		}
		s.drain(old)
		s.finish(old)
		if code := g.Agent.Stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("the agent of %s ended with %d", g.Name, code)
		}
		out, err := g.Cleanup()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if p := s.published(g.Name); len(p) > 0 {
			t.Errorf("Node %s says %v, after\n%s", g.Name, p, out)
		}
		// Its pods get packets all the same, translated: they see an LB node.
		p := s.addPod("nat", 2)
		nat := s.served("nat")
		s.waitAnswer(nat...)
		body, err := s.ask(nat[0], 80)
		if err != nil || strings.Contains(body, "client="+lab.Client4.String()) {
			t.Errorf("without an agent the answer is %q, %v", body, err)
		}
		g.StartAgent(s.t)
		s.wait("the client's own address at "+p.Name, func() error {
			body, err := s.ask(nat[0], 80)
			if err == nil && !strings.Contains(body, "client="+lab.Client4.String()) {
				err = fmt.Errorf("the answer is %q", body)
			}
			return err
		})
	})
	load.Check()
}

// more waits until there were n more requests.
func (s *site) more(l *load, n int64) {
	s.t.Helper()
	from := l.Total()
	s.wait(fmt.Sprintf("%d more requests", n), func() error {
		if got := l.Total() - from; got < n {
			return fmt.Errorf("there were %d", got)
		}
		return nil
	})
}

// published are our annotations of a Node.
func (s *site) published(node string) map[string]string {
	s.t.Helper()
	n, err := s.api.Client.CoreV1().Nodes().Get(s.t.Context(), node, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	ours := map[string]string{}
	for k, v := range n.Annotations {
		if strings.HasPrefix(k, "penstock.dev/") {
			ours[k] = v
		}
	}
	return ours
}
