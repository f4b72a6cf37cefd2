package deploy

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/penstock-lb/penstock/agent/config"
)

// TestREADME: what deploy/README.md shows as YAML are values that work.
func TestREADME(t *testing.T) {
	b, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(b), "```yaml\n")[1:]
	if len(parts) < 3 {
		t.Fatalf("%d examples", len(parts))
	}
	for _, part := range parts {
		values, _, _ := strings.Cut(part, "```")
		if !strings.Contains(values, "existingSecret") {
			values += seeded
		}
		render(t, values)
	}
}

// TestDefaults: the chart takes every key with its default, as `penstock config default` prints it,
// but for those that it sets by itself.
func TestDefaults(t *testing.T) {
	var all map[string]any
	if err := yaml.Unmarshal([]byte(config.DefaultFile()), &all); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"role", "node", "lbNodes"} {
		delete(all, key)
	}
	for section, keys := range map[string][]string{
		"source":   {"kind", "directory", "kubeconfig", "namespace", "daemonSet"},
		"datapath": {"seed", "seedFile", "compile", "clang", "sources"},
	} {
		for _, key := range keys {
			delete(all[section].(map[string]any), key)
		}
	}
	b, err := yaml.Marshal(map[string]any{"config": all})
	if err != nil {
		t.Fatal(err)
	}
	o := render(t, string(b)+seeded)
	for _, role := range []string{"lb", "backend"} {
		load(t, o.file(role))
	}
}

// TestNotes: what Helm says after an installation names what is missing.
func TestNotes(t *testing.T) {
	notes := func(values string) string {
		t.Helper()
		out, err := Helm(t, seeded+values, "install", "penstock", Chart, "--dry-run=client", "--namespace", namespace, "--values", "-")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, text, ok := strings.Cut(out, "\nNOTES:\n")
		if !ok {
			t.Fatalf("no notes in\n%s", out)
		}
		return text
	}
	for _, c := range []struct{ name, values, with, without string }{
		{"least", "", "WARNING: config.bgp.peers is empty", ""},
		{"no pools", "", "WARNING: config.pools is empty", ""},
		{"next step", "", "kubectl label node NODE node-restriction.kubernetes.io/penstock=lb", ""},
		{"all there", strings.TrimPrefix(sites["routers and pools"], seeded), "helm test penstock", "WARNING"},
		{"unprotected", "admission: {enabled: false}", "WARNING: admission.enabled is false", ""},
	} {
		text := notes(c.values)
		if !strings.Contains(text, c.with) || c.without != "" && strings.Contains(text, c.without) {
			t.Errorf("%s:\n%s", c.name, text)
		}
	}
}
