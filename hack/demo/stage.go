package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// stage is the demo's fixture.TB: what is built on it is removed in reverse order. It is used by one
// goroutine.
type stage struct {
	ctx      context.Context
	say      *printer
	cleanups []func()
	failed   bool
	cleaning bool
}

var _ fixture.TB = (*stage)(nil)

var (
	errFailed      = errors.New("a step did not hold")
	errInterrupted = errors.New("interrupted")
)

// ended unwinds the stack to perform.
type ended struct{ err error }

func newStage(ctx context.Context, say *printer) *stage { return &stage{ctx: ctx, say: say} }

// perform runs f until its end, its first failure or ctx's end.
func (s *stage) perform(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case ended:
			err = r.err
		default:
			s.clean()
			panic(r)
		}
	}()
	f()
	if s.failed {
		return errFailed
	}
	return nil
}

// clean runs the cleanups. Signals are held back meanwhile by the context's notification.
func (s *stage) clean() {
	s.cleaning = true
	for len(s.cleanups) > 0 {
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		func() {
			defer func() {
				if r := recover(); r != nil {
					if _, ok := r.(ended); !ok {
						panic(r)
					}
				}
			}()
			last()
		}()
	}
}

// Helper is called at the entry of every fixture function, which makes it the place to notice Ctrl-C.
func (s *stage) Helper() {
	if s.ctx.Err() != nil && !s.cleaning {
		panic(ended{errInterrupted})
	}
}

func (s *stage) Logf(format string, args ...any) { s.say.detail(format, args...) }

func (s *stage) Errorf(format string, args ...any) {
	s.failed = true
	s.say.bad(format, args...)
}

func (s *stage) Fatalf(format string, args ...any) {
	if s.ctx.Err() != nil && !s.cleaning {
		panic(ended{errInterrupted})
	}
	s.Errorf(format, args...)
	panic(ended{errFailed})
}

func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *stage) Failed() bool     { return s.failed }
func (s *stage) Name() string     { return "demo" }

// Prefix makes names that people can type.
func (s *stage) Prefix() string { return prefix }

func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// wait is fixture.Wait that ends at Ctrl-C. It returns how long it took.
func (s *stage) wait(timeout time.Duration, what string, cond func() error) time.Duration {
	start := time.Now()
	fixture.Wait(s, timeout, what, func() error {
		s.Helper()
		return cond()
	})
	return time.Since(start)
}

// must ends the demo on an error.
func (s *stage) must(err error) {
	if err != nil {
		s.Fatalf("%v", err)
	}
}
