package desired

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// TestSlimPod checks that what is read of a pod is the same of a slim one, which is
// a slim one of its own.
func TestSlimPod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) metav1.Time {
			return metav1.NewTime(time.Unix(rapid.Int64Range(1, 9).Draw(t, label), 0))
		}
		containers := func(label string) (out []corev1.ContainerStatus) {
			for range rapid.IntRange(0, 3).Draw(t, label) {
				var c corev1.ContainerStatus
				switch rapid.IntRange(0, 2).Draw(t, "state") {
				case 0:
					c = running(at("started").Time)
				case 1:
					c.State.Terminated = &corev1.ContainerStateTerminated{Message: "gone", StartedAt: at("started")}
				}
				out = append(out, c)
			}
			return out
		}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "u", CreationTimestamp: at("created"),
			Annotations: map[string]string{WeightAnnotation: "7", "other": "x"}}}
		p.Spec.NodeName = "node1"
		p.Spec.Containers = []corev1.Container{{Name: "c"}}
		p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses = containers("init"), containers("containers")
		if rapid.Bool().Draw(t, "start") {
			start := at("start")
			p.Status.StartTime = &start
		}
		for _, typ := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady} {
			status := rapid.SampledFrom([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}).Draw(t, "status")
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: typ, Status: status, LastTransitionTime: at("transition")})
		}
		if rapid.Bool().Draw(t, "deleted") {
			deleted, grace := at("deletion"), int64(2)
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &deleted, &grace
		}
		slim := SlimPod(p)
		for _, publish := range []bool{false, true} {
			if got, want := timesOf(slim, publish), timesOf(p, publish); got != want {
				t.Errorf("of a slim pod: %+v; of the whole one: %+v", got, want)
			}
		}
		if got, _ := weightOf(slim); got != 7 || slim.Spec.NodeName != "node1" || slim.UID != "u" || len(slim.Status.PodIPs) != 2 {
			t.Errorf("a slim pod lacks something: %+v", slim)
		}
		if diff := cmp.Diff(slim, SlimPod(slim)); diff != "" {
			t.Errorf("a slim pod can lose more (-once +twice):\n%s", diff)
		}
	})
}
