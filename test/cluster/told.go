package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// told is what an operator of a node finds, by where it is looked for.
type told struct {
	role string
	// in gives a text each; all of them are to have the words.
	in map[string]func() (string, error)
}

// failing are the places that tell of an agent that does not run.
func (s *Site) failing(n *Node, role string) told {
	return told{role, map[string]func() (string, error){
		"kubectl describe pod": func() (string, error) { return s.describeAgent(n) },
		"kubectl describe node": func() (string, error) {
			return s.events(n, "AgentFailed")
		},
		"penstock check": func() (string, error) { return s.checkOf(n, role) },
	}}
}

// running are those that tell of one that runs, and has something to say.
func (s *Site) running(n *Node, role, event string) told {
	return told{role, map[string]func() (string, error){
		"kubectl describe node": func() (string, error) { return s.events(n, event) },
		"kubectl logs":          func() (string, error) { return s.agentLog(n) },
		"penstock status": func() (string, error) {
			out, err := s.Penstock(n, "status")
			if out == "" && err != nil {
				return err.Error(), nil // not ready, which is an exit code
			}
			return out, nil
		},
	}}
}

// waitTold waits until all places have all words, and notes how they stand there.
func (s *Site) waitTold(what string, t told, words ...string) {
	s.tb.Helper()
	for place, look := range t.in {
		var text string
		s.Wait(what+" to be told by "+place, func() (err error) {
			if text, err = look(); err != nil {
				return err
			}
			for _, w := range words {
				if !strings.Contains(text, w) {
					return fmt.Errorf("no %q in\n%s", w, text)
				}
			}
			return nil
		})
		s.tb.Logf("%s: %s: %s", what, place, lineWith(text, words[0]))
	}
}

func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return text
}

func (s *Site) describeAgent(n *Node) (string, error) {
	p, err := s.Agent(n)
	if err != nil {
		return "", err
	}
	return s.API.TryKubectl("", "-n", system, "describe", "pod", p.Name)
}

func (s *Site) agentLog(n *Node) (string, error) {
	p, err := s.Agent(n)
	if err != nil {
		return "", err
	}
	return s.API.TryKubectl("", "-n", system, "logs", p.Name)
}

// events are a Node's of a reason, as `kubectl describe node` shows them.
func (s *Site) events(n *Node, reason string) (string, error) {
	out, err := s.API.TryKubectl("", "describe", "node", n.Name)
	_, out, _ = strings.Cut(out, "\nEvents:")
	var lines []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, " "+reason+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n"), err
}

// checkOf is what `penstock check` says of the agent of a node, as it fails.
func (s *Site) checkOf(n *Node, role string) (string, error) {
	out, err := s.Check(time.Second) // which it takes whole
	if err == nil {
		return "", fmt.Errorf("all is well:\n%s", out)
	}
	prefix := fmt.Sprintf("penstock: %s on Node %s is not ready: ", role, n.Name)
	for line := range strings.Lines(err.Error()) {
		if strings.HasPrefix(line, prefix) {
			return line, nil
		}
	}
	return "", fmt.Errorf("no line begins with %q: %w", prefix, err)
}

// Check runs `penstock check` from outside of the cluster, which ends once all is well.
func (s *Site) Check(timeout time.Duration) (string, error) {
	return s.Hub.Output(s.binary, "check", "--kubeconfig", s.API.Kubeconfig, "--namespace", system, "--timeout", timeout.String())
}

// waitNotReady waits until a node's agent is not ready, by the kubelet's word.
func (s *Site) waitNotReady(n *Node) {
	s.tb.Helper()
	s.Wait("the agent of "+n.Name+" not to be ready", func() error {
		p, err := s.Agent(n)
		if err != nil {
			return err
		}
		if podReady(p) {
			return fmt.Errorf("%s is ready", p.Name)
		}
		return nil
	})
}

func podReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// mustBeClean fails where there is more of Penstock on a node than before it came.
func (s *Site) mustBeClean(n *Node, before footprint) {
	s.tb.Helper()
	after, err := n.footprint()
	if err != nil {
		s.tb.Fatal(err)
	}
	if left := after.minus(before); len(left) > 0 {
		s.tb.Errorf("on %s there is\n%s", n.Name, strings.Join(left, "\n"))
	}
	node, err := s.API.Client.CoreV1().Nodes().Get(s.tb.Context(), n.Name, metav1.GetOptions{})
	if err != nil {
		s.tb.Fatal(err)
	}
	for k, v := range node.Annotations {
		if strings.HasPrefix(k, "penstock.dev/") {
			s.tb.Errorf("Node %s has the annotation %s=%s", n.Name, k, v)
		}
	}
}

// mustFootprint looks at a node.
func (n *Node) mustFootprint(tb testing.TB) footprint {
	tb.Helper()
	f, err := n.footprint()
	if err != nil {
		tb.Fatal(err)
	}
	return f
}
