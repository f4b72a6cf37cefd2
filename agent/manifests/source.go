package manifests

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/dirwatch"
)

// Source follows a directory.
type Source struct {
	dir   string
	times dirwatch.Options
	log   *slog.Logger

	files map[string]*file // by name; of scan alone

	changed chan struct{}

	mu       sync.Mutex
	snapshot desired.Snapshot
	synced   bool
	taken    bool // by Delta
}

// New makes a Source of the files in dir, which need not exist yet.
func New(dir string, log *slog.Logger) *Source {
	return &Source{dir: dir, log: log, files: map[string]*file{}, changed: make(chan struct{}, 1)}
}

// Run follows the directory until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	return dirwatch.New([]string{s.dir}, s.times, s.scan, s.log).Run(ctx)
}

// Snapshot gives what the directory holds, and false until it has been read
// once. Objects are shared and must not be modified.
func (s *Source) Snapshot() (desired.Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot, s.synced
}

// Delta gives what the directory holds if that has changed since it was last called, and
// false until it has been read once.
func (s *Source) Delta() (desired.Delta, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced || s.taken {
		return desired.Delta{Problems: s.snapshot.Problems}, s.synced
	}
	s.taken = true
	return desired.Whole(s.snapshot), true
}

// Changed receives after Snapshot has changed.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// scan reads the directory and publishes what it finds.
func (s *Source) scan() {
	changed, problems := s.refresh()
	snapshot := merge(s.files)
	snapshot.Problems = append(problems, snapshot.Problems...)

	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.snapshot.Problems, s.synced
	s.synced = s.synced || len(problems) == 0
	if !changed && known == s.synced && slices.Equal(before, snapshot.Problems) {
		return
	}
	s.snapshot, s.taken = snapshot, false
	for _, p := range snapshot.Problems {
		if !slices.Contains(before, p) {
			s.log.Warn("manifest problem", "problem", p.String())
		}
	}
	for _, p := range before {
		if !slices.Contains(snapshot.Problems, p) {
			s.log.Info("manifest problem is gone", "problem", p.String())
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Read gives what dir holds now, without following it.
func Read(dir string, log *slog.Logger) (desired.Snapshot, error) {
	s := New(dir, log)
	s.scan()
	snapshot, synced := s.Snapshot()
	if !synced {
		return snapshot, fmt.Errorf("read manifests: %s", snapshot.Problems[0])
	}
	return snapshot, nil
}
