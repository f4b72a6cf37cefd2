package dirwatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options are the times of a Watcher. The zero value of each stands for its
// default.
type Options struct {
	Quiet time.Duration // without events before a call; 200 ms
	Limit time.Duration // from the first event to the call at most; 2 s
	Poll  time.Duration // between calls without any event; 30 s
	Retry time.Duration // between attempts to watch a missing directory; 1 s
}

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		d   *time.Duration
		def time.Duration
	}{
		{&o.Quiet, 200 * time.Millisecond},
		{&o.Limit, 2 * time.Second},
		{&o.Poll, 30 * time.Second},
		{&o.Retry, time.Second},
	} {
		if *f.d == 0 {
			*f.d = f.def
		}
	}
	return o
}

// Watcher calls a function when its directories may have changed.
type Watcher struct {
	dirs   []string
	opts   Options
	notify func()
	log    *slog.Logger
}

// New makes a Watcher of dirs. Run calls notify, never twice at once.
func New(dirs []string, opts Options, notify func(), log *slog.Logger) *Watcher {
	w := &Watcher{opts: opts.withDefaults(), notify: notify, log: log}
	for _, d := range dirs {
		w.dirs = append(w.dirs, filepath.Clean(d))
	}
	return w
}

// Run calls notify once the directories are watched, so that no change after
// that call is missed, and after each burst of changes, until ctx ends. While a
// directory cannot be watched it calls notify at each attempt.
func (w *Watcher) Run(ctx context.Context) error {
	last := ""
	for {
		watched, err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if watched {
			last = ""
		}
		if err.Error() != last {
			w.log.Warn("directory is not watched", "error", err, "retry", w.opts.Retry)
			last = err.Error()
		}
		w.notify()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.opts.Retry):
		}
	}
}

// session watches until a watch is lost or ctx ends, and reports whether it
// ever began.
func (w *Watcher) session(ctx context.Context) (watched bool, err error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return false, fmt.Errorf("watch directories: %w (fs.inotify.max_user_instances may be too low)", err)
	}
	defer func() { _ = events.Close() }()
	held := make([]fs.FileInfo, len(w.dirs))
	for i, d := range w.dirs {
		if held[i], err = os.Stat(d); err != nil {
			return false, err
		}
		if err := events.Add(d); err != nil {
			return false, fmt.Errorf("watch %s: %w (fs.inotify.max_user_watches may be too low)", d, err)
		}
	}
	w.notify()
	return true, w.follow(ctx, events, held)
}

func (w *Watcher) follow(ctx context.Context, events *fsnotify.Watcher, held []fs.FileInfo) error {
	poll := time.NewTicker(w.opts.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time // of the burst; zero: none
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, ok := <-events.Events:
			if !ok {
				return errors.New("the watch was closed")
			}
			if gone := w.isDir(ev.Name) && ev.Op&(fsnotify.Remove|fsnotify.Rename) != 0; gone {
				return fmt.Errorf("directory %s was removed", ev.Name)
			}
			first = w.extend(quiet, first)
		case err, ok := <-events.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch: %w", err)
			}
			first = w.extend(quiet, first)
		case <-quiet.C:
			first = time.Time{}
			w.notify()
		case <-poll.C:
			if err := w.replaced(held); err != nil {
				return err
			}
			w.notify()
		}
	}
}

// extend puts the call off for another quiet time, within the limit of a burst.
func (w *Watcher) extend(quiet *time.Timer, first time.Time) time.Time {
	now := time.Now()
	if first.IsZero() {
		first = now
	}
	quiet.Reset(max(0, min(w.opts.Quiet, first.Add(w.opts.Limit).Sub(now))))
	return first
}

func (w *Watcher) isDir(name string) bool {
	for _, d := range w.dirs {
		if d == filepath.Clean(name) {
			return true
		}
	}
	return false
}

// replaced finds a directory whose path has come to mean another one, by a
// mount or a symbolic link.
func (w *Watcher) replaced(held []fs.FileInfo) error {
	for i, d := range w.dirs {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if !os.SameFile(info, held[i]) {
			return fmt.Errorf("directory %s was replaced", d)
		}
	}
	return nil
}
