package rollout

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const system = "penstock-system"

func daemonSet(role string, want int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "penstock-" + role, Namespace: system, Generation: 2},
		Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"kubernetes.io/os": "linux", "a/penstock": role},
		}}},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: want, UpdatedNumberScheduled: want},
	}
}

func pod(role, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "penstock-" + role + "-" + node, Namespace: system,
			Labels: map[string]string{"app.kubernetes.io/name": "penstock", "app.kubernetes.io/component": role},
		},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func node(role, name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"penstock.dev/" + role: `{"ready":true}`}}}
}

// world is an installation in which all is well.
type world struct {
	lb, backend       *appsv1.DaemonSet
	lb1, in1, in2     *corev1.Pod
	nlb1, nin1, nin2  *corev1.Node
	withoutDaemonSets bool
}

func TestRead(t *testing.T) {
	unready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	for _, c := range []struct {
		name string
		do   func(*world)
		want []string
	}{
		{"well", func(*world) {}, nil},
		{"another namespace", func(w *world) { w.withoutDaemonSets = true },
			[]string{"there is no DaemonSet penstock-lb: is this the namespace of Penstock?"}},
		{"no LB node", func(w *world) { w.lb.Status.DesiredNumberScheduled = 0 },
			[]string{"no Node is an LB node: label some with a/penstock=lb"}},
		{"a Node without a pod", func(w *world) { w.backend.Status.DesiredNumberScheduled = 3 },
			[]string{"2 of the 3 Nodes that DaemonSet penstock-backend selects have a pod: see its Events"}},
		{"in an update", func(w *world) { w.backend.Status.UpdatedNumberScheduled = 1 },
			[]string{"1 of 2 pods of DaemonSet penstock-backend are of its newest version"}},
		{"just changed", func(w *world) { w.lb.Generation = 3 },
			[]string{"DaemonSet penstock-lb has changed, and its controller has not seen it yet"}},
		{"no session", func(w *world) { w.lb1.Status.Conditions = unready },
			[]string{"lb on Node lb1 is not ready: its probe fails: kubectl exec penstock-lb-lb1 -n penstock-system -- penstock status"}},
		{"failing", func(w *world) {
			w.lb1.Status.Conditions = unready
			w.lb1.Status.ContainerStatuses = []corev1.ContainerStatus{{
				State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "hello\npenstock: no bpffs\n"}},
			}}
		}, []string{"lb on Node lb1 is not ready: CrashLoopBackOff: it ended with 1: penstock: no bpffs"}},
		{"no image", func(w *world) {
			w.in1.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
			}}}
		}, []string{"backend on Node in1 is not ready: ErrImagePull"}},
		{"ending", func(w *world) { w.in1.DeletionTimestamp, w.in1.Finalizers = &metav1.Time{}, []string{"a/b"} },
			[]string{"backend on Node in1 is not ready: it is ending"}},
		{"not published", func(w *world) { w.nin2.Annotations = nil },
			[]string{"backend on Node in2 is not ready: it has not published itself on its Node, so that no other agent knows it"}},
		{"published as unready", func(w *world) { w.nin2.Annotations["penstock.dev/backend"] = `{"reason":"no uplink"}` },
			[]string{"backend on Node in2 is not ready: its Node says: no uplink"}},
		{"cordoned", func(w *world) { w.nlb1.Annotations["penstock.dev/lb"] = `{"reason":"it drains, by node"}` }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world{
				lb: daemonSet("lb", 1), backend: daemonSet("backend", 2),
				lb1: pod("lb", "lb1"), in1: pod("backend", "in1"), in2: pod("backend", "in2"),
				nlb1: node("lb", "lb1"), nin1: node("backend", "in1"), nin2: node("backend", "in2"),
			}
			c.do(&w)
			client := fake.NewClientset(w.lb1, w.in2, w.in1, w.nlb1, w.nin1, w.nin2)
			if !w.withoutDaemonSets {
				for _, set := range []*appsv1.DaemonSet{w.lb, w.backend} {
					if err := client.Tracker().Add(set); err != nil {
						t.Fatal(err)
					}
				}
			}
			r, err := Read(t.Context(), client, system)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, r.Problems); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
