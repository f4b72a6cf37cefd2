package desired_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/desired"
)

// Whoever edits what its Service says of a VIP that it shares keeps nobody busy with the others,
// unless it decides what routers are told: they may learn that they say something else.
func TestSharersThatDoNotDecideAreAlone(t *testing.T) {
	w := newSharing(20)
	says := func(med string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Annotations = map[string]string{desired.BGPMEDAnnotation: med} }
	}
	for _, c := range []struct {
		name       string
		service    int
		med        string
		want, told int // Services that are worked out anew, and that are told to differ
	}{
		{"one of them", 10, "7", 1, 1},
		{"the oldest", 0, "7", 20, 18},
		{"the oldest, as before", 0, "07", 1, 18},
		{"another", 11, "7", 1, 17},
		{"one in error", 12, "x", 1, 17},
		{"the oldest, otherwise", 0, "8", 20, 19},
	} {
		change := w.change(c.service, says(c.med))
		told := 0
		for _, r := range w.m.State().Reasons {
			if r.Reason == desired.OtherAdvertisement {
				told++
			}
		}
		if len(change.Services) != c.want || told != c.told || len(change.VIPs) != 1 {
			t.Errorf("%s: %d Services and VIPs %v are worked out anew, want %d; %d differ, want %d", c.name, len(change.Services), change.VIPs, c.want, told, c.told)
		}
	}
}

// Whoever may annotate a Service can write 256 KiB, which neither takes long nor is repeated.
func TestLongAnnotationsOfAdvertisements(t *testing.T) {
	for _, key := range []string{desired.BGPCommunitiesAnnotation, desired.BGPLocalPrefAnnotation, desired.BGPMEDAnnotation, desired.BGPPrependAnnotation, desired.BGPPeersAnnotation} {
		for _, text := range []string{strings.Repeat("9", 1<<18), strings.Repeat("1:1,", 1<<16), strings.Repeat("tor,", 1<<16)} {
			svc, all := offered()
			svc.Annotations[key] = text
			site := desired.Site{Node: "lb1", Allocated: true, Advertised: advertise.Policy{Peers: []string{"tor1", "tor2"}}}
			s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, site, now)
			told := 0
			for _, r := range s.Reasons {
				if r.Subject == key {
					told++
				}
				if len(r.Detail) > 500 {
					t.Errorf("%s %s…: %d bytes: %s…", key, text[:4], len(r.Detail), r.Detail[:500])
				}
			}
			if told != 1 || len(s.Services) == 0 {
				t.Errorf("%s %s…: told %d times, %d services", key, text[:4], told, len(s.Services))
			}
		}
	}
}

// Annotations that count are told apart from those that do not, which readers show beside each other.
func TestCountsOnServiceOfAdvertisements(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{desired.BGPCommunitiesAnnotation, "64512:1, no-export,1:2:3", true},
		{desired.BGPCommunitiesAnnotation, "", true},
		{desired.BGPCommunitiesAnnotation, "64512", false},
		{desired.BGPLocalPrefAnnotation, "4294967295", true},
		{desired.BGPLocalPrefAnnotation, "4294967296", false},
		{desired.BGPMEDAnnotation, "0", true},
		{desired.BGPMEDAnnotation, "-1", false},
		{desired.BGPPrependAnnotation, "32", true},
		{desired.BGPPrependAnnotation, "33", false},
		{desired.BGPPeersAnnotation, "tor1", true}, // in the light of the configuration
	} {
		if got := desired.CountsOnService(c.key, c.value); got != c.want {
			t.Errorf("%s %q: %v", c.key, c.value, got)
		}
	}
}
