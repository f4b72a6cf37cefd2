// Package tenure tells what it means that an agent's pod ends: that another one is about to take
// its place, or that this node is left for good. It is pure.
//
// A pod is not told why it ends. What tells is whether its DaemonSet would have a pod on its
// Node again: after an update, a `kubectl delete pod` or a failed liveness probe it would, and
// after `helm uninstall`, or with the Node's label gone, it would not.
package tenure

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Outcome is what an agent is to do at its end.
type Outcome string

const (
	Restart Outcome = "restart" // another pod follows: everything stays
	Drain   Outcome = "drain"   // the node ends too: withdraw, and leave the rest to its end
	Leave   Outcome = "leave"   // for good: withdraw, and remove all that is here
)

// Verdict is an outcome with its cause.
type Verdict struct {
	Outcome Outcome
	Whole   bool // with Leave: of all nodes, as the DaemonSet is deleted
	Why     string
}

// Facts are what is known of an agent's DaemonSet and of its Node.
type Facts struct {
	Name      string // of the DaemonSet, with its namespace
	DaemonSet *appsv1.DaemonSet
	Deleted   bool // it was there, and is not any more
	Ending    bool // its namespace is being deleted

	Node *corev1.Node // nil where it has never been seen, and where it is gone
	Gone bool         // it was there, and is not any more
}

// Decide says what the end of the pod means. What is not known leaves everything in place: that
// can be mended, and what is torn down can't.
func Decide(f Facts) Verdict {
	switch {
	case f.Ending:
		return Verdict{Leave, true, fmt.Sprintf("the namespace of DaemonSet %s is being deleted", f.Name)}
	case f.Deleted, f.DaemonSet != nil && f.DaemonSet.DeletionTimestamp != nil:
		return Verdict{Leave, true, fmt.Sprintf("DaemonSet %s is deleted", f.Name)}
	case f.Gone, f.Node != nil && f.Node.DeletionTimestamp != nil:
		return Verdict{Leave, false, "this node's Node object is deleted"}
	case f.DaemonSet == nil:
		return Verdict{Outcome: Restart, Why: fmt.Sprintf("DaemonSet %s has never been seen, so that nothing says that this end is for good", f.Name)}
	case f.Node == nil:
		return Verdict{Outcome: Restart, Why: "this node's Node object has never been seen, so that nothing says that this end is for good"}
	}
	if why := unwanted(&f.DaemonSet.Spec.Template.Spec, f.Node); why != "" {
		return Verdict{Leave, false, fmt.Sprintf("DaemonSet %s wants no pod on node %s any more: %s", f.Name, f.Node.Name, why)}
	}
	if unready(f.Node) {
		return Verdict{Outcome: Drain, Why: fmt.Sprintf("node %s is not ready: it shuts down, or is not well", f.Node.Name)}
	}
	return Verdict{Outcome: Restart, Why: fmt.Sprintf("DaemonSet %s still wants a pod on node %s", f.Name, f.Node.Name)}
}

// unwanted says why a DaemonSet's pod would not be made on a node, as its controller decides.
func unwanted(pod *corev1.PodSpec, node *corev1.Node) string {
	// A selector that can't be read chooses no node.
	fits, err := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity).Match(node)
	if err != nil {
		return "its node affinity can't be read: " + err.Error()
	}
	if !fits {
		return "its node selector or affinity does not choose it"
	}
	keepsAway := func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	taint, found := corev1helpers.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, tolerations(pod), keepsAway, true)
	if found {
		return fmt.Sprintf("it does not tolerate the taint %s", taint.ToString())
	}
	return ""
}

// tolerations are a DaemonSet's own, and those that its controller gives to each pod.
func tolerations(pod *corev1.PodSpec) []corev1.Toleration {
	out := append([]corev1.Toleration{}, pod.Tolerations...)
	add := func(key string, effect corev1.TaintEffect) {
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect})
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	for _, key := range []string{corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable} {
		add(key, corev1.TaintEffectNoSchedule)
	}
	if pod.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return out
}

// unready tells whether the kubelet says that it is not ready, as it does when it shuts its
// node down. That nobody has heard of it (Unknown) is another thing: it has just ended a pod.
func unready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionFalse
		}
	}
	return false
}

// Grace is how long a pod of the DaemonSet has from SIGTERM to SIGKILL; 0 where it is not known.
func (f Facts) Grace() time.Duration {
	if f.DaemonSet == nil {
		return 0
	}
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := f.DaemonSet.Spec.Template.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	return time.Duration(seconds) * time.Second
}
