package bgp_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// Remote is a speaker's process: see [fixture.Self].
type Remote struct {
	speaker *bgp.Speaker
	stop    context.CancelFunc
	ended   chan error
}

// Nothing is net/rpc's.
type Nothing = fixture.Nothing

// Start makes and runs the speaker.
func (r *Remote) Start(cfg bgp.Config, _ *Nothing) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if r.speaker, err = bgp.New(cfg, log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.speaker.Run(ctx) }()
	return nil
}

func (r *Remote) Sync(want []bgp.Path, _ *Nothing) error {
	return r.speaker.Sync(context.Background(), want)
}

func (r *Remote) SetPeers(peers []bgp.Peer, _ *Nothing) error {
	return r.speaker.SetPeers(context.Background(), peers)
}

func (r *Remote) Peers(_ Nothing, states *[]bgp.PeerState) error {
	*states = r.speaker.Peers()
	return nil
}

func (r *Remote) Routes(_ Nothing, routes *[]bgp.Route) error {
	*routes = r.speaker.Routes()
	return nil
}

func (r *Remote) Stop(mode bgp.StopMode, _ *Nothing) error {
	return r.StopWith(Farewell{Mode: mode}, nil)
}

// Farewell is what Stop takes.
type Farewell struct {
	Mode bgp.StopMode
	Why  string
}

func (r *Remote) StopWith(f Farewell, _ *Nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.speaker.Stop(ctx, f.Mode, f.Why)
}

// End ends Run and reports goroutines that it left.
func (r *Remote) End(_ Nothing, _ *Nothing) error {
	r.stop()
	if err := <-r.ended; err != nil {
		return fmt.Errorf("Run: %w", err)
	}
	return goleak.Find(append(fixture.SelfGoroutines(), ofGoBGP...)...)
}

// speaker is the test's side.
type speaker struct {
	t    *testing.T
	proc *fixture.Self
}

// startSpeaker starts a speaker process in the namespace. It has no paths and no sessions yet.
func startSpeaker(t *testing.T, n *fixture.Netns, cfg bgp.Config) *speaker {
	t.Helper()
	s := &speaker{t: t, proc: fixture.StartSelf(t, n)}
	s.call("Start", cfg)
	return s
}

func (s *speaker) try(method string, arg any) error { return s.proc.Try(method, arg) }

func (s *speaker) call(method string, arg any) {
	s.t.Helper()
	s.proc.Call(method, arg)
}

func (s *speaker) sync(prefixes ...string) {
	s.t.Helper()
	s.call("Sync", paths(prefixes...))
}

func (s *speaker) peers() []bgp.PeerState {
	s.t.Helper()
	var states []bgp.PeerState
	s.proc.Get("Peers", &states)
	return states
}

func (s *speaker) peer(name string) bgp.PeerState {
	s.t.Helper()
	for _, state := range s.peers() {
		if state.Name == name {
			return state
		}
	}
	s.t.Fatalf("no peer %s in %v", name, s.peers())
	return bgp.PeerState{}
}

func (s *speaker) routes() []bgp.Route {
	s.t.Helper()
	var routes []bgp.Route
	s.proc.Get("Routes", &routes)
	return routes
}

// waitEstablished waits until the sessions to all the named peers are up.
func (s *speaker) waitEstablished(names ...string) {
	s.t.Helper()
	fixture.Wait(s.t, 30*time.Second, "established sessions", func() error {
		for _, name := range names {
			if state := s.peer(name); state.State != bgp.Established {
				return fmt.Errorf("peer %s is %s: %s", name, state.State, state.DownReason)
			}
		}
		return nil
	})
}

// crash ends the process without a word to anybody.
func (s *speaker) crash() {
	s.t.Helper()
	s.proc.Stop(s.t, syscall.SIGKILL)
}
