package kube

import (
	"errors"
	"slices"
	"testing"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestPods changes the pods of a Service that is being used: no request may fail.
func TestPods(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	t.Run("rolling replacement", func(t *testing.T) { s.replace(load) })
	t.Run("scale", func(t *testing.T) { s.scale(load) })
	load.Check()
}

// replace replaces every pod, each by one that is ready before the old one is asked to go.
func (s *site) replace(load *load) {
	s.t.Helper()
	for i, old := range slices.Clone(s.pods) {
		fresh := s.addPod("web", i)
		s.drain(old)
		s.seen(load, fresh)
		s.finish(old)
	}
	s.more(load, 200)
}

// scale adds pods, takes readiness away and gives it back, and scales in again.
func (s *site) scale(load *load) {
	s.t.Helper()
	for i := range 4 {
		s.addPod("web", i)
	}
	s.seen(load, s.pods...)
	s.setReady(s.pods[0], false)
	s.setReady(s.pods[1], false)
	s.setReady(s.pods[0], true)
	leaving := slices.Clone(s.pods[:3])
	for _, p := range leaving {
		s.drain(p)
	}
	for _, p := range leaving {
		s.finish(p)
	}
	s.more(load, 200)
}

// seen waits until pods have answered.
func (s *site) seen(load *load, pods ...*pod) {
	s.t.Helper()
	for _, p := range pods {
		s.wait("requests at "+p.Name, func() error {
			if !load.Seen(p.Name) {
				return errors.New("none yet")
			}
			return nil
		})
	}
}
