package bfd_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/test/fixture"
)

// Remote is a server's process, since a socket that is reopened must be made in the namespace too: see
// [fixture.Self].
type Remote struct {
	server *bfd.Server
	stop   context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	changes []bfd.Change
}

// Nothing is net/rpc's.
type Nothing = fixture.Nothing

// Start makes and runs the server.
func (r *Remote) Start(_ Nothing, _ *Nothing) error {
	r.server = bfd.New(slog.New(slog.NewTextHandler(os.Stderr, nil)), func(c bfd.Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes = append(r.changes, c)
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.server.Run(ctx) }()
	return nil
}

func (r *Remote) Sync(want []bfd.Session, _ *Nothing) error {
	return r.server.Sync(context.Background(), want)
}

func (r *Remote) States(_ Nothing, states *[]bfd.SessionState) error {
	*states = append([]bfd.SessionState{}, r.server.States()...)
	return nil
}

func (r *Remote) Dropped(_ Nothing, dropped *map[bfd.Reason]uint64) error {
	*dropped = r.server.Dropped()
	return nil
}

func (r *Remote) Changes(_ Nothing, changes *[]bfd.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	*changes = append([]bfd.Change{}, r.changes...)
	return nil
}

func (r *Remote) Stop(mode bfd.StopMode, _ *Nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.server.Stop(ctx, mode)
}

// End ends Run and reports goroutines that are left.
func (r *Remote) End(_ Nothing, _ *Nothing) error {
	r.stop()
	if err := <-r.ended; err != nil {
		return fmt.Errorf("Run: %w", err)
	}
	return goleak.Find(fixture.SelfGoroutines()...)
}

// process is the test's side.
type process struct {
	t    *testing.T
	proc *fixture.Self
}

// startProcess starts a server without sessions in the namespace, by way of a command such as setpriv
// if one is given.
func startProcess(t *testing.T, n *fixture.Netns, by ...string) *process {
	t.Helper()
	p := &process{t: t, proc: fixture.StartSelf(t, n, by...)}
	p.call("Start", Nothing(0))
	return p
}

func (p *process) try(method string, arg any) error { return p.proc.Try(method, arg) }

func (p *process) call(method string, arg any) {
	p.t.Helper()
	p.proc.Call(method, arg)
}

func (p *process) sync(want ...bfd.Session) {
	p.t.Helper()
	p.call("Sync", want)
}

func (p *process) states() []bfd.SessionState {
	p.t.Helper()
	var states []bfd.SessionState
	p.proc.Get("States", &states)
	return states
}

// state is the only session's.
func (p *process) state() bfd.SessionState {
	p.t.Helper()
	states := p.states()
	if len(states) != 1 {
		p.t.Fatalf("there are %d sessions, want 1: %+v", len(states), states)
	}
	return states[0]
}

func (p *process) dropped() map[bfd.Reason]uint64 {
	p.t.Helper()
	var dropped map[bfd.Reason]uint64
	p.proc.Get("Dropped", &dropped)
	return dropped
}

func (p *process) changes() []bfd.Change {
	p.t.Helper()
	var changes []bfd.Change
	p.proc.Get("Changes", &changes)
	return changes
}

// wait waits until the only session is as the condition wants.
func (p *process) wait(what string, cond func(s bfd.SessionState) bool) bfd.SessionState {
	p.t.Helper()
	var state bfd.SessionState
	fixture.Wait(p.t, 20*time.Second, what, func() error {
		if state = p.state(); !cond(state) {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	return state
}

func (p *process) waitUp() bfd.SessionState {
	p.t.Helper()
	return p.wait("the session to come up", func(s bfd.SessionState) bool { return s.State == bfd.Up })
}

// waitChange waits for a change after the given time and returns it.
func (p *process) waitChange(after time.Time, what string, cond func(c bfd.Change) bool) bfd.Change {
	p.t.Helper()
	var found bfd.Change
	fixture.Wait(p.t, 20*time.Second, what, func() error {
		changes := p.changes()
		for _, c := range changes {
			if c.Time.After(after) && cond(c) {
				found = c
				return nil
			}
		}
		return fmt.Errorf("changes were %+v", changes)
	})
	return found
}

func (p *process) crash() {
	p.t.Helper()
	p.proc.Stop(p.t, syscall.SIGKILL)
}
