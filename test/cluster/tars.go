package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

// References of the images. None is ever pulled.
const (
	pauseImage   = "penstock-test/pause:test"
	echoImage    = "penstock-test/echo:test"
	traefikImage = "penstock-test/traefik:test"

	// Tags of Penstock's image: of this tree, and of a version whose tables are laid out in another way.
	thisTag, nextTag = "test", "next"
)

const module = "github.com/penstock-lb/penstock"

// images builds what the cluster's containers run, and gives the tar files.
func images(tb testing.TB) []string {
	tb.Helper()
	dir := fixture.Scratch(tb, "images")
	helper, penstock, next := filepath.Join(dir, "helper"), filepath.Join(dir, "penstock"), filepath.Join(dir, "next")
	build(tb, helper, module+"/test/cluster/helper")
	build(tb, penstock, module+"/cmd/penstock")
	build(tb, next, module+"/cmd/penstock", "-overlay="+otherTables(tb, dir))
	return append(tars(tb, dir,
		image{ref: "docker.io/" + pauseImage, files: map[string]string{"/helper": helper}, entrypoint: []string{"/helper", "pause"}},
		image{ref: "docker.io/" + echoImage, files: map[string]string{"/helper": helper}, entrypoint: []string{"/helper", "echo"}},
	), penstockTar(tb, penstock, thisTag), penstockTar(tb, next, nextTag))
}

// binaryOf is Penstock's binary of this tree, beside the images that are made of it.
func binaryOf(tars []string) string {
	i := slices.IndexFunc(tars, func(t string) bool { return filepath.Base(t) == "penstock.tar" })
	return strings.TrimSuffix(tars[i], ".tar")
}

// penstockTar is the image that is shipped, for this machine alone and with a binary of the test's.
func penstockTar(tb testing.TB, binary, tag string) string {
	tb.Helper()
	out := binary + ".tar"
	cmd := exec.Command("go", "run", module+"/hack/image", "-version", tag, "-platforms", "linux/"+runtime.GOARCH, "-binary", binary, "-o", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("image %s: %v\n%s", tag, err, text)
	}
	return out
}

// otherTables is an overlay for go build with which the tables of either role have another schema. Flows
// have the same one.
func otherTables(tb testing.TB, dir string) string {
	tb.Helper()
	source, err := filepath.Abs("../../bpf/schema.go")
	if err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(source)
	if err != nil {
		tb.Fatal(err)
	}
	const made = "h := sha256.New()\n"
	text := strings.Replace(string(b), made, made+`if g.name == "tables" || g.name == "node-tables" { h.Write([]byte("next")) }`+"\n", 1)
	if text == string(b) {
		tb.Fatalf("%s has no %q", source, made)
	}
	file, overlay := filepath.Join(dir, "schema.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(overlay, encode(map[string]any{"Replace": map[string]string{source: file}}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return overlay
}

// traefikTar is the image of the L7 tier.
func traefikTar(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("../../hack/traefik.sh").Output()
	if err != nil {
		tb.Fatalf("build Traefik: hack/traefik.sh: %v", err)
	}
	binary := filepath.Join(strings.TrimSpace(string(out)), "traefik")
	return tars(tb, fixture.Scratch(tb, "images"), image{
		ref: "docker.io/" + traefikImage, files: map[string]string{"/traefik": binary}, entrypoint: []string{"/traefik"},
	})[0]
}

// tars writes images into a directory.
func tars(tb testing.TB, dir string, list ...image) (files []string) {
	tb.Helper()
	for _, i := range list {
		tar := filepath.Join(dir, strings.ReplaceAll(filepath.Base(i.ref), ":", "-")+".tar")
		if err := i.write(tar); err != nil {
			tb.Fatalf("image %s: %v", i.ref, err)
		}
		files = append(files, tar)
	}
	return files
}

func build(tb testing.TB, out, pkg string, flags ...string) {
	tb.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w"}, flags...), "-o", out, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
}
