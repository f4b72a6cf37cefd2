package kube

import (
	"slices"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// podTable holds the pods that are behind endpoints of Services of ours, for as long as
// they are, and asks for those to be read that may have changed. A nil one has no pods and
// asks for none. It is guarded as the index is.
type podTable struct {
	ask     func(key string) // for it to be read, soon; must not block
	entries map[string]*podEntry
	objects map[string]*corev1.Pod // that were read, by namespace/name

	awaited [2]int      // pods without an answer: from before the first sync, from after it
	synced  atomic.Bool // the source is; of what was asked for before there may be very much
}

type podEntry struct {
	uses    []podUse
	sight   podSight // as slices had it when it was last asked for
	waiting waiting
}

// podUse counts endpoints of one Service.
type podUse struct {
	service string
	n       int
}

// podSight is what a slice says of a pod that a change of the pod would change.
type podSight struct {
	uid        types.UID
	conditions [3]int8
}

type waiting uint8

const (
	answered waiting = iota
	initial          // asked before the first sync
	urgent           // asked after it
)

func newPodTable(ask func(string)) *podTable {
	return &podTable{ask: ask, entries: map[string]*podEntry{}, objects: map[string]*corev1.Pod{}}
}

func nameOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func splitName(key string) (namespace, name string) {
	if before, after, found := strings.Cut(key, "/"); found {
		return before, after
	}
	return "", key
}

// podKey names the pod behind an endpoint; empty if there is none.
func podKey(s *discoveryv1.EndpointSlice, ep discoveryv1.Endpoint) string {
	ref := ep.TargetRef
	switch {
	case ref == nil || ref.Kind != "Pod" || ref.Name == "":
		return ""
	case ref.Namespace == "":
		return nameOf(s.Namespace, ref.Name)
	}
	return nameOf(ref.Namespace, ref.Name)
}

func sightOf(ep discoveryv1.Endpoint) (s podSight) {
	s.uid = ep.TargetRef.UID
	for i, c := range []*bool{ep.Conditions.Ready, ep.Conditions.Serving, ep.Conditions.Terminating} {
		if c != nil {
			s.conditions[i] = 1
			if *c {
				s.conditions[i] = 2
			}
		}
	}
	return s
}

// use notes that endpoints of a Service are of the slice's pods, and asks for those of
// which it says something new.
func (t *podTable) use(service string, s *discoveryv1.EndpointSlice) {
	for _, ep := range s.Endpoints {
		if key := podKey(s, ep); key != "" && t != nil {
			e, isNew := t.add(service, key)
			if sight := sightOf(ep); isNew || e.sight != sight {
				e.sight = sight
				t.want(key, e)
			}
		}
	}
}

// unuse ends a use.
func (t *podTable) unuse(service string, s *discoveryv1.EndpointSlice) {
	for _, ep := range s.Endpoints {
		t.release(service, podKey(s, ep))
	}
}

// hold is a use by an endpoint that no slice lists; the pod, which may be gone, is asked for.
func (t *podTable) hold(service, key string) {
	if key != "" && t != nil {
		e, _ := t.add(service, key)
		t.want(key, e)
	}
}

func (t *podTable) add(service, key string) (e *podEntry, isNew bool) {
	e = t.entries[key]
	if isNew = e == nil; isNew {
		e = &podEntry{}
		t.entries[key] = e
	}
	i := slices.IndexFunc(e.uses, func(u podUse) bool { return u.service == service })
	if i < 0 {
		i = len(e.uses)
		e.uses = append(e.uses, podUse{service: service})
	}
	e.uses[i].n++
	return e, isNew
}

// release ends one use, and with the last one what is known of the pod.
func (t *podTable) release(service, key string) {
	if key == "" || t == nil {
		return
	}
	e := t.entries[key]
	i := slices.IndexFunc(e.uses, func(u podUse) bool { return u.service == service })
	if e.uses[i].n--; e.uses[i].n == 0 {
		e.uses = slices.Delete(e.uses, i, i+1)
	}
	if len(e.uses) == 0 {
		t.answer(key)
		delete(t.entries, key)
		delete(t.objects, key)
	}
}

func (t *podTable) want(key string, e *podEntry) {
	if e.waiting == answered {
		e.waiting = initial
		if t.synced.Load() {
			e.waiting = urgent
		}
		t.awaited[e.waiting-initial]++
	}
	t.ask(key)
}

// answer notes that the read of a pod ended, however.
func (t *podTable) answer(key string) {
	if e := t.entries[key]; e != nil && e.waiting != answered {
		t.awaited[e.waiting-initial]--
		e.waiting = answered
	}
}

// put takes over a pod as it was read, slim, or that there is none. It gives the Services
// to which that is something new.
func (t *podTable) put(key string, p *corev1.Pod) []string {
	before := t.objects[key]
	switch {
	case t.entries[key] == nil || before == nil && p == nil:
		return nil
	case p == nil:
		delete(t.objects, key)
	case before != nil && apiequality.Semantic.DeepEqual(before, p):
		return nil
	default:
		t.objects[key] = p
	}
	return t.users(key)
}

// users gives the Services that have endpoints of a pod.
func (t *podTable) users(key string) (out []string) {
	if e := t.entries[key]; e != nil {
		for _, u := range e.uses {
			out = append(out, u.service)
		}
	}
	return out
}

// known gives the pods that were read. It must not be modified.
func (t *podTable) known() map[string]*corev1.Pod {
	if t == nil {
		return nil
	}
	return t.objects
}

// awaits counts the pods that were asked for and not answered yet: before the first
// sync, and since.
func (t *podTable) awaits() (initial, urgent int) {
	if t == nil {
		return 0, 0
	}
	return t.awaited[0], t.awaited[1]
}
