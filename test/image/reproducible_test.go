package image

import (
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReproducible builds again in another folder, without the repository, in another time zone, with
// choices for Go in the environment, and wants the same bytes.
func TestReproducible(t *testing.T) {
	dir := t.TempDir()
	copySource(t, "../..", dir)
	env := []string{"TZ=Asia/Tokyo", "GOAMD64=v3", "GOFLAGS=-tags=other", "CGO_ENABLED=1"}
	out := filepath.Join(t.TempDir(), "again.tar")
	if _, err := build(dir, env, "-o", out); err != nil {
		t.Fatal(err)
	}
	if sum(t, out) == sum(t, built(t)) {
		return
	}
	t.Error("the archives differ")
	again, first := images(t, out), images(t, built(t))
	for _, p := range platforms {
		b, err := again[p].Manifest()
		a, errFirst := first[p].Manifest()
		if err := errors.Join(err, errFirst); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s, manifest (-first +again):\n%s", p, diff)
		}
	}
}

func copySource(t *testing.T, from, to string) {
	t.Helper()
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
