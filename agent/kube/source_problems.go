package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/penstock-lb/penstock/agent/desired"
)

// problemList gives the problems in a fixed order.
func (s *Source) problemList() (out []desired.Problem) {
	for _, name := range slices.Sorted(maps.Keys(s.problems)) {
		out = append(out, s.problems[name])
	}
	return out
}

// grace is how long a request must have failed to be a problem: an API server that has
// just started forbids everything for a moment.
const grace = 2 * time.Second

// note takes what came of a request. What an API server answers that is still the same
// after a while is a problem until the request has worked; that it does not answer is in
// Link.
func (s *Source) note(verb, resource, kind string, err error) {
	key := verb + " " + resource
	p, is := problemOf(verb, resource, kind, err)
	if err != nil && !is {
		return
	}
	s.mu.Lock()
	before, was := s.problems[key]
	since, failing := s.suspects[key]
	changed := was != is || before != p
	switch {
	case is && !failing:
		s.suspects[key], changed = s.now(), false
	case is && s.now().Sub(since) < grace:
		changed = false
	case is:
		s.problems[key] = p
	default:
		delete(s.suspects, key)
		delete(s.problems, key)
	}
	s.restless = s.restless || changed
	s.mu.Unlock()
	switch {
	case !changed:
		return
	case is:
		s.log.Warn("the cluster can't be read", "problem", p.String())
	default:
		s.log.Info("a problem of reading the cluster is gone", "verb", verb, "resource", resource)
	}
	s.kick()
}

func problemOf(verb, resource, kind string, err error) (p desired.Problem, is bool) {
	var status apierrors.APIStatus
	if err == nil || !errors.As(err, &status) {
		return p, false
	}
	p.Kind = kind
	says := ": " + status.Status().Message
	if verb == "get" { // it is about one of many
		says = ""
	}
	switch {
	case apierrors.IsForbidden(err):
		p.Message = fmt.Sprintf("the API server forbids to %s %s%s; give this agent's ServiceAccount the verb %s on %s, as deploy/kubernetes/rbac.yaml does", verb, resource, says, verb, resource)
	case apierrors.IsUnauthorized(err):
		p.Message = fmt.Sprintf("the API server does not accept this agent's credentials, to %s %s%s; see to its ServiceAccount's token, or to source.kubeconfig", verb, resource, says)
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err),
		apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err):
		return p, false
	default:
		p.Message = fmt.Sprintf("the API server does not %s %s%s; what was known of them stays in force", verb, resource, says)
	}
	return p, true
}

// wantsPod, takePod and failPod are what the pods' reader asks and tells.
func (s *Source) wantsPod(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ix.pods.entries[key] != nil
}

func (s *Source) takePod(_ context.Context, key string, p *corev1.Pod) {
	s.change(func(ix *index) {
		ix.podRead(key, p)
		ix.pods.answer(key)
	})
}

func (s *Source) failPod(key string, err error) {
	s.note("get", "pods", "Pod", err)
	if err != nil {
		s.change(func(ix *index) { ix.pods.answer(key) })
	}
}
