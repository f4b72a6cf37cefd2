package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeAgent struct {
	status   Status
	services []maps.ServiceStatus
	verdicts []maps.VerdictCount
	stuck    error
	err      error
}

func (f *fakeAgent) Status() Status                          { return f.status }
func (f *fakeAgent) Services() ([]maps.ServiceStatus, error) { return f.services, f.err }
func (f *fakeAgent) Verdicts() ([]maps.VerdictCount, error)  { return f.verdicts, f.err }
func (f *fakeAgent) Peers() []bgp.PeerState                  { return f.status.BGP.Peers }
func (f *fakeAgent) Routes() []bgp.Route                     { return nil }
func (f *fakeAgent) Alive() error                            { return f.stuck }

func testAgent() *fakeAgent {
	backend := maps.BackendStatus{Index: 7, Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Rows: 512}
	backend.NextHop.Ifindex = 1 // lo, in every namespace
	backend.Packets, backend.Bytes, backend.NewFlows = 10, 1000, 2
	front := maps.Frontend{VIP: netip.MustParseAddr("192.0.2.1"), Port: 80, Proto: maps.TCP}
	return &fakeAgent{
		status: Status{
			Version: "v1", Node: "lb-1", State: Running,
			BGP: BGPStatus{Peers: []bgp.PeerState{{Name: "tor"}}},
		},
		services: []maps.ServiceStatus{
			{Name: "default/web:http/tcp/ipv4", Frontends: []maps.Frontend{front}, Rows: 1024, Backends: []maps.BackendStatus{backend}},
			{Name: "default/web:https/tcp/ipv4"},
			{Name: "default/web2:http/tcp/ipv4"},
		},
		verdicts: []maps.VerdictCount{{Name: "forwarded", Action: "forward", Packets: 3, Bytes: 300}},
	}
}

// serve runs a server on a socket of its own until the test ends, and returns
// the socket's path and a function that stops the server and waits for it.
func serve(t *testing.T, agent Agent) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "run", "agent.sock")
	s, err := Listen(Options{Socket: socket}, agent, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return socket, run(t, s)
}

func run(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestClientReadsWhatTheAgentSays(t *testing.T) {
	agent := testAgent()
	socket, _ := serve(t, agent)
	c, ctx := NewClient(socket), t.Context()

	same := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" {
			t.Errorf("%s: want -, got +\n%s", what, d)
		}
	}
	status, err := c.Status(ctx)
	same("status", status, agent.status, err)
	services, err := c.Services(ctx)
	all := Services(agent.services, agent.status)
	same("services", services, all, err)
	services, err = c.Services(ctx, "default/web")
	same("services of default/web", services, all[1:], err)
	services, err = c.Services(ctx, "default/web:https/tcp/ipv4", "default/web2")
	same("two services", services, []Service{all[0], all[2]}, err)
	backends, err := c.Backends(ctx, "default/web")
	same("backends", backends, []Backend{{Service: "default/web:http/tcp/ipv4", Share: 0.5, Device: "lo", BackendStatus: agent.services[0].Backends[0]}}, err)
	verdicts, err := c.Verdicts(ctx)
	same("verdicts", verdicts, agent.verdicts, err)
	peers, err := c.Peers(ctx)
	same("peers", peers, agent.status.BGP.Peers, err)
	routes, err := c.Routes(ctx)
	same("routes", routes, []bgp.Route{}, err)
}

func TestErrorOfTheAgentReachesTheClient(t *testing.T) {
	agent := testAgent()
	agent.err = errors.New("read map services: permission denied")
	socket, _ := serve(t, agent)
	_, err := NewClient(socket).Services(t.Context())
	if err == nil || !strings.Contains(err.Error(), agent.err.Error()) {
		t.Errorf("got %v, want the agent's own words", err)
	}
}

func TestClientTellsThatNobodyListens(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no.sock")
	if _, err := NewClient(missing).Status(t.Context()); !errors.Is(err, ErrDown) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing socket: %v, want ErrDown with the path", err)
	}
	stale := staleSocket(t)
	if _, err := NewClient(stale).Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("stale socket: %v, want ErrDown", err)
	}
}

func TestClientTellsOfAnAgentThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hangs.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewClient(path)
	c.http.Timeout = 50 * time.Millisecond
	_, err = c.Status(t.Context())
	if err == nil || errors.Is(err, ErrDown) || !strings.Contains(err.Error(), path+": it listens, and has not answered for 50ms") {
		t.Errorf("got %v, want that the agent hangs", err)
	}
}

func staleSocket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stale.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSocketLifecycle(t *testing.T) {
	socket, stop := serve(t, testAgent())
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o, want 660", got)
	}
	if _, err := Listen(Options{Socket: socket}, testAgent(), nil, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "running agent") {
		t.Errorf("a live socket was not refused: %v", err)
	}
	stop()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after exit: %v, want none", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := staleSocket(t)
	s, err := Listen(Options{Socket: path}, testAgent(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestForeignFileIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(Options{Socket: path}, testAgent(), nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "data" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
}

func TestLoopbackOnly(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:80", "localhost:80", ":7474"} {
		if _, err := Listen(Options{Socket: socket, Loopback: addr}, testAgent(), nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s was accepted", addr)
		}
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the socket stayed behind", addr)
		}
	}
}

func TestHealthOverTCP(t *testing.T) {
	agent := testAgent()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "penstock_x 1\n") })
	s, err := Listen(Options{Loopback: "[::1]:0", Metrics: "127.0.0.1:0"}, agent, metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	transport := &http.Transport{DisableKeepAlives: true}
	fetch := func(addr, path string) (int, string) {
		t.Helper()
		resp, err := (&http.Client{Transport: transport}).Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	loopback, health := s.Addrs()[0].String(), s.Addrs()[1].String()
	expect := func(addr, path string, code int, body string) {
		t.Helper()
		gotCode, got := fetch(addr, path)
		if gotCode != code || !strings.Contains(got, body) {
			t.Errorf("%s: %d %q, want %d %q", path, gotCode, got, code, body)
		}
	}
	expect(health, "/healthz", 200, "ok")
	expect(health, "/readyz", 200, "ok")
	expect(health, "/metrics", 200, "penstock_x 1")
	expect(health, "/v1/status", 404, "")
	expect(loopback, "/v1/status", 200, `"node":"lb-1"`)

	agent.stuck = errors.New("the loop has been in one pass for 2m0s")
	agent.status.NotReady = []string{"tables not synced", "no BGP session up"}
	expect(health, "/healthz", 503, "2m0s")
	expect(health, "/readyz", 503, "not ready:\ntables not synced\nno BGP session up\n")
}

func TestEmptyListsAreLists(t *testing.T) {
	socket, _ := serve(t, &fakeAgent{})
	c := NewClient(socket)
	for _, path := range []string{"/v1/services", "/v1/backends", "/v1/verdicts", "/v1/bgp/peers", "/v1/bgp/routes"} {
		raw, err := fetch[json.RawMessage](t.Context(), c, path, nil)
		if err != nil || string(raw) != "[]" {
			t.Errorf("%s: %s, %v, want []", path, raw, err)
		}
	}
}
