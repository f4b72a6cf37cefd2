package kube

import (
	"errors"
	"testing"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestRollingReplacement replaces every pod of a Service, each by one that is ready before the
// old one is asked to go, and loses no request.
func TestRollingReplacement(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	for i, old := range append([]*pod(nil), s.pods...) {
		fresh := s.addPod("web", i)
		s.drain(old)
		s.wait("requests at "+fresh.Name, func() error {
			if !load.Seen(fresh.Name) {
				return errors.New("none yet")
			}
			return nil
		})
		s.finish(old)
	}
	s.more(load, 200)
	load.Check()
	for _, p := range s.pods {
		if !load.Seen(p.Name) {
			t.Errorf("no request to %s", p.Name)
		}
	}
}

// TestScale adds pods to a Service under load, takes readiness away and gives it back, and
// scales in again.
func TestScale(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 2)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	for i := range 4 {
		s.addPod("web", i)
	}
	for _, p := range s.pods {
		s.wait("requests at "+p.Name, func() error {
			if !load.Seen(p.Name) {
				return errors.New("none yet")
			}
			return nil
		})
	}
	s.setReady(s.pods[0], false)
	s.setReady(s.pods[1], false)
	s.setReady(s.pods[0], true)
	for _, p := range append([]*pod(nil), s.pods[:3]...) {
		s.drain(p)
	}
	for _, p := range append([]*pod(nil), s.pods[:3]...) {
		s.finish(p)
	}
	load.Check()
}
