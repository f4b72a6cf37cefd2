package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// Speaker announces prefixes to routers. Its methods may be called concurrently.
type Speaker struct {
	cfg     Config
	log     *slog.Logger
	changed chan struct{}

	ops    sync.Mutex // held by Sync, SetPeers and Stop for as long as they work
	synced bool       // ops
	closed bool       // ops

	mu       sync.Mutex // held shortly, inside ops if both are
	peers    []Peer
	paths    map[netip.Prefix]time.Time
	sessions map[netip.Addr]*session
}

// ErrStopped is returned by Sync and SetPeers after Stop or after the end of Run.
var ErrStopped = errors.New("BGP speaker is stopped")

// StopMode is what routers are told when we stop.
type StopMode int

const (
	// StopDrain withdraws everything and ends the sessions: routers send traffic elsewhere at once.
	StopDrain StopMode = iota
	// StopRestart leaves the sessions to end with the process, so that routers with graceful restart
	// keep our routes. The process must exit soon.
	StopRestart
)

func (m StopMode) String() string {
	if m == StopDrain {
		return "drain"
	}
	return "restart"
}

// New checks the configuration. Nothing is sent before the first Sync.
func New(cfg Config, log *slog.Logger) (*Speaker, error) {
	cfg, err := cfg.normal()
	if err != nil {
		return nil, err
	}
	return &Speaker{
		cfg: cfg, log: log, changed: make(chan struct{}, 1),
		peers: cfg.Peers, paths: map[netip.Prefix]time.Time{}, sessions: map[netip.Addr]*session{},
	}, nil
}

// Run waits for the end of ctx. Sync and SetPeers are refused afterwards, and what has not been
// stopped by then is left as StopRestart leaves it; Stop may still come.
func (s *Speaker) Run(ctx context.Context) error {
	<-ctx.Done()
	s.ops.Lock()
	defer s.ops.Unlock()
	s.closed = true
	return nil
}

// Changed receives a value after the peers' states or the routes changed; several changes may give
// one value.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

func (s *Speaker) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Sync makes want the whole set of announced paths. The first call also opens the sessions. A path
// that fails is reported as a *PathError, the errors are joined, and the others are carried out; the
// same call again tries only what is missing.
func (s *Speaker) Sync(ctx context.Context, want []Path) error {
	s.ops.Lock()
	defer s.ops.Unlock()
	if s.closed {
		return ErrStopped
	}
	var errs []error
	valid := make(map[netip.Prefix]struct{}, len(want))
	for _, path := range want {
		if err := path.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		valid[path.Prefix] = struct{}{}
	}
	s.setPaths(valid, time.Now())
	restarting := s.cfg.Restarting && !s.synced
	s.synced = true
	return errors.Join(append(errs, s.reconcile(ctx, restarting))...)
}

func (s *Speaker) setPaths(want map[netip.Prefix]struct{}, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.paths)
	maps.DeleteFunc(s.paths, func(p netip.Prefix, _ time.Time) bool {
		_, ok := want[p]
		return !ok
	})
	changed := len(s.paths) != before
	for prefix := range want {
		if _, ok := s.paths[prefix]; !ok {
			s.paths[prefix], changed = now, true
		}
	}
	if changed {
		s.notify()
	}
}

// SetPeers makes peers the whole set of routers. Sessions of peers that stay as they are go on
// undisturbed; a changed peer's is closed and opened anew. If one peer is wrong, nothing is done.
func (s *Speaker) SetPeers(ctx context.Context, peers []Peer) error {
	peers, err := normalPeers(peers)
	if err != nil {
		return err
	}
	s.ops.Lock()
	defer s.ops.Unlock()
	if s.closed {
		return ErrStopped
	}
	defer s.notify()
	s.mu.Lock()
	s.peers = peers
	s.mu.Unlock()
	errs := []error{s.closeUnwanted(ctx)}
	if s.synced {
		errs = append(errs, s.reconcile(ctx, false))
	}
	return errors.Join(errs...)
}

// closeUnwanted ends the sessions whose peer is gone or was edited.
func (s *Speaker) closeUnwanted(ctx context.Context) error {
	s.mu.Lock()
	wanted := map[netip.Addr]Peer{}
	for _, p := range s.peers {
		wanted[p.Address] = p
	}
	unwanted := map[*session]string{}
	for addr, session := range s.sessions {
		p, ok := wanted[addr]
		switch {
		case !ok:
			unwanted[session] = "peer removed from the configuration"
		case !reflect.DeepEqual(session.peer, p):
			unwanted[session] = "peer's configuration changed"
		default:
			continue
		}
		delete(s.sessions, addr)
	}
	s.mu.Unlock()
	return s.closeAll(ctx, unwanted)
}

// closeAll ends sessions at the same time, each for its reason.
func (s *Speaker) closeAll(ctx context.Context, sessions map[*session]string) error {
	errs := make(chan error, len(sessions))
	for session, reason := range sessions {
		go func() {
			err := session.close(ctx)
			if err != nil {
				err = fmt.Errorf("close session to BGP peer %s: %w", session.peer.Name, err)
			}
			s.log.Info("BGP session closed", "peer", session.peer.Name, "address", session.peer.Address, "reason", reason)
			errs <- err
		}()
	}
	var all []error
	for range sessions {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// reconcile gives every session the wanted paths and opens those that are missing.
func (s *Speaker) reconcile(ctx context.Context, restarting bool) error {
	s.mu.Lock()
	peers := s.peers
	want := make(map[netip.Prefix]struct{}, len(s.paths))
	for prefix := range s.paths {
		want[prefix] = struct{}{}
	}
	open := maps.Clone(s.sessions)
	s.mu.Unlock()

	var errs []error
	for _, peer := range peers {
		if session, ok := open[peer.Address]; ok {
			errs = append(errs, session.sync(ctx, want))
			continue
		}
		if err := s.openSession(ctx, peer, want, restarting); err != nil {
			errs = append(errs, fmt.Errorf("open session to BGP peer %s: %w", peer.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Speaker) openSession(ctx context.Context, peer Peer, want map[netip.Prefix]struct{}, restarting bool) error {
	session, err := newSession(ctx, s.cfg, peer, s.log, s.notify)
	if err != nil {
		return err
	}
	pathErr := session.sync(ctx, want)
	if err := session.open(ctx, s.cfg.GracefulRestart, restarting); err != nil {
		return errors.Join(pathErr, err, session.close(ctx))
	}
	s.mu.Lock()
	s.sessions[peer.Address] = session
	s.mu.Unlock()
	s.notify()
	return pathErr
}

// Stop ends announcing; see the modes. With StopDrain it returns when the routers have been told, or
// when ctx ends; why is for the routers' operators (RFC 9003), at most 255 bytes of it. Stop with
// StopDrain may follow one with StopRestart.
func (s *Speaker) Stop(ctx context.Context, mode StopMode, why string) error {
	s.ops.Lock()
	defer s.ops.Unlock()
	s.closed = true
	s.log.Info("BGP speaker stops", "mode", mode)
	if mode == StopRestart {
		return nil
	}
	s.mu.Lock()
	sessions := map[*session]string{}
	for _, session := range s.sessions {
		sessions[session] = "drained"
	}
	clear(s.sessions)
	clear(s.paths)
	s.mu.Unlock()
	defer s.notify()
	return s.closeAll(ctx, sessions)
}

// Peers returns all configured peers in the order of their names.
func (s *Speaker) Peers() []PeerState {
	now := time.Now()
	s.mu.Lock()
	peers, sessions := s.peers, maps.Clone(s.sessions)
	s.mu.Unlock()
	states := make([]PeerState, 0, len(peers))
	for _, p := range peers {
		if session, ok := sessions[p.Address]; ok {
			states = append(states, session.state(now))
			continue
		}
		state := newState(p)
		state.DownReason = "waits for the first set of paths"
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	return states
}

// Routes returns all wanted paths, in order, with the peers that have them.
func (s *Speaker) Routes() []Route {
	s.mu.Lock()
	sessions := slices.SortedFunc(maps.Values(s.sessions), func(a, b *session) int { return strings.Compare(a.peer.Name, b.peer.Name) })
	paths := maps.Clone(s.paths)
	s.mu.Unlock()
	routes := make([]Route, 0, len(paths))
	for prefix, since := range paths {
		routes = append(routes, Route{Prefix: prefix, Since: since, Peers: []RoutePeer{}})
	}
	slices.SortFunc(routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	for _, session := range sessions {
		hops := session.nextHops()
		for i := range routes {
			if hop, ok := hops[routes[i].Prefix]; ok {
				routes[i].Peers = append(routes[i].Peers, RoutePeer{Peer: session.peer.Name, NextHop: hop})
			}
		}
	}
	return routes
}
