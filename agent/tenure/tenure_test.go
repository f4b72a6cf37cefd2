package tenure

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func facts() Facts {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "penstock-system", Name: "penstock-lb"}}
	pod := &set.Spec.Template.Spec
	pod.HostNetwork = true
	pod.NodeSelector = map[string]string{"role": "lb"}
	pod.Tolerations = []corev1.Toleration{{Key: "penstock.dev/lb", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "lb1", Labels: map[string]string{"role": "lb"}}}
	node.Spec.Taints = []corev1.Taint{{Key: "penstock.dev/lb", Effect: corev1.TaintEffectNoSchedule}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return Facts{Name: "penstock-system/penstock-lb", DaemonSet: set, Node: node}
}

func TestDecide(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) func(*Facts) {
		return func(f *Facts) {
			f.Node.Spec.Taints = append(f.Node.Spec.Taints, corev1.Taint{Key: key, Effect: effect})
		}
	}
	condition := func(status corev1.ConditionStatus) func(*Facts) {
		return func(f *Facts) { f.Node.Status.Conditions[0].Status = status }
	}
	affinity := func(operator corev1.NodeSelectorOperator) func(*Facts) {
		return func(f *Facts) {
			f.DaemonSet.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "role", Operator: operator, Values: []string{"lb"}}},
				}}}}}
		}
	}
	now := metav1.Now()
	for name, tt := range map[string]struct {
		change func(*Facts)
		want   Outcome
		whole  bool
		says   string
	}{
		"wanted":                      {func(*Facts) {}, Restart, false, "still wants"},
		"cordoned":                    {taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), Restart, false, "still wants"},
		"not reachable for a while":   {taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute), Restart, false, "still wants"},
		"without a network":           {taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), Restart, false, "still wants"},
		"a taint that keeps nothing":  {taint("gpu", corev1.TaintEffectPreferNoSchedule), Restart, false, "still wants"},
		"a taint for new pods":        {taint("gpu", corev1.TaintEffectNoSchedule), Leave, false, "taint gpu:NoSchedule"},
		"a taint for all pods":        {taint(corev1.TaintNodeOutOfService, corev1.TaintEffectNoExecute), Leave, false, "out-of-service"},
		"relabelled":                  {func(f *Facts) { f.Node.Labels = nil }, Leave, false, "node selector"},
		"affinity that chooses it":    {affinity(corev1.NodeSelectorOpIn), Restart, false, "still wants"},
		"affinity that does not":      {affinity(corev1.NodeSelectorOpNotIn), Leave, false, "affinity"},
		"affinity that says nothing":  {affinity("Near"), Leave, false, "can't be read"},
		"DaemonSet deleted":           {func(f *Facts) { f.DaemonSet, f.Deleted = nil, true }, Leave, true, "DaemonSet penstock-system/penstock-lb is deleted"},
		"DaemonSet about to be":       {func(f *Facts) { f.DaemonSet.DeletionTimestamp = &now }, Leave, true, "is deleted"},
		"namespace about to be":       {func(f *Facts) { f.Ending = true }, Leave, true, "namespace"},
		"Node deleted":                {func(f *Facts) { f.Node, f.Gone = nil, true }, Leave, false, "Node object is deleted"},
		"Node about to be":            {func(f *Facts) { f.Node.DeletionTimestamp = &now }, Leave, false, "Node object is deleted"},
		"the node shuts down":         {condition(corev1.ConditionFalse), Drain, false, "shuts down"},
		"nobody hears of the kubelet": {condition(corev1.ConditionUnknown), Restart, false, "still wants"},
		"relabelled, and not ready":   {func(f *Facts) { f.Node.Labels = nil; condition(corev1.ConditionFalse)(f) }, Leave, false, "node selector"},
		"DaemonSet never seen":        {func(f *Facts) { f.DaemonSet = nil }, Restart, false, "never been seen"},
		"Node never seen":             {func(f *Facts) { f.Node = nil }, Restart, false, "never been seen"},
		"nothing seen":                {func(f *Facts) { *f = Facts{Name: f.Name} }, Restart, false, "never been seen"},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts()
			tt.change(&f)
			got := Decide(f)
			if got.Outcome != tt.want || got.Whole != tt.whole || !strings.Contains(got.Why, tt.says) {
				t.Errorf("%+v, want %s, whole %t, with %q", got, tt.want, tt.whole, tt.says)
			}
		})
	}
}

func TestGrace(t *testing.T) {
	f := facts()
	if got := f.Grace(); got != 30*time.Second {
		t.Errorf("by default %s", got)
	}
	f.DaemonSet.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(90))
	if got := f.Grace(); got != 90*time.Second {
		t.Errorf("%s, want 90 s", got)
	}
	if got := (Facts{}).Grace(); got != 0 {
		t.Errorf("of a DaemonSet that is not known %s", got)
	}
}
