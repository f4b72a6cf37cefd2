package bgp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// GoBGP dials from goroutines of its own, which do not follow a thread into a namespace. So a speaker
// under test is a process in the namespace, driven over a unix socket. It can also be killed.
const speakerEnv = "PENSTOCK_TEST_SPEAKER"

// Remote is the process's side.
type Remote struct {
	speaker *bgp.Speaker
	stop    context.CancelFunc
	ended   chan error
}

// Nothing stands where net/rpc wants an argument or a reply.
type Nothing int

func serveSpeaker(dir string) {
	listener, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		panic(err)
	}
	if err := rpc.RegisterName("Remote", &Remote{ended: make(chan error, 1)}); err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		// Of gob a pointer to zero comes out as none.
		go rpc.ServeCodec(jsonrpc.NewServerCodec(conn))
	}
}

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
	return goleak.Find(serveLoop, goleak.IgnoreAnyFunction("net/rpc.(*Server).ServeCodec"), goleak.IgnoreAnyFunction("net/rpc.(*Server).ServeRequest"),
		goleak.IgnoreAnyFunction("github.com/penstock-lb/penstock/bgp_test.serveSpeaker"))
}

// speaker is the test's side.
type speaker struct {
	t      *testing.T
	proc   *fixture.Process
	client *rpc.Client
}

// startSpeaker starts a speaker process in the namespace. It has no paths and no sessions yet.
func startSpeaker(t *testing.T, n *fixture.Netns, cfg bgp.Config) *speaker {
	t.Helper()
	dir, err := os.MkdirTemp("", "speaker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &speaker{t: t}
	s.proc = n.Start(t, "env", speakerEnv+"="+dir, os.Args[0])
	fixture.Wait(t, 10*time.Second, "the speaker process", func() (err error) {
		s.client, err = jsonrpc.Dial("unix", filepath.Join(dir, "sock"))
		return err
	})
	t.Cleanup(func() { s.client.Close() })
	s.call("Start", cfg)
	return s
}

func (s *speaker) try(method string, arg any) error {
	return s.client.Call("Remote."+method, arg, new(Nothing))
}

func (s *speaker) call(method string, arg any) {
	s.t.Helper()
	if err := s.try(method, arg); err != nil {
		s.t.Fatalf("%s(%+v): %v", method, arg, err)
	}
}

func (s *speaker) sync(prefixes ...string) {
	s.t.Helper()
	s.call("Sync", paths(prefixes...))
}

func (s *speaker) peers() []bgp.PeerState {
	s.t.Helper()
	var states []bgp.PeerState
	if err := s.client.Call("Remote.Peers", Nothing(0), &states); err != nil {
		s.t.Fatal(err)
	}
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
	if err := s.client.Call("Remote.Routes", Nothing(0), &routes); err != nil {
		s.t.Fatal(err)
	}
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
