package desired

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SlimPod leaves out of a pod what nobody here asks for, which is nearly all of it. Of its
// containers there remains one, which runs for as long as the oldest that does. The result
// shares nothing with p that could be modified.
func SlimPod(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, CreationTimestamp: p.CreationTimestamp,
			DeletionTimestamp: p.DeletionTimestamp, DeletionGracePeriodSeconds: p.DeletionGracePeriodSeconds,
		},
		Spec:   corev1.PodSpec{NodeName: p.Spec.NodeName},
		Status: corev1.PodStatus{PodIPs: p.Status.PodIPs, StartTime: p.Status.StartTime},
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Status.Conditions = append(out.Status.Conditions, corev1.PodCondition{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime})
		}
	}
	if t := started(p); !t.IsZero() {
		out.Status.ContainerStatuses = []corev1.ContainerStatus{running(t)}
	}
	if weight, ok := p.Annotations[WeightAnnotation]; ok {
		out.Annotations = map[string]string{WeightAnnotation: weight}
	}
	return out
}

func running(since time.Time) (c corev1.ContainerStatus) {
	c.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}
	return c
}

// PodsOf finds the pods behind the endpoints of slices among all, which are by
// namespace/name. The result is sorted by that, and without duplicates.
func PodsOf(slices []*discoveryv1.EndpointSlice, all map[string]*corev1.Pod) []*corev1.Pod {
	return podsOf(slices, all)
}
