package dirwatch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a Watcher and gives the channel on which it calls.
func start(t *testing.T, opts Options, dirs ...string) <-chan struct{} {
	t.Helper()
	calls := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	w := New(dirs, opts, func() {
		select {
		case calls <- struct{}{}:
		case <-ctx.Done():
		}
	}, slog.New(slog.DiscardHandler))
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return calls
}

func expect(t *testing.T, calls <-chan struct{}, after string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(10 * time.Second):
		t.Fatalf("no call after %s", after)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

var quick = Options{Quiet: 5 * time.Millisecond, Retry: 5 * time.Millisecond, Poll: time.Hour}

func TestCallsOncePerBurst(t *testing.T) {
	dir := t.TempDir()
	opts := quick
	opts.Quiet = 300 * time.Millisecond
	calls := start(t, opts, dir)
	expect(t, calls, "the start")
	for i := range 50 {
		touch(t, filepath.Join(dir, string(rune('a'+i%5))))
	}
	expect(t, calls, "a burst")
	select {
	case <-calls:
		t.Error("a second call for one burst")
	case <-time.After(2 * opts.Quiet):
	}
}

// A file that never rests is reported all the same.
func TestCallsWithinTheLimit(t *testing.T) {
	dir := t.TempDir()
	calls := start(t, Options{Quiet: time.Hour, Limit: 20 * time.Millisecond, Poll: time.Hour}, dir)
	expect(t, calls, "the start")
	touch(t, filepath.Join(dir, "a"))
	expect(t, calls, "the limit")
}

func TestSeveralDirectories(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	calls := start(t, quick, a, b+"/")
	expect(t, calls, "the start")
	touch(t, filepath.Join(a, "x"))
	expect(t, calls, "a file in the first")
	touch(t, filepath.Join(b, "x"))
	expect(t, calls, "a file in the second")
}

func TestDirectoryComesAndGoes(t *testing.T) {
	for _, suffix := range []string{"", "/"} {
		dir := filepath.Join(t.TempDir(), "dir")
		calls := start(t, quick, dir+suffix)
		expect(t, calls, "the start without a directory")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		settle(t, calls, func() { touch(t, filepath.Join(dir, "a")) })
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		expect(t, calls, "the removal")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		settle(t, calls, func() { touch(t, filepath.Join(dir, "b")) })
	}
}

// settle makes changes until one of them is seen by a watch: calls of attempts
// to watch come without any change, and end when the watch is there.
func settle(t *testing.T, calls <-chan struct{}, change func()) {
	t.Helper()
	idle := 100 * time.Millisecond
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		select {
		case <-calls:
		case <-time.After(idle):
			change()
			expect(t, calls, "a change in a directory that is watched")
			return
		}
	}
	t.Fatal("calls without end")
}

// A symbolic link to another directory gives no event: the poll finds it.
func TestReplacedDirectory(t *testing.T) {
	base := t.TempDir()
	link := filepath.Join(base, "link")
	point := func(to string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(base, to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	point("1")
	w := New([]string{link}, quick, func() {}, slog.New(slog.DiscardHandler))
	held, err := os.Stat(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.replaced([]os.FileInfo{held}); err != nil {
		t.Errorf("the same directory: %v", err)
	}
	point("2")
	if err := w.replaced([]os.FileInfo{held}); err == nil {
		t.Error("another directory is taken for the same")
	}
}

func TestOverflowIsAChange(t *testing.T) {
	called := make(chan struct{}, 1)
	w := New([]string{t.TempDir()}, quick, func() { called <- struct{}{} }, slog.New(slog.DiscardHandler))
	events := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error, 1)}
	events.Errors <- fsnotify.ErrEventOverflow
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.follow(ctx, events, nil) }()
	expect(t, called, "an overflow")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
