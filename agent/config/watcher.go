package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spf13/pflag"

	"github.com/penstock-lb/penstock/agent/dirwatch"
)

// Watcher follows the configuration file and the files that it names.
type Watcher struct {
	path  string
	flags *pflag.FlagSet
	times dirwatch.Options
	log   *slog.Logger

	changed chan struct{}

	mu      sync.Mutex
	current *Config
	err     error
}

// NewWatcher makes a Watcher of a file that Load has read as current, with the
// same flags.
func NewWatcher(path string, flags *pflag.FlagSet, current *Config, log *slog.Logger) *Watcher {
	return &Watcher{path: path, flags: flags, current: current, log: log, changed: make(chan struct{}, 1)}
}

// Run follows the file until ctx ends. Files in directories that only a later
// version of it names are read again from time to time.
func (w *Watcher) Run(ctx context.Context) error {
	var dirs []string
	cfg := w.Config()
	files := []string{w.path, cfg.Datapath.SeedFile}
	for _, p := range cfg.BGP.Peers {
		files = append(files, p.PasswordFile)
	}
	for _, f := range files {
		if d := filepath.Dir(f); f != "" && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirwatch.New(dirs, w.times, w.reload, w.log).Run(ctx)
}

// Changed receives after Config or Err has changed.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Config gives the last good configuration. It must not be modified.
func (w *Watcher) Config() *Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Err says why the newest file is not in force; nil where it is.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watcher) reload() {
	next, err := w.load()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil && w.err != nil && err.Error() == w.err.Error():
		return
	case err != nil:
		w.log.Error("new configuration is not valid, the old one stays in force", "file", w.path, "error", err)
	case !Diff(w.current, next).Empty():
		w.current = next
	case w.err == nil:
		return
	}
	if err == nil && w.err != nil {
		w.log.Info("configuration is valid again", "file", w.path)
	}
	w.err = err
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// load refuses an empty file, which at the start stands for the defaults, but
// here is one that is being written.
func (w *Watcher) load() (*Config, error) {
	if info, err := os.Stat(w.path); err == nil && info.Size() == 0 {
		return nil, &Error{Source: w.path, Err: errors.New("the file is empty; write it again")}
	}
	return Load(w.path, w.flags)
}
