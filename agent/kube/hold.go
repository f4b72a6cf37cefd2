package kube

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// held is an endpoint that vanished from all slices of its Service while it was ready.
//
// Whoever writes slices may move an endpoint from one to another, in two writes of which
// the one that removes it may come first. For that moment it is in none. Its flows must
// not notice, so it stays for a while as it was last seen. One that had stopped being
// ready or was terminating has gone the way that endpoints go, and goes at once.
type held struct {
	slice    *discoveryv1.EndpointSlice // that had it last
	endpoint discoveryv1.Endpoint
	pod      string // namespace/name; empty if it is no pod's
	until    time.Time
}

// fit reports whether an endpoint was ready when it was last seen, with the defaults of
// the API.
func fit(ep discoveryv1.Endpoint) bool {
	c := ep.Conditions
	return len(ep.Addresses) > 0 && (c.Ready == nil || *c.Ready) && (c.Terminating == nil || !*c.Terminating)
}

// lists reports whether s has an endpoint of the family and address of ep.
func lists(s *discoveryv1.EndpointSlice, family discoveryv1.AddressType, ep discoveryv1.Endpoint) bool {
	return s.AddressType == family && slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
		return len(e.Addresses) > 0 && len(ep.Addresses) > 0 && e.Addresses[0] == ep.Addresses[0]
	})
}

// vanished gives the endpoints of before that were ready, and that no slice of now lists.
func vanished(before *discoveryv1.EndpointSlice, now []*discoveryv1.EndpointSlice) (out []discoveryv1.Endpoint) {
	listed := map[string]bool{}
	for _, s := range now {
		for _, ep := range s.Endpoints {
			if s.AddressType == before.AddressType && len(ep.Addresses) > 0 {
				listed[ep.Addresses[0]] = true
			}
		}
	}
	for _, ep := range before.Endpoints {
		if fit(ep) && !listed[ep.Addresses[0]] {
			out = append(out, ep)
		}
	}
	return out
}

// gone reports whether a pod says that its endpoint, which is held, has not just moved.
func gone(p *corev1.Pod, ep discoveryv1.Endpoint, svc *corev1.Service) bool {
	if p == nil || p.DeletionTimestamp != nil || ep.TargetRef != nil && ep.TargetRef.UID != "" && ep.TargetRef.UID != p.UID {
		return true
	}
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	return !ready && (svc == nil || !svc.Spec.PublishNotReadyAddresses)
}

// holds reports whether endpoints of r are held: in the role lb, those of Services that
// live; in the role backend nothing is known of Services.
func (ix *index) holds(r *record) bool {
	return ix.hold > 0 && (ix.role == roleBackend || r.service != nil && r.service.DeletionTimestamp == nil)
}

// keep holds what vanished with the change of a slice, and asks about their pods.
func (ix *index) keep(name string, r *record, before *discoveryv1.EndpointSlice) {
	for _, ep := range vanished(before, r.slices) {
		h := held{slice: before, endpoint: ep, pod: podKey(before, ep), until: ix.now.Add(ix.hold)}
		twin := func(o held) bool {
			return o.slice.AddressType == before.AddressType && o.endpoint.Addresses[0] == ep.Addresses[0]
		}
		if slices.ContainsFunc(r.held, twin) {
			continue
		}
		r.held = append(r.held, h)
		ix.holding[name] = true
		ix.pods.hold(name, h.pod)
	}
}

// letGo ends the hold of endpoints that drop accepts.
func (ix *index) letGo(name string, r *record, drop func(held) bool) {
	left := r.held[:0:0]
	for _, h := range r.held {
		if drop(h) {
			ix.pods.release(name, h.pod)
			ix.dirty[name] = true
			continue
		}
		left = append(left, h)
	}
	r.held = left
	if len(left) == 0 {
		delete(ix.holding, name)
	}
}

// expire ends the holds whose time has come, and gives the time of the next one; zero if
// there is none.
func (ix *index) expire() (next time.Time) {
	for name := range ix.holding {
		r := ix.records[name]
		ix.letGo(name, r, func(h held) bool { return !h.until.After(ix.now) })
		for _, h := range r.held {
			if next.IsZero() || h.until.Before(next) {
				next = h.until
			}
		}
		ix.tidy(name)
	}
	return next
}

// all gives the slices of r, and behind them what is held in slices of its own. Their
// names, which begin with a tilde, can't be real ones.
func (r *record) all() []*discoveryv1.EndpointSlice {
	out := slices.Clone(r.slices)
	var from []*discoveryv1.EndpointSlice // that out[len(r.slices):] were made for
	for _, h := range r.held {
		i := slices.Index(from, h.slice)
		if i < 0 {
			i = len(from)
			from = append(from, h.slice)
			meta := h.slice.ObjectMeta
			meta.Name = fmt.Sprintf("~%03d-%s", i, meta.Name)
			out = append(out, &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: h.slice.AddressType, Ports: h.slice.Ports})
		}
		s := out[len(r.slices)+i]
		s.Endpoints = append(s.Endpoints, h.endpoint)
	}
	return out
}
