package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options says where to listen. An empty address is not listened on.
type Options struct {
	Socket   string // path of the unix socket
	Loopback string // host:port for the same API, on a loopback address only
	Metrics  string // host:port for /metrics, /healthz and /readyz
}

// Server owns the listening sockets from Listen until Run returns.
type Server struct {
	log       *slog.Logger
	listeners []listener
}

type listener struct {
	net.Listener
	handler http.Handler
}

// Listen binds every address of opts. A socket left behind by an agent that is
// gone is replaced; one that answers is refused, so that two agents never work
// on the same tables. On error nothing stays bound.
func Listen(opts Options, agent Agent, metrics http.Handler, log *slog.Logger) (*Server, error) {
	s := &Server{log: log}
	whole := newMux(agent, metrics)
	bind := []struct {
		addr    string
		listen  func(string) (net.Listener, error)
		handler http.Handler
	}{
		{opts.Socket, listenUnix, newControlMux(agent, metrics)},
		{opts.Loopback, listenLoopback, whole},
		{opts.Metrics, listenTCP, newHealthMux(agent, metrics)},
	}
	for _, b := range bind {
		if b.addr == "" {
			continue
		}
		l, err := b.listen(b.addr)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.listeners = append(s.listeners, listener{l, b.handler})
	}
	return s, nil
}

// Addrs returns the addresses bound, in the order socket, loopback, metrics.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Run serves until ctx ends or a listener fails, then closes all of them, which
// removes the unix socket. Requests under way get one second to finish.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, len(s.listeners))
	servers := make([]*http.Server, len(s.listeners))
	for i, l := range s.listeners {
		servers[i] = &http.Server{
			Handler:           l.handler,
			ReadHeaderTimeout: 5 * time.Second,
			IdleTimeout:       time.Minute,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		go func() { failed <- servers[i].Serve(l.Listener) }()
	}
	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // whoever still reads after the grace is cut off
		}
	}
	for range running {
		<-failed
	}
	if err != nil {
		return fmt.Errorf("serve API: %w", err)
	}
	return nil
}

func (s *Server) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// listenUnix binds path with mode 0660, creating its directory where missing.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create directory of API socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if _, err := RemoveStale(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on API socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("set mode of API socket: %w", err), l.Close())
	}
	return l, nil
}

// RemoveStale removes a socket that nobody listens on, and says whether there was
// one. One that somebody listens on, and a file that is none, are errors.
func RemoveStale(path string) (removed bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look at API socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return false, fmt.Errorf("API socket %s: a file that is not a socket is in the way; remove it or set another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		who := rival(conn, path)
		return false, errors.Join(
			fmt.Errorf("API socket %s is served by a running agent%s: one node has one agent; stop that one, as by 'systemctl stop penstock' or by deleting its pod, or set another api.socket", path, who),
			conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false, fmt.Errorf("API socket %s is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("remove stale API socket: %w", err)
	}
	return true, nil
}

// rival says what is known of the agent at the other end of a connection: its process, unless
// that is of another PID namespace, and what it says of itself.
func rival(conn net.Conn, path string) string {
	var known []string
	if raw, err := conn.(*net.UnixConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // without it there is a little less to say
			if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil && peer.Pid != 0 {
				known = append(known, fmt.Sprintf("process %d", peer.Pid))
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s, err := NewClient(path).Status(ctx); err == nil {
		known = append(known, fmt.Sprintf("role %s, version %s, since %s", s.Role, s.Version, s.Since.UTC().Format(time.RFC3339)))
	}
	if len(known) == 0 {
		return ""
	}
	return " (" + strings.Join(known, ", ") + ")"
}

// listenLoopback refuses addresses that other machines could reach: the API has
// no authentication beyond the socket's permissions.
func listenLoopback(addr string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("API address %q: want address:port, as in 127.0.0.1:7474: %w", addr, err)
	}
	if !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("API address %s is not a loopback address; the API may not leave the machine", addr)
	}
	return listenTCP(addr)
}

func listenTCP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: %w; another agent may have it, see `ss -ltnp`, or set another metrics.address or api.address", addr, err)
		}
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}
