package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

const (
	version   = "v9.8.7-6-gabcdef"
	reference = "docker.io/penstock-lb/penstock:" + version
	revision  = "0123456789abcdef0123456789abcdef01234567"
	created   = "1750000000"

	binaryPath   = "usr/local/bin/penstock"
	rootsPath    = "etc/ssl/certs/ca-certificates.crt"
	sbomPath     = "usr/share/sbom/penstock.cdx.json"
	licencesPath = "usr/share/licenses/penstock/"
)

// patience is for what takes a moment on a busy machine.
const patience = time.Minute

var platforms = []string{"linux/amd64", "linux/arm64"}

// shared is where what all tests use lives until the last has ended.
var shared string

func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "penstock-image-test-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

// archive is the path of the image of both platforms, built once.
var archive = sync.OnceValues(func() (string, error) {
	out := filepath.Join(shared, "penstock.tar")
	_, err := build("../..", nil, "-o", out)
	return out, err
})

// tool is hack/image, compiled once.
var tool = sync.OnceValues(func() (string, error) {
	out := filepath.Join(shared, "image")
	cmd := exec.Command("go", "build", "-o", out, "../../hack/image")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile hack/image: %w\n%s", err, said)
	}
	return out, nil
})

// build runs hack/image in a source tree and returns what it prints.
func build(dir string, env []string, args ...string) (string, error) {
	name, err := tool()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(name, append([]string{"-version", version}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "SOURCE_DATE_EPOCH="+created, "SOURCE_REVISION="+revision)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the image: %w\n%s", err, out)
	}
	return string(out), err
}

func built(t *testing.T) string {
	t.Helper()
	path, err := archive()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// index reads the one index of the archive, and returns its annotations in the layout too.
func index(t *testing.T, archive string) (v1.ImageIndex, map[string]string) {
	t.Helper()
	dir := t.TempDir()
	unpackFile(t, archive, dir)
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("index.json names %d manifests, want 1", len(m.Manifests))
	}
	inner, err := outer.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return inner, m.Manifests[0].Annotations
}

// images are those of the archive by platform.
func images(t *testing.T, archive string) map[string]v1.Image {
	t.Helper()
	idx, _ := index(t, archive)
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]v1.Image{}
	for _, d := range m.Manifests {
		img, err := idx.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		all[d.Platform.String()] = img
	}
	return all
}

// rootfs unpacks an image of the archive, all layers, into a directory.
func rootfs(t *testing.T, platform string) string {
	t.Helper()
	img := images(t, built(t))[platform]
	if img == nil {
		t.Fatalf("the archive has no image for %s", platform)
	}
	dir := t.TempDir()
	r := mutate.Extract(img)
	defer r.Close()
	unpack(t, r, dir)
	return dir
}

func unpackFile(t *testing.T, name, dir string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpack(t, f, dir)
}

// unpack writes a tar's files and folders. One of another owner or time than ours have fails the test.
func unpack(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d %q, time %s: want root and 1970", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o755)
		} else {
			err = writeFrom(name, tr, h.FileInfo().Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func writeFrom(name string, r io.Reader, mode os.FileMode) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, mode)
}
