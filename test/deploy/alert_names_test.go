package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/bpf"
)

// ofTargets are the labels that a target has in every site.
var ofTargets = []string{"job", "instance"}

var (
	quoted      = regexp.MustCompile(`"[^"]*"`)
	selector    = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher     = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping    = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	identifier  = regexp.MustCompile(`\b[a-zA-Z_]\w*\b\s*\(?`)
	operators   = []string{"and", "or", "unless"}
	labelOfText = regexp.MustCompile(`\$labels\.(\w+)`)
	// guarded is what texts may do with labels that not every site has.
	guarded = regexp.MustCompile(`\{\{ or \$labels\.node \$labels\.instance \}\}|\{\{ with \$labels\.pod \}\}kubectl -n \{\{ \$labels\.namespace \}\}`)
)

// metricsOf lists the metrics of an expression.
func metricsOf(expr string) (out []string) {
	expr = grouping.ReplaceAllString(selector.ReplaceAllString(quoted.ReplaceAllString(expr, `""`), "$1"), "")
	for _, name := range identifier.FindAllString(expr, -1) {
		name = strings.TrimSpace(name)
		if !strings.HasSuffix(name, "(") && !slices.Contains(operators, name) {
			out = append(out, name)
		}
	}
	return out
}

// TestAlertNames: what alerts ask for and speak of, the agent has: metrics, labels, and values.
func TestAlertNames(t *testing.T) {
	ours := described(t)
	ours["up"] = nil // Prometheus' own
	values := labelValues(t)
	for _, a := range alerts(t) {
		known := slices.Clone(ofTargets)
		for _, metric := range metricsOf(a.Expr) {
			labels, ok := ours[metric]
			if !ok {
				t.Errorf("%s: there is no metric %s", a.Alert, metric)
			}
			known = append(known, labels...)
		}
		for _, s := range selector.FindAllStringSubmatch(a.Expr, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if !slices.Contains(append(ours[s[1]], ofTargets...), m[1]) {
					t.Errorf("%s: %s has no label %s", a.Alert, s[1], m[1])
				}
				for v := range strings.SplitSeq(m[2], "|") {
					if all := values[s[1]+" "+m[1]]; all != nil && !slices.Contains(all, v) {
						t.Errorf("%s: %s is never %s", a.Alert, m[1], v)
					}
				}
			}
		}
		for _, g := range grouping.FindAllStringSubmatch(a.Expr, -1) {
			for l := range strings.SplitSeq(g[1], ",") {
				if l = strings.TrimSpace(l); l != "" && !slices.Contains(known, l) {
					t.Errorf("%s: none of its metrics has a label %s", a.Alert, l)
				}
			}
		}
		for _, l := range spokenOf(a) {
			if !slices.Contains(known, l) {
				t.Errorf("%s speaks of a label %s, which none of its metrics has", a.Alert, l)
			}
		}
	}
}

// TestAlertJobs: the job is known by whichever way agents are scraped.
func TestAlertJobs(t *testing.T) {
	pods := render(t, monitors["PodMonitor"])["PodMonitor/penstock"]
	service := render(t, monitors["ServiceMonitor"])["Service/penstock-metrics"]
	jobs := []string{
		"penstock", // of deploy/systemd/README.md
		at(pods, "metadata", "namespace").(string) + "/" + at(pods, "metadata", "name").(string),
		at(service, "metadata", "name").(string),
	}
	patterns := 0
	for _, a := range alerts(t) {
		for _, m := range matcher.FindAllStringSubmatch(a.Expr, -1) {
			if m[1] != "job" {
				continue
			}
			patterns++
			for _, job := range jobs {
				if !regexp.MustCompile("^(?:" + m[2] + ")$").MatchString(job) {
					t.Errorf("%s does not know the job %s", a.Alert, job)
				}
			}
		}
	}
	if patterns == 0 {
		t.Error("no alert asks for targets")
	}
}

// spokenOf lists the labels without which a text would have a hole.
func spokenOf(a alert) (out []string) {
	for _, text := range a.Annotations {
		for _, m := range labelOfText.FindAllStringSubmatch(guarded.ReplaceAllString(text, ""), -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// labelValues are all that there are, by metric and label.
func labelValues(t *testing.T) map[string][]string {
	t.Helper()
	values := map[string][]string{}
	verdicts, err := bpf.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		values["penstock_verdict_packets_total verdict"] = append(values["penstock_verdict_packets_total verdict"], v.Name)
	}
	for _, s := range drain.Stages {
		values["penstock_drain_stage stage"] = append(values["penstock_drain_stage stage"], string(s))
	}
	reason := regexp.MustCompile(`(?m)^\s+\w+\s+(?:desired\.)?Reason\s+= "(\w+)"`)
	for _, file := range []string{"desired/state.go", "api/services.go", "order.go", "lifecycle.go"} {
		source, err := os.ReadFile("../../agent/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reason.FindAllStringSubmatch(string(source), -1) {
			values["penstock_vip_announced reason"] = append(values["penstock_vip_announced reason"], m[1])
		}
	}
	return values
}

// TestAlertCases: each alert fires in a case of testdata/alerts, with the labels that its texts speak of,
// and each metric that it asks for is there in a healthy site, where it does not.
func TestAlertCases(t *testing.T) {
	healthy, err := os.ReadFile("testdata/alerts/healthy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fired := expected(t)
	for _, a := range alerts(t) {
		if fired[a.Alert] == nil {
			t.Errorf("%s fires in no case; write one into testdata/alerts", a.Alert)
		}
		for _, sample := range fired[a.Alert] {
			for _, l := range spokenOf(a) {
				if !strings.Contains(sample, ","+l+`="`) {
					t.Errorf("%s speaks of a label %s, and %s has none", a.Alert, l, sample)
				}
			}
		}
		for _, m := range metricsOf(a.Expr) {
			if !strings.Contains(string(healthy), "'"+m+"{") {
				t.Errorf("the healthy site has no %s, for which %s asks", m, a.Alert)
			}
		}
	}
}

// expected are the samples of ALERTS that cases expect, by the name of the alert.
func expected(t *testing.T) map[string][]string {
	t.Helper()
	name, out := regexp.MustCompile(`alertname="(\w+)"`), map[string][]string{}
	for _, path := range alertCases(t) {
		var file struct {
			Tests []struct {
				Exprs []struct {
					Samples []struct{ Labels string } `json:"exp_samples"`
				} `json:"promql_expr_test"`
			}
		}
		readYAML(t, path, &file)
		for _, c := range file.Tests {
			for _, e := range c.Exprs {
				for _, s := range e.Samples {
					if m := name.FindStringSubmatch(s.Labels); m != nil {
						out[m[1]] = append(out[m[1]], s.Labels)
					}
				}
			}
		}
	}
	return out
}
