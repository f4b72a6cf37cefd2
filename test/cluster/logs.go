package cluster

import (
	"os"
	"strings"
)

// shown is how many bytes of each log a failed test prints.
const shown = 3000

// showLogs tells of a failure what the cluster has to say about it.
func (s *Site) showLogs() {
	if !s.tb.Failed() {
		return
	}
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "services", "-A"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		out, err := s.API.TryKubectl("", args...)
		s.tb.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, tail(out))
	}
	for _, n := range s.Nodes() {
		for _, name := range []string{"kubelet", "containerd"} {
			b, err := os.ReadFile(n.log(name))
			s.tb.Logf("%s of %s, %s: %v\n%s", name, n.Name, n.log(name), err, tail(string(b)))
		}
		p, err := s.Agent(n)
		if err != nil {
			s.tb.Log(err)
			continue
		}
		out, err := s.API.TryKubectl("", "-n", system, "logs", p.Name)
		s.tb.Logf("logs of %s on %s: %v\n%s", p.Name, n.Name, err, tail(out))
	}
}

func tail(s string) string {
	if len(s) > shown {
		return "…" + s[len(s)-shown:]
	}
	return s
}
