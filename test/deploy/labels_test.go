package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-lb/penstock/agent/metrics"
)

// monitors are values by which the Prometheus operator finds the agents, by the kind of the object.
var monitors = map[string]string{
	"ServiceMonitor": seeded + "metrics: {serviceMonitor: {enabled: true}}",
	"PodMonitor":     seeded + "metrics: {podMonitor: {enabled: true}}",
}

// TestTargetLabels: no metric has a label that its target has too. Prometheus would keep the target's
// under that name, and call ours exported_…, in one site and not in another.
func TestTargetLabels(t *testing.T) {
	ours := described(t)
	for kind := range monitors {
		t.Run(kind, func(t *testing.T) {
			targets := targetLabels(t, kind)
			for _, want := range []string{"node", "role", "instance"} {
				if !slices.Contains(targets, want) {
					t.Errorf("targets have no label %s, but %q", want, targets)
				}
			}
			for metric, labels := range ours {
				for _, l := range labels {
					if slices.Contains(targets, l) {
						t.Errorf("%s has a label %s, and so do targets; give it another name", metric, l)
					}
				}
			}
		})
	}
}

// targetLabels are those that a monitor's targets end up with: first the operator's, as it documents
// them, then what the monitor's relabelings add and drop.
func targetLabels(t *testing.T, kind string) []string {
	t.Helper()
	endpoints, labels := "podMetricsEndpoints", []string{"job", "instance", "namespace", "pod", "container", "endpoint"}
	if kind == "ServiceMonitor" {
		endpoints, labels = "endpoints", append(labels, "service")
	}
	relabelings, _ := at(render(t, monitors[kind])[kind+"/penstock"], "spec", endpoints, 0, "relabelings").([]any)
	for _, r := range relabelings {
		if name, ok := at(r, "targetLabel").(string); ok {
			labels = append(labels, name)
		}
		if at(r, "action") == "labeldrop" {
			drop := regexp.MustCompile("^(?:" + at(r, "regex").(string) + ")$")
			labels = slices.DeleteFunc(labels, drop.MatchString)
		}
	}
	return labels
}

var descriptor = regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([\w,]*)\}`)

// described are the labels of the agent's metrics, of either role, by name.
func described(t *testing.T) map[string][]string {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		metrics.New(nil).Describe(ch) // which asks no agent
	}()
	found := map[string][]string{}
	for d := range ch {
		m := descriptor.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("%s reads otherwise than it used to", d)
		}
		found[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
	}
	if !slices.Equal(found["penstock_vip_announced"], []string{"vip", "reason"}) {
		t.Fatalf("penstock_vip_announced has the labels %q", found["penstock_vip_announced"])
	}
	return found
}
