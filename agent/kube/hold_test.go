package kube

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bench is an index with a clock.
type bench struct {
	*index
	asked []string // pods that are to be read
}

func newBench(role string, hold time.Duration) *bench {
	b := &bench{}
	var pods *podTable
	if role == roleLB {
		pods = newPodTable(func(key string) { b.asked = append(b.asked, key) })
	}
	b.index = newIndex(role, hold, pods)
	b.now = time.Unix(1000, 0)
	return b
}

func (b *bench) after(d time.Duration) {
	b.now = b.now.Add(d)
	b.expire()
}

// endpoints gives the endpoints of a Service as a node would use them, by slice.
func (b *bench) endpoints(service string) (out []string) {
	for _, s := range b.bundle(service).Slices {
		for _, ep := range s.Endpoints {
			out = append(out, s.Name+":"+ep.Addresses[0])
		}
	}
	return out
}

func (b *bench) expect(t *testing.T, when, want string) {
	t.Helper()
	if got := fmt.Sprint(b.endpoints("a/web")); got != want {
		t.Errorf("%s: endpoints %s, want %s", when, got, want)
	}
}

// without gives a slice as its writer next has it: without some addresses.
func without(s *discoveryv1.EndpointSlice, addrs ...string) *discoveryv1.EndpointSlice {
	out := s.DeepCopy()
	out.Endpoints = nil
	for _, ep := range s.Endpoints {
		keep := true
		for _, a := range addrs {
			keep = keep && ep.Addresses[0] != a
		}
		if keep {
			out.Endpoints = append(out.Endpoints, ep)
		}
	}
	return out
}

func TestHold(t *testing.T) {
	for _, addrs := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}} {
		first, second := addrs[0], addrs[1]
		one, two := sliceOf("a", "web", "one", first, second), sliceOf("a", "web", "two", first)
		start := func(role string) *bench {
			b := newBench(role, 2*time.Second)
			if role == roleLB {
				b.putService(serviceOf("a", "web"))
			}
			b.putSlice(one)
			clear(b.dirty)
			return b
		}
		both := fmt.Sprintf("[one:%s one:%s]", first, second)
		held := fmt.Sprintf("[one:%s ~000-one:%s]", second, first)

		t.Run("moved/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.putSlice(without(one, first))
			b.expect(t, "between two writes", held)
			b.after(time.Second)
			b.expect(t, "still between them", held)
			b.putSlice(two)
			b.expect(t, "moved", fmt.Sprintf("[one:%s two:%s]", second, first))
			if len(b.holding) != 0 {
				t.Error("a hold goes on")
			}
		})
		t.Run("moved the other way round/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.putSlice(two)
			b.putSlice(without(one, first))
			b.expect(t, "moved", fmt.Sprintf("[one:%s two:%s]", second, first))
		})
		t.Run("the whole slice is replaced/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.removeSlice("a/one")
			b.expect(t, "between", fmt.Sprintf("[~000-one:%s ~000-one:%s]", first, second))
			b.putSlice(two)
			b.expect(t, "one is back", fmt.Sprintf("[two:%s ~000-one:%s]", first, second))
		})
		t.Run("over/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.putSlice(without(one, first))
			b.after(1999 * time.Millisecond)
			clear(b.dirty)
			b.expect(t, "at the end", held)
			b.after(time.Millisecond)
			b.expect(t, "over", fmt.Sprintf("[one:%s]", second))
			if !b.dirty["a/web"] {
				t.Error("the end of a hold is no change")
			}
		})
		t.Run("several at several times/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.putSlice(without(one, first))
			b.after(time.Second)
			b.putSlice(without(one, first, second))
			b.expect(t, "both are held", fmt.Sprintf("[~000-one:%s ~001-one:%s]", first, second))
			b.after(time.Second)
			b.expect(t, "the first is over", fmt.Sprintf("[~000-one:%s]", second))
			if next := b.expire(); !next.Equal(time.Unix(1003, 0)) {
				t.Errorf("next hold ends at %v", next)
			}
			b.after(time.Second)
			b.expect(t, "both are over", "[]")
		})
		t.Run("conditions/"+first, func(t *testing.T) {
			for name, c := range map[string]discoveryv1.EndpointConditions{
				"not ready":             {Ready: new(false), Serving: new(false)},
				"terminating":           {Ready: new(false), Serving: new(true), Terminating: new(true)},
				"ready and terminating": {Ready: new(true), Serving: new(true), Terminating: new(true)},
			} {
				b := start(roleLB)
				s := one.DeepCopy()
				s.Endpoints[0].Conditions = c
				b.putSlice(s)
				b.putSlice(without(s, first))
				b.expect(t, name, fmt.Sprintf("[one:%s]", second))
			}
			b := start(roleLB)
			s := one.DeepCopy()
			s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{}
			b.putSlice(s)
			b.putSlice(without(s, first))
			b.expect(t, "nothing is said", held)
		})
		t.Run("the Service ends/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.putSlice(without(one, first))
			b.removeService("a/web")
			b.expect(t, "deleted", fmt.Sprintf("[one:%s]", second))
			b.removeSlice("a/one")
			b.expect(t, "without a Service", "[]")
			if len(b.records)+len(b.holding)+len(b.owners) != 0 {
				t.Errorf("left: %v %v %v", b.records, b.holding, b.owners)
			}
			b = start(roleLB)
			svc := serviceOf("a", "web")
			svc.DeletionTimestamp = &metav1.Time{Time: b.now}
			b.putService(svc)
			b.putSlice(without(one, first))
			b.expect(t, "being deleted", fmt.Sprintf("[one:%s]", second))
		})
		t.Run("backend/"+first, func(t *testing.T) {
			b := start(roleBackend)
			b.expect(t, "listed", both)
			b.putSlice(without(one, first))
			b.expect(t, "vanished", held)
			b.after(2 * time.Second)
			b.expect(t, "over", fmt.Sprintf("[one:%s]", second))
			b.removeSlice("a/one")
			b.after(2 * time.Second)
			if len(b.records)+len(b.holding)+len(b.owners) != 0 {
				t.Errorf("left: %v %v %v", b.records, b.holding, b.owners)
			}
		})
		t.Run("off/"+first, func(t *testing.T) {
			b := start(roleLB)
			b.hold = Options{Hold: -1}.holdTime()
			b.putSlice(without(one, first))
			b.expect(t, "vanished", fmt.Sprintf("[one:%s]", second))
		})
	}
}

// TestHoldAsksThePod checks that an endpoint that vanished stays no longer than its pod.
func TestHoldAsksThePod(t *testing.T) {
	ready := func(uid string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "1"}}
		p.UID = "1"
		if uid != "" {
			p.UID = "2"
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return p
	}
	unready := ready("")
	unready.Status.Conditions[0].Status = corev1.ConditionFalse
	deleted := ready("")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for _, c := range []struct {
		what    string
		pod     *corev1.Pod
		publish bool
		stays   bool
	}{
		{"is ready", ready(""), false, true},
		{"is gone", nil, false, false},
		{"is another", ready("2"), false, false},
		{"is being deleted", deleted, false, false},
		{"is not ready", unready, false, false},
		{"is not ready, which does not count", unready, true, true},
	} {
		b := newBench(roleLB, 2*time.Second)
		svc := serviceOf("a", "web")
		svc.Spec.PublishNotReadyAddresses = c.publish
		b.putService(svc)
		s := sliceOf("a", "web", "one", "10.0.0.1")
		s.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "p", UID: "1"}
		b.putSlice(s)
		b.podRead("a/p", ready(""))
		b.asked = nil
		b.removeSlice("a/one")
		if fmt.Sprint(b.asked) != "[a/p]" {
			t.Errorf("pods asked for after one vanished: %v", b.asked)
		}
		b.expect(t, "before the pod is known, which "+c.what, "[~000-one:10.0.0.1]")
		b.podRead("a/p", c.pod)
		want := "[]"
		if c.stays {
			want = "[~000-one:10.0.0.1]"
		}
		b.expect(t, "the pod "+c.what, want)
		b.after(2 * time.Second)
		b.expect(t, "over", "[]")
		if len(b.pods.entries)+len(b.pods.objects) != 0 {
			t.Errorf("pods are not forgotten: %v", b.pods.entries)
		}
	}
}
