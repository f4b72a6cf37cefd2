package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestDockerfile compares what the Dockerfile says of its image with what the image of hack/image has. Files
// need no comparison: both are what `hack/image -rootfs` writes.
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	got := v1.Config{Labels: map[string]string{}}
	var copies []string
	for _, in := range lastStage(text) {
		var err error
		switch verb, rest, _ := strings.Cut(in, " "); verb {
		case "FROM":
			if rest != "scratch" {
				t.Errorf("the image is built on %s, want scratch", rest)
			}
		case "COPY":
			copies = append(copies, rest)
		case "ARG":
		case "USER":
			got.User = rest
		case "WORKDIR":
			got.WorkingDir = rest
		case "ENV":
			got.Env = append(got.Env, rest)
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &got.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &got.Cmd)
		case "LABEL":
			err = label(got.Labels, rest)
		default:
			t.Errorf("instruction that this test does not know: %s", in)
		}
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	want := *config.DeepCopy()
	want.Labels["org.opencontainers.image.version"] = "$VERSION"
	want.Labels["org.opencontainers.image.revision"] = "$REVISION"
	delete(want.Labels, "org.opencontainers.image.created") // an engine writes its own time
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deploy/Dockerfile (-image +Dockerfile):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"--from=build /rootfs/ /"}, copies); diff != "" {
		t.Errorf("what is copied (-want +got):\n%s", diff)
	}
}

// TestRootfs runs what the Dockerfile runs, and wants the image's files.
func TestRootfs(t *testing.T) {
	dir := t.TempDir()
	if _, err := build("../..", nil, "-platforms", "linux/amd64", "-rootfs", dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, rootfs(t, "linux/amd64")), tree(t, dir)); diff != "" {
		t.Errorf("-image +rootfs:\n%s", diff)
	}
}

// lastStage returns a Dockerfile's instructions from its last FROM on.
func lastStage(text string) []string {
	var stage []string
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "FROM "):
			stage = []string{line}
		default:
			stage = append(stage, line)
		}
	}
	return stage
}

func label(labels map[string]string, s string) error {
	key, quoted, _ := strings.Cut(s, "=")
	value, err := strconv.Unquote(quoted)
	labels[key] = value
	return err
}

// tree describes each file below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		files[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%s %x", info.Mode(), sum(t, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
