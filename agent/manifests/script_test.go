package manifests

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/penstock-lb/penstock/agent/desired"
)

var update = flag.Bool("update", false, "write what the tests see to testdata")

// show lists a snapshot: each object with what tells its versions apart.
func show(s desired.Snapshot) string {
	var b strings.Builder
	for _, o := range s.Services {
		fmt.Fprintf(&b, "Service %s/%s %s\n", o.Namespace, o.Name, o.Annotations["version"])
	}
	for _, o := range s.Slices {
		fmt.Fprintf(&b, "EndpointSlice %s/%s %d endpoints\n", o.Namespace, o.Name, len(o.Endpoints))
	}
	for _, o := range s.Pods {
		fmt.Fprintf(&b, "Pod %s/%s on %q %v %d conditions\n", o.Namespace, o.Name, o.Spec.NodeName, o.Annotations, len(o.Status.Conditions))
	}
	for _, o := range s.Nodes {
		fmt.Fprintf(&b, "Node %s\n", o.Name)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %s\n", p)
	}
	return b.String()
}

// lay makes dir hold exactly the files of one step.
func lay(t *testing.T, dir string, files []txtar.File) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		write(t, filepath.Join(dir, f.Name), string(f.Data))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A script holds the directory at each step, as 1/web.yaml, and after the files
// of a step what the source then gives, as 1.want.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			archive, err := txtar.ParseFile(script)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "manifests")
			s := New(dir, slog.New(slog.DiscardHandler))
			var step []txtar.File
			for i, f := range archive.Files {
				if name, want := strings.CutSuffix(f.Name, ".want"); !want {
					_, f.Name, _ = strings.Cut(f.Name, "/")
					step = append(step, f)
					continue
				} else if t.Logf("step %s", name); true {
					lay(t, dir, step)
					step = nil
				}
				s.scan()
				snapshot, synced := s.Snapshot()
				got := show(snapshot)
				if !synced {
					t.Error("not synced")
				}
				if diff := cmp.Diff(string(f.Data), got); diff != "" && !*update {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
				archive.Files[i].Data = []byte(got)
			}
			if *update {
				if err := os.WriteFile(script, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
