package config

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/agent/dirwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched starts a Watcher of path that has loaded what is there.
func watched(t *testing.T, path string) *Watcher {
	t.Helper()
	cfg, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWatcher(path, nil, cfg, slog.New(slog.DiscardHandler))
	w.times = dirwatch.Options{Quiet: 5 * time.Millisecond, Poll: 50 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// await waits until cond holds, looking after each change.
func await(t *testing.T, w *Watcher, what string, cond func() bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-w.Changed():
		case <-timeout:
			t.Fatalf("%s did not come; error in force: %v", what, w.Err())
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWatcherKeepsTheLastGoodFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "penstock.yaml")
	write(t, path, "drainTimeout: 1s\n")
	w := watched(t, path)

	write(t, path+".new", "drainTimeout: 2s\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	await(t, w, "the renamed file", func() bool { return w.Config().DrainTimeout == 2*time.Second })

	for _, broken := range []string{"drainTimeout: 3\n", ""} {
		write(t, path, broken)
		await(t, w, "the error", func() bool { return w.Err() != nil })
		if got := w.Config().DrainTimeout; got != 2*time.Second {
			t.Errorf("drainTimeout = %s while the file is %q", got, broken)
		}
		write(t, path, "drainTimeout: 2s\n")
		await(t, w, "the end of the error", func() bool { return w.Err() == nil })
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await(t, w, "the error of the missing file", func() bool { return w.Err() != nil })
	write(t, path, "drainTimeout: 4s\n")
	await(t, w, "the file that is back", func() bool { return w.Err() == nil && w.Config().DrainTimeout == 4*time.Second })
}

// A ConfigMap volume changes all files at once by renaming the symbolic link
// ..data, through which the files are linked.
func TestWatcherFollowsConfigMap(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "penstock.yaml"), text)
		if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", "drainTimeout: 1s\n")
	path := filepath.Join(dir, "penstock.yaml")
	if err := os.Symlink("..data/penstock.yaml", path); err != nil {
		t.Fatal(err)
	}
	w := watched(t, path)
	publish("..2", "drainTimeout: 2s\n")
	await(t, w, "the second version", func() bool { return w.Config().DrainTimeout == 2*time.Second })
}

func TestWatcherFollowsPasswordFiles(t *testing.T) {
	path, password := filepath.Join(t.TempDir(), "penstock.yaml"), filepath.Join(t.TempDir(), "password")
	write(t, password, "old\n")
	write(t, path, "bgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513, passwordFile: "+password+"}]}")
	w := watched(t, path)
	write(t, password, "new\n")
	await(t, w, "the new password", func() bool { return w.Config().BGP.Peers[0].Password == "new" })
}
