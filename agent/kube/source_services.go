package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// OnService has fn called with each Service that concerns us, by namespace/name, that
// appears, changes or is gone, and with those of a Namespace that does. It is for before
// Run. fn must not block, and may be called from several goroutines.
func (s *Source) OnService(fn func(service string)) { s.watchers = append(s.watchers, fn) }

// Service gives a Service that concerns us, trimmed, and its Namespace; nil where they are
// not known.
func (s *Source) Service(name string) (*corev1.Service, *corev1.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ix.records[name]
	if r == nil || r.service == nil {
		return nil, nil
	}
	return r.service, s.ix.namespaces[r.service.Namespace]
}

// Namespace gives a Namespace; nil where it is not known.
func (s *Source) Namespace(name string) *corev1.Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ix.namespaces[name]
}

// EachService calls f with each Service that concerns us. f may call s.
func (s *Source) EachService(f func(*corev1.Service)) {
	s.mu.Lock()
	var all []*corev1.Service
	for _, name := range s.ix.services() {
		all = append(all, s.ix.records[name].service)
	}
	s.mu.Unlock()
	for _, svc := range all {
		f(svc)
	}
}

// WaitSynced waits until all has been read once; false if ctx ends before.
func (s *Source) WaitSynced(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.ready:
		return true
	}
}
