package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// References of the images. None is ever pulled.
const (
	pauseImage    = "penstock-test/pause:test"
	echoImage     = "penstock-test/echo:test"
	traefikImage  = "penstock-test/traefik:test"
	penstockImage = "docker.io/penstock-lb/penstock:test"
)

const module = "github.com/penstock-lb/penstock"

// images builds what the cluster's containers run, and gives the tar files.
func images(tb testing.TB) []string {
	tb.Helper()
	dir := tb.TempDir()
	helper, penstock := filepath.Join(dir, "helper"), filepath.Join(dir, "penstock")
	build(tb, helper, module+"/test/cluster/helper")
	build(tb, penstock, module+"/cmd/penstock")
	return tars(tb, dir,
		image{ref: "docker.io/" + pauseImage, files: map[string]string{"/helper": helper}, entrypoint: []string{"/helper", "pause"}},
		image{ref: "docker.io/" + echoImage, files: map[string]string{"/helper": helper}, entrypoint: []string{"/helper", "echo"}},
		image{ref: penstockImage, files: map[string]string{
			"/usr/local/bin/penstock": penstock, "/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
		}, entrypoint: []string{"/usr/local/bin/penstock"}, cmd: []string{"agent"}},
	)
}

// traefikTar is the image of the L7 tier.
func traefikTar(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("../../hack/traefik.sh").Output()
	if err != nil {
		tb.Fatalf("build Traefik: hack/traefik.sh: %v", err)
	}
	binary := filepath.Join(strings.TrimSpace(string(out)), "traefik")
	return tars(tb, tb.TempDir(), image{
		ref: "docker.io/" + traefikImage, files: map[string]string{"/traefik": binary}, entrypoint: []string{"/traefik"},
	})[0]
}

// tars writes images into a directory.
func tars(tb testing.TB, dir string, list ...image) (files []string) {
	tb.Helper()
	for _, i := range list {
		name, _, _ := strings.Cut(filepath.Base(i.ref), ":")
		tar := filepath.Join(dir, name+".tar")
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
