package manifests

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/agent/dirwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func service(name, version string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", annotations: {version: \"" + version + "\"}}\n"
}

// run starts a Source whose directory is polled rarely, so that what the tests
// see comes from events.
func run(t *testing.T, dir string) *Source {
	t.Helper()
	s := New(dir, slog.New(slog.DiscardHandler))
	s.times = dirwatch.Options{Quiet: 5 * time.Millisecond, Retry: 10 * time.Millisecond, Poll: time.Hour}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// await waits until the snapshot shows want, looking after each change.
func await(t *testing.T, s *Source, want string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		snapshot, _ := s.Snapshot()
		if show(snapshot) == want {
			return
		}
		select {
		case <-s.Changed():
		case <-timeout:
			t.Fatalf("the snapshot shows\n%s\nand not\n%s", show(snapshot), want)
		}
	}
}

func TestRunFollowsFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), service("web", "1"))
	s := run(t, dir)
	await(t, s, "Service default/web 1\n")

	write(t, filepath.Join(dir, "a.yaml"), service("web", "2"))
	await(t, s, "Service default/web 2\n")

	write(t, filepath.Join(dir, ".a.yaml.swp"), service("web", "3"))
	if err := os.Rename(filepath.Join(dir, ".a.yaml.swp"), filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	await(t, s, "Service default/web 3\n")

	write(t, filepath.Join(dir, "b.yaml"), service("other", "1"))
	await(t, s, "Service default/web 3\nService default/other 1\n")

	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	await(t, s, "Service default/other 1\n")
}

func TestMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	missing := "! " + dir + ": no such file or directory; create a directory that the agent can read. Until then nothing changes\n"
	s := run(t, dir)
	await(t, s, missing)
	if _, synced := s.Snapshot(); synced {
		t.Error("synced without a directory")
	}

	lay(t, dir, nil)
	write(t, filepath.Join(dir, "a.yaml"), service("web", "1"))
	await(t, s, "Service default/web 1\n")
	if _, synced := s.Snapshot(); !synced {
		t.Error("not synced")
	}

	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	await(t, s, "Service default/web 1\n"+missing)

	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	await(t, s, "")
}

func TestUnreadableFileKeepsItsObjects(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, filepath.Join(dir, "target"), service("web", "1"))
	if err := os.Symlink("target", path); err != nil {
		t.Fatal(err)
	}
	s := New(dir, slog.New(slog.DiscardHandler))
	step := func(target, want string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		s.scan()
		if snapshot, _ := s.Snapshot(); show(snapshot) != want {
			t.Errorf("got\n%s\nwant\n%s", show(snapshot), want)
		}
	}
	step("target", "Service default/web 1\n")
	step("nowhere", "Service default/web 1\n! a.yaml: no such file or directory; correct or remove the file. Until then the last good version stays in force\n")
	step("/dev/zero", "Service default/web 1\n! a.yaml: not a regular file; correct or remove the file. Until then the last good version stays in force\n")
	step("target", "Service default/web 1\n")
}

func TestChangedOnlyOnChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	s := New(dir, slog.New(slog.DiscardHandler))
	changed := func() bool {
		s.scan()
		select {
		case <-s.Changed():
			return true
		default:
			return false
		}
	}
	if !changed() {
		t.Error("the first scan, of an empty directory, is no change")
	}
	write(t, path, service("web", "1"))
	if !changed() || changed() {
		t.Error("a new file is not one change")
	}
	write(t, path, service("web", "1"))
	if changed() {
		t.Error("the same content is a change")
	}
	write(t, path, "{")
	if !changed() || changed() {
		t.Error("a problem is not one change")
	}
}

// Problems are logged when they come and when they go, not at every scan.
func TestProblemsAreLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	s := New(dir, slog.New(slog.NewTextHandler(&out, nil)))
	write(t, filepath.Join(dir, "a.yaml"), "{")
	s.scan()
	s.scan()
	write(t, filepath.Join(dir, "b.yaml"), service("other", "1"))
	s.scan()
	write(t, filepath.Join(dir, "a.yaml"), service("web", "1"))
	s.scan()
	if got := strings.Count(out.String(), "level=WARN"); got != 1 {
		t.Errorf("%d warnings:\n%s", got, out.String())
	}
	if got := strings.Count(out.String(), "level=INFO"); got != 1 {
		t.Errorf("%d all-clears:\n%s", got, out.String())
	}
}
