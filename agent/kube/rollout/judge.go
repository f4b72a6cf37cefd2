package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// Report is what became of an installation.
type Report struct {
	Agents   []Agent  `json:"agents"`   // by role and node
	Problems []string `json:"problems"` // none: all is as it should be
}

// Agent is one pod.
type Agent struct {
	Role  string `json:"role"`
	Node  string `json:"node"`
	Pod   string `json:"pod"`
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"` // it is not, or takes no traffic though it is
}

// judge compares what there is with what the DaemonSets want. Readiness is the agents' own word:
// of an LB node that it has a session with a router, too.
func judge(sets map[string]*appsv1.DaemonSet, pods []corev1.Pod, nodes map[string]*corev1.Node) (r Report) {
	if sets["lb"] == nil {
		r.problem("there is no DaemonSet penstock-lb: is this the namespace of Penstock?")
	}
	for _, role := range roles {
		if sets[role] == nil {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return p.Labels["app.kubernetes.io/component"] != role })
		slices.SortFunc(mine, func(a, b corev1.Pod) int {
			return cmp.Or(cmp.Compare(a.Spec.NodeName, b.Spec.NodeName), cmp.Compare(a.Name, b.Name))
		})
		for _, p := range mine {
			a := Agent{Role: role, Node: p.Spec.NodeName, Pod: p.Name, Why: unready(&p)}
			var drains bool
			if a.Why == "" {
				a.Why, drains = unpublished(nodes[a.Node], role)
			}
			a.Ready = a.Why == "" || drains
			if !a.Ready {
				r.problem("%s on Node %s is not ready: %s", role, cmp.Or(a.Node, "(none)"), a.Why)
			}
			r.Agents = append(r.Agents, a)
		}
		r.count(role, sets[role], len(mine))
	}
	return r
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// count compares the numbers of a DaemonSet's status, which the controller writes.
func (r *Report) count(role string, set *appsv1.DaemonSet, pods int) {
	s := set.Status
	switch want := s.DesiredNumberScheduled; {
	case s.ObservedGeneration < set.Generation:
		r.problem("DaemonSet %s has changed, and its controller has not seen it yet", set.Name)
	case want == 0 && role == "lb":
		r.problem("no Node is an LB node: label some with %s", labels(set.Spec.Template.Spec.NodeSelector))
	case int(want) > pods:
		r.problem("%d of the %d Nodes that DaemonSet %s selects have a pod: see its Events", pods, want, set.Name)
	case s.UpdatedNumberScheduled < want:
		r.problem("%d of %d pods of DaemonSet %s are of its newest version", s.UpdatedNumberScheduled, want, set.Name)
	}
}

func labels(selector map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		if k != corev1.LabelOSStable {
			out = append(out, k+"="+selector[k])
		}
	}
	return strings.Join(out, ",")
}

// unready says why a pod is not ready; empty: it is.
func unready(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
			return ""
		}
	}
	if p.DeletionTimestamp != nil {
		return "it is ending"
	}
	for _, s := range p.Status.ContainerStatuses {
		last := ""
		if t := s.LastTerminationState.Terminated; t != nil {
			last = ": it ended with " + fmt.Sprint(t.ExitCode) + ": " + lastLine(t.Message)
		}
		switch {
		case s.State.Waiting != nil:
			return strings.TrimSuffix(s.State.Waiting.Reason+last, ": ")
		case s.State.Terminated != nil:
			return fmt.Sprintf("it ended with %d: %s", s.State.Terminated.ExitCode, lastLine(s.State.Terminated.Message))
		}
	}
	if p.Spec.NodeName == "" {
		return "no Node takes it: see its Events"
	}
	return "its probe fails: kubectl exec " + p.Name + " -n " + p.Namespace + " -- penstock status"
}

// lastLine is where an agent's log says why it ended.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// unpublished says what keeps other agents from knowing this one; empty: nothing. One that drains
// does as it was told.
func unpublished(n *corev1.Node, role string) (why string, drains bool) {
	if n == nil {
		return "its Node is gone", false
	}
	text, ok := n.Annotations["penstock.dev/"+role]
	var p desired.Published
	switch {
	case !ok:
		return "it has not published itself on its Node, so that no other agent knows it", false
	case json.Unmarshal([]byte(text), &p) != nil:
		return "the annotation penstock.dev/" + role + " of its Node can't be read", false
	case !p.Ready:
		return "its Node says: " + cmp.Or(p.Reason, "not ready"), strings.HasPrefix(p.Reason, desired.DrainsBy)
	}
	return "", false
}
