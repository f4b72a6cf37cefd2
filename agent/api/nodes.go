package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// NodeStatus is one role of one node, as its Node object has it.
type NodeStatus struct {
	Name      string             `json:"name"`
	Role      string             `json:"role"`                // lb or backend
	Published *desired.Published `json:"published,omitempty"` // nil: the role was given by hand, or what is there cannot be read
	Problem   string             `json:"problem,omitempty"`   // why it cannot be read
	Drained   string             `json:"drained,omitempty"`   // of an LB node: why it is to take no traffic
}

// Nodes reads what nodes say of their roles, by name and role. Objects are not changed.
func Nodes(nodes []*corev1.Node) []NodeStatus {
	out := []NodeStatus{}
	for _, n := range nodes {
		byHand := strings.Split(n.Annotations[desired.RoleAnnotation], ",")
		for _, r := range []struct{ role, annotation string }{{"backend", desired.BackendAnnotation}, {"lb", desired.LBAnnotation}} {
			text, published := n.Annotations[r.annotation]
			if !published && !slices.ContainsFunc(byHand, func(w string) bool { return strings.TrimSpace(w) == r.role }) {
				continue
			}
			s := NodeStatus{Name: n.Name, Role: r.role}
			if published {
				s.read(r.annotation, text)
			}
			if r.role == "lb" {
				s.Drained = desired.Drains(n)
			}
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b NodeStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Role, b.Role)) })
	return out
}

func (s *NodeStatus) read(annotation, text string) {
	p := new(desired.Published)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		s.Problem = fmt.Sprintf("annotation %s cannot be read: %v; restart the agent there, which writes it anew", annotation, err)
		return
	}
	s.Published = p
}

// skew says which agents run which version, if there are several.
func (s *Status) skew() string {
	by := map[string][]string{}
	add := func(version, node string) {
		if !slices.Contains(by[version], node) {
			by[version] = append(by[version], node)
		}
	}
	add(s.Version, s.Node)
	for _, n := range s.Nodes {
		if n.Published != nil && n.Name != s.Node {
			add(n.Published.Version, n.Name)
		}
	}
	if len(by) < 2 {
		return ""
	}
	var parts []string
	for version, nodes := range by {
		parts = append(parts, fmt.Sprintf("%s on %s", cmp.Or(version, "unknown"), abridge(nodes)))
	}
	slices.Sort(parts)
	return "agents of different versions run: " + strings.Join(parts, "; ")
}

// abridge names a few.
func abridge(names []string) string {
	const most = 3
	slices.Sort(names)
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
