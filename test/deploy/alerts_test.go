package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const rules = Chart + "/alerts.yaml"

// alert is one of the rules.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) (out []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	readYAML(t, rules, &file)
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatalf("%s has no alerts", rules)
	}
	return out
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// alertCases are the files that promtool plays.
func alertCases(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/alerts/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/alerts: %v", err)
	}
	return files
}

// promtool is Prometheus' own.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	bin, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: hack/setup.sh test installs it", err)
	}
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlerts has Prometheus read the alerts, and play what is in testdata/alerts.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", "--lint-fatal", rules)
	for _, file := range alertCases(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", file)
		})
	}
}

// TestPrometheusConfig: what deploy/systemd/README.md shows is a configuration by which the alerts are read.
func TestPrometheusConfig(t *testing.T) {
	text, err := os.ReadFile("../../deploy/systemd/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, config, _ := strings.Cut(string(text), "```yaml\nrule_files: [/etc/prometheus/penstock.yaml]\n")
	config, _, ok := strings.Cut(config, "```")
	path, err := filepath.Abs(rules)
	if err != nil || !ok {
		t.Fatalf("no configuration with rule_files: %v", err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte("rule_files: ["+path+"]\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", file)
	if !strings.Contains(config, "job_name: penstock ") {
		t.Error("its job is not one that the alerts know")
	}
}

// TestPrometheusRule: the operator is told what the file says, with Prometheus' templates as they are.
func TestPrometheusRule(t *testing.T) {
	var want map[string]any
	readYAML(t, rules, &want)
	got := render(t, seeded+operator)["PrometheusRule/penstock"]
	if diff := cmp.Diff(want, got["spec"]); diff != "" {
		t.Errorf("(-file +rendered):\n%s", diff)
	}
	labels := render(t, sites["all options"])["PrometheusRule/penstock"]
	if at(labels, "metadata", "labels", "release") != "prometheus" {
		t.Errorf("its labels are %v", at(labels, "metadata", "labels"))
	}
	if o := render(t, seeded)["PrometheusRule/penstock"]; o != nil {
		t.Error("it is there without being asked for")
	}
}

var alertName = regexp.MustCompile(`^Penstock([A-Z]+[a-z]+|[A-Z]{2,})+$`)

// TestAlertForm: each says how urgent it is, what it means and what to do, and waits before it does.
func TestAlertForm(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range alerts(t) {
		if !alertName.MatchString(a.Alert) || seen[a.Alert] {
			t.Errorf("%s is no name, or is there twice", a.Alert)
		}
		seen[a.Alert] = true
		if s := a.Labels["severity"]; len(a.Labels) != 1 || s != "critical" && s != "warning" {
			t.Errorf("%s has the labels %v, not severity critical or warning alone", a.Alert, a.Labels)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" || len(a.Annotations) != 2 {
			t.Errorf("%s has the annotations %v, not summary and description", a.Alert, a.Annotations)
		}
		if d := a.Annotations["description"]; !strings.Contains(d, "penstock ") && !strings.Contains(d, "kubectl ") {
			t.Errorf("%s says no command to go on with: %s", a.Alert, d)
		}
		// What looks back over an hour has waited.
		if a.For == "" || a.For == "0s" && !strings.Contains(a.Expr, "[1h]") {
			t.Errorf("%s alerts at once: give it a for", a.Alert)
		}
	}
}
