package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// BenchmarkApply is the time from kubectl apply, its own included, to the first answered request,
// for Services one after the other on a site where nothing else happens.
//
//	go test -run '^$' -bench Apply -benchtime 20x ./test/kube
func BenchmarkApply(b *testing.B) {
	s := newSite(b, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	s.waitAnswer(s.served("web")...)
	var kubectl, allocated, answered []time.Duration
	n := 0
	for b.Loop() {
		n++
		name := fmt.Sprintf("bench%d", n)
		start := time.Now()
		s.apply(strings.Replace(webYAML(name), "app: "+name, "app: web", 1))
		kubectl = append(kubectl, time.Since(start))
		vips := s.waitAddresses(name, 2)
		allocated = append(allocated, time.Since(start))
		fixture.Wait(b, time.Minute, "an answer of "+name, func() error {
			conn, err := s.dial(vips[0], 80, 50*time.Millisecond)
			if err != nil {
				return err
			}
			defer conn.Close()
			return ping(conn)
		})
		answered = append(answered, time.Since(start))
		s.api.Kubectl(b, "", "delete", "service", name)
		s.waitRoutes(vips, 0)
	}
	for unit, list := range map[string][]time.Duration{"kubectl": kubectl, "allocated": allocated, "answered": answered} {
		slices.Sort(list)
		b.ReportMetric(float64(list[0].Milliseconds()), unit+"-min-ms")
		b.ReportMetric(float64(list[len(list)/2].Milliseconds()), unit+"-median-ms")
	}
	b.ReportMetric(0, "ns/op")
}
