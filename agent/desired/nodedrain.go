package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// DrainTaint, on a Node, drains it as an LB node, and keeps pods there that tolerate it.
const DrainTaint = "penstock.dev/drain"

// drains says why a node is to take no traffic: it is cordoned, which comes before
// whatever is done to a node, or it has one of two taints. Field is where that is said.
func drains(n *corev1.Node) (field, why string) {
	if n.Spec.Unschedulable {
		return "spec.unschedulable", "it is cordoned"
	}
	for _, taint := range n.Spec.Taints {
		if taint.Key == DrainTaint || taint.Key == corev1.TaintNodeOutOfService {
			return "spec.taints", "it has the taint " + taint.Key
		}
	}
	return "", ""
}

// Drains says why a node is to take no traffic as an LB node; empty if it may.
func Drains(n *corev1.Node) string {
	_, why := drains(n)
	return why
}

// unfitLB says why an LB node can take over from none that drains.
func unfitLB(n *corev1.Node, m *member, now time.Time) string {
	if _, set := n.Labels[corev1.LabelNodeExcludeBalancers]; set {
		return "it has the label " + corev1.LabelNodeExcludeBalancers
	}
	if _, why := drains(n); why != "" {
		return why
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "its kubelet is not ready"
		}
	}
	if m.lbUnready != "" {
		return "its agent is not ready: " + m.lbUnready
	}
	if silence := now.Sub(m.lbAlive); !m.lbAlive.IsZero() && silence > AliveFor {
		return fmt.Sprintf("its agent has not been heard of since %s", m.lbAlive.UTC().Format(time.RFC3339))
	}
	return ""
}

// AliveFor is how long a sign of life of an LB node's agent counts: three of them, and what
// clocks may differ by.
const AliveFor = 100 * time.Second

// drained says why this node is to announce nothing. A node drains only while another LB
// node can take over: whoever cordons all of them means to do something to the machines, and
// not to end all traffic. Then, a problem says so.
func (f *fabric) drained(nodes []*corev1.Node, now time.Time) (why string, problems []Problem) {
	i := slices.IndexFunc(nodes, func(n *corev1.Node) bool { return n.Name == f.self })
	if i < 0 {
		return "", nil
	}
	field, why := drains(nodes[i])
	if why == "" {
		return "", nil
	}
	fit, unfit := f.successor(nodes, now)
	if fit != "" {
		return fmt.Sprintf("node %s drains, as %s (%s); other LB nodes have its traffic until that is taken back", f.self, why, field), nil
	}
	return "", []Problem{{Kind: "Node", Name: f.self, Field: field,
		Message: fmt.Sprintf("%s, but does not drain as no other LB node could take over (%s); end its agent if it is to stop nevertheless", why, none(unfit))}}
}

// successor names an LB node that can take over from this one or, if there is none, says of
// each other why it cannot.
func (f *fabric) successor(nodes []*corev1.Node, now time.Time) (fit string, unfit []string) {
	// What this node says of itself comes back with what others say. While it does not, as the
	// API server is away, nothing is known of others' silence.
	if f.own != nil && !f.own.lbAlive.IsZero() && f.own.lbAlive.Before(now) {
		now = f.own.lbAlive
	}
	for _, n := range nodes {
		m := f.members[n.Name]
		if n.Name == f.self || m == nil || !m.lb {
			continue
		}
		no := unfitLB(n, m, now)
		if no == "" {
			return n.Name, nil
		}
		unfit = append(unfit, fmt.Sprintf("%s: %s", n.Name, no))
	}
	slices.Sort(unfit)
	return "", unfit
}

func none(unfit []string) string {
	if len(unfit) == 0 {
		return "there is none"
	}
	return strings.Join(unfit, "; ")
}

// Successor names an LB node that can take over from this one or, if there is none, says why
// not.
func (m *Model) Successor(now time.Time) (fit, whyNot string) {
	fit, unfit := newFabric(m.nodes, m.site).successor(m.nodes, now)
	if fit != "" {
		return fit, ""
	}
	return "", none(unfit)
}
