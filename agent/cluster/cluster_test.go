package cluster

import (
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/kube"
)

func TestStanding(t *testing.T) {
	up, away := kube.Link{Connected: true}, kube.Link{}
	for _, tt := range []struct {
		name         string
		self         bool
		leader       string
		pooled       bool
		link         kube.Link
		want, errors string
	}{
		{"it leads", true, "lb1", true, up, "lb1", ""},
		{"another leads", false, "lb2", true, up, "lb2", ""},
		{"nobody leads yet", false, "", true, up, "", ""},
		{"it led and gave up", false, "lb1", true, up, "", ""},
		{"it led, and its pools are gone", false, "lb1", false, up, "", "no pool is configured here"},
		{"another leads, without pools here", false, "lb2", false, up, "lb2", "no pool is configured here"},
		{"it led before the server went", false, "lb1", true, away, "", "knows of no leader"},
		{"another led before the server went", false, "lb2", true, away, "", "lb2 led when it did"},
	} {
		s := standing(tt.self, tt.leader, "lb1", tt.pooled, tt.link)
		if s.Self != tt.self || s.Leader != tt.want || (s.Error == "") != (tt.errors == "") || !strings.Contains(s.Error, tt.errors) {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}
