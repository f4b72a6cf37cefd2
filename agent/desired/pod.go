package desired

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// times are what a pod tells of an endpoint. Zero: it does not.
type times struct {
	born     time.Time // the earliest time at which it can have had flows
	eligible time.Time // since when it has been ready without a break
	lost     time.Time // since when it has not been
}

// byName is for podOf.
func byName(pods []*corev1.Pod) map[string]*corev1.Pod {
	out := make(map[string]*corev1.Pod, len(pods))
	for _, p := range pods {
		out[p.Namespace+"/"+p.Name] = p
	}
	return out
}

// podOf finds the pod behind an endpoint of a slice; nil where it is not known.
// One of that name that has another UID or other addresses is an earlier or a
// later one, whose times would be wrong.
func podOf(ep discoveryv1.Endpoint, slice *discoveryv1.EndpointSlice, pods map[string]*corev1.Pod) *corev1.Pod {
	ref := ep.TargetRef
	if ref == nil || ref.Kind != "Pod" || len(ep.Addresses) == 0 {
		return nil
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = slice.Namespace
	}
	p := pods[namespace+"/"+ref.Name]
	if p == nil || ref.UID != "" && p.UID != "" && ref.UID != p.UID {
		return nil
	}
	has := func(ip corev1.PodIP) bool {
		a, err := netip.ParseAddr(ip.IP)
		b, err2 := netip.ParseAddr(ep.Addresses[0])
		return err == nil && err2 == nil && a == b
	}
	if len(p.Status.PodIPs) > 0 && !slices.ContainsFunc(p.Status.PodIPs, has) {
		return nil
	}
	return p
}

// nodeOf names the node of an endpoint; empty where it is not known. The pod knows best:
// it never moves, and what a slice says somebody else may have written.
func nodeOf(ep discoveryv1.Endpoint, p *corev1.Pod) string {
	switch {
	case p != nil && p.Spec.NodeName != "":
		return p.Spec.NodeName
	case ep.NodeName != nil:
		return *ep.NodeName
	}
	return ""
}

// timesOf reads p, which may be nil. publishNotReady says that its endpoint takes
// flows from the start.
func timesOf(p *corev1.Pod, publishNotReady bool) (t times) {
	if p == nil {
		return t
	}
	started := started(p)
	switch {
	case !started.IsZero():
		t.born = started
	case p.Status.StartTime != nil:
		t.born = p.Status.StartTime.Time
	default:
		t.born = p.CreationTimestamp.Time
	}
	if publishNotReady {
		t.eligible = started
		return t
	}
	if p.DeletionTimestamp != nil {
		t.lost = p.DeletionTimestamp.Time
		if grace := p.DeletionGracePeriodSeconds; grace != nil {
			t.lost = t.lost.Add(-time.Duration(*grace) * time.Second)
		}
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type != corev1.PodReady:
		case c.Status == corev1.ConditionTrue:
			t.eligible = c.LastTransitionTime.Time
		default:
			t.lost = earliest(t.lost, c.LastTransitionTime.Time)
		}
	}
	return t
}

// started is when the oldest of p's running containers did: flows of those before
// it died with them. Init containers that still run are sidecars.
func started(p *corev1.Pod) (t time.Time) {
	for _, all := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range all {
			if c.State.Running != nil {
				t = earliest(t, c.State.Running.StartedAt.Time)
			}
		}
	}
	return t
}

// earliest leaves out what is zero.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// latest of a and b; zero is before all.
func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
