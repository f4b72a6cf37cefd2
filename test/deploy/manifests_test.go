package deploy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/test/kubetest"
)

var update = flag.Bool("update", false, "write deploy/kubernetes from deploy/chart")

// base are the values that deploy/kubernetes is rendered with: what a site has to say is left to
// overlays, the seed first of all.
const base = `
seed: {existingSecret: penstock-seed}
namespace: {create: true}
uninstall: {hook: false}
`

const operator = "metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}}\n"

// files are what the chart's templates become, by the name of the template.
var files = map[string]string{
	"namespace.yaml": "../../deploy/kubernetes/namespace.yaml",
	"rbac.yaml":      "../../deploy/kubernetes/rbac.yaml",
	"admission.yaml": "../../deploy/kubernetes/admission.yaml",
	"config.yaml":    "../../deploy/kubernetes/config.yaml",
	"lb.yaml":        "../../deploy/kubernetes/lb.yaml",
	"backend.yaml":   "../../deploy/kubernetes/backend.yaml",
	"metrics.yaml":   "../../deploy/kubernetes/metrics.yaml",
	"monitors.yaml":  "../../deploy/overlays/prometheus-operator/monitors.yaml",
	"alerts.yaml":    "../../deploy/overlays/prometheus-operator/alerts.yaml",
}

// TestManifests holds deploy/kubernetes to the chart. With -update it writes it.
func TestManifests(t *testing.T) {
	out, err := Template(t, namespace, base+operator, "--skip-tests")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rendered := split(out)
	for name, path := range files {
		if rendered[name] == "" {
			t.Errorf("%s renders nothing", name)
			continue
		}
		want := notice + rendered[name]
		delete(rendered, name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what the chart renders; write it with `make manifests` (-want +got):\n%s", path, diff)
		}
	}
	for name := range rendered {
		t.Errorf("the chart renders %s, which has no place in deploy/kubernetes", name)
	}
}

const notice = "# Rendered from deploy/chart by `make manifests`.\n"

// ofHelm are lines that mean something to Helm, or to its upgrades alone.
var ofHelm = regexp.MustCompile(`(?m)^ +(helm\.sh/chart|app\.kubernetes\.io/(instance|managed-by)|penstock\.dev/restarts): .*\n`)

// split sorts the documents that Helm prints by the template that each is of.
func split(out string) map[string]string {
	files := map[string]string{}
	for doc := range strings.SplitSeq("\n"+out, "\n---\n") {
		first, text, _ := strings.Cut(strings.TrimLeft(doc, "\n"), "\n")
		source, ok := strings.CutPrefix(first, "# Source: penstock/templates/")
		if !ok {
			continue
		}
		text = ofHelm.ReplaceAllString(strings.Trim(text, "\n")+"\n", "")
		if files[source] != "" {
			text = "---\n" + text
		}
		files[source] += text
	}
	return files
}

// plain is what objects say to the cluster: without Helm's own labels, and with files of a
// ConfigMap by what they say.
func (o objects) plain(t *testing.T) objects {
	t.Helper()
	for _, object := range o {
		dropHelm(object)
		if object["kind"] == "Secret" { // made by a generator, which is told no labels
			delete(object["metadata"].(map[string]any), "labels")
		}
		if object["kind"] == "ConfigMap" {
			data := object["data"].(map[string]any)
			for name, text := range data {
				data[name] = parse(t, "kind: file\nmetadata: {name: file}\n"+text.(string))
			}
		}
	}
	return o
}

func dropHelm(o any) {
	switch o := o.(type) {
	case map[string]any:
		for key, value := range o {
			if ofHelm.MatchString(" " + key + ": \n") {
				delete(o, key)
			}
			dropHelm(value)
		}
	case []any:
		for _, value := range o {
			dropHelm(value)
		}
	}
}

// TestKustomize: an overlay and values that say the same make the same objects.
func TestKustomize(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kubernetes", "overlays"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("../../deploy", name))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"seed": "00112233445566778899aabbccddeeff", "tor1.password": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, "overlays/example", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string]string{
		"kubernetes": base, "overlays/prometheus-operator": base + operator, "overlays/example": strings.Replace(base, "seed: {existingSecret: penstock-seed}\n", "", 1) + string(example),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := render(t, values, "--skip-tests").plain(t)
			got := parse(t, kustomize(t, filepath.Join(dir, name))).plain(t)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("helm and kustomize differ (-helm +kustomize):\n%s", diff)
			}
		})
	}
	overlays, err := filepath.Glob(filepath.Join(dir, "overlays/*"))
	if err != nil || len(overlays) != 2 {
		t.Errorf("overlays %v: %v; each needs values that do the same", overlays, err)
	}
}

func kustomize(t *testing.T, dir string) string {
	t.Helper()
	bin, err := kubetest.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "kubectl"), "kustomize", dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize: %v: %s", err, stderr.String())
	}
	return string(out)
}
