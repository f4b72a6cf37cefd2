package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/bgp/ndisc"
	"github.com/penstock-lb/penstock/bgp/wire"
)

// Speaker announces prefixes to routers. Its methods may be called concurrently.
type Speaker struct {
	cfg     Config
	log     *slog.Logger
	changed chan struct{}

	ops    sync.Mutex // held by Sync, SetPeers and Stop for as long as they work
	synced bool       // ops
	closed bool       // ops
	deaf   bool       // ops; some passive peers cannot connect

	mu       sync.Mutex // held shortly, inside ops if both are
	peers    []Peer
	paths    map[netip.Prefix]announcement
	sessions map[string]*session // by the peer's name

	listeners *listeners
	discovery *ndisc.Discoverer // of unnumbered peers
	bfd       *bfd.Server
	watcher   watcher       // mu
	watched   chan struct{} // sessions came up or went down, for BFD
}

// announcement is a wanted path.
type announcement struct {
	Path
	since time.Time
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
	s := &Speaker{
		cfg: cfg, log: log, changed: make(chan struct{}, 1),
		peers: cfg.Peers, paths: map[netip.Prefix]announcement{}, sessions: map[string]*session{},
		listeners: newListeners(log), discovery: ndisc.New(log), watched: make(chan struct{}, 1),
		watcher: watcher{detections: map[string]uint64{}, reasons: map[string]string{}},
	}
	s.bfd = bfd.New(log, s.pathChanged)
	return s, nil
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
	valid := make(map[netip.Prefix]Path, len(want))
	for _, path := range want {
		if err := path.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		valid[path.Prefix] = path
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(append(errs, s.untouched(valid, err))...)
	}
	s.setPaths(valid, time.Now())
	restarting := s.cfg.Restarting && !s.synced
	s.synced = true
	return errors.Join(append(errs, s.reconcile(ctx, restarting))...)
}

// untouched is the error of every path that a Sync did not come to, those to be withdrawn too.
func (s *Speaker) untouched(want map[netip.Prefix]Path, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for prefix := range want {
		errs = append(errs, &PathError{Prefix: prefix, Err: err})
	}
	for prefix := range s.paths {
		if _, ok := want[prefix]; !ok {
			errs = append(errs, &PathError{Prefix: prefix, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (s *Speaker) setPaths(want map[netip.Prefix]Path, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.paths)
	maps.DeleteFunc(s.paths, func(p netip.Prefix, _ announcement) bool {
		_, ok := want[p]
		return !ok
	})
	changed := len(s.paths) != before
	for prefix, path := range want {
		have, ok := s.paths[prefix]
		if !ok {
			have.since = now
		}
		if !ok || !have.Equal(path) {
			s.paths[prefix], changed = announcement{path, have.since}, true
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

// ending is why a session is closed: as its history says it, and as the router hears it.
type ending struct {
	reason string
	cease  wire.Notification
}

// closeUnwanted ends the sessions whose peer is gone, or was edited in a way that takes a new one.
func (s *Speaker) closeUnwanted(ctx context.Context) error {
	s.mu.Lock()
	wanted := map[string]Peer{}
	for _, p := range s.peers {
		wanted[p.Name] = p
	}
	unwanted := map[*session]ending{}
	updated := map[*session]Peer{}
	for name, session := range s.sessions {
		p, ok := wanted[name]
		if !ok {
			unwanted[session] = ending{"peer removed from the configuration", wire.Cease(wire.CeaseDeconfigured, "")}
		} else if fields := session.config().Resets(p); len(fields) > 0 {
			reason := "peer's configuration changed: " + strings.Join(fields, ", ")
			unwanted[session] = ending{reason, wire.Cease(wire.CeaseConfigChange, "")}
		} else if !reflect.DeepEqual(session.config(), p) {
			updated[session] = p
			continue
		} else {
			continue
		}
		delete(s.sessions, name)
	}
	s.mu.Unlock()
	errs := []error{s.closeAll(ctx, unwanted)}
	for session, p := range updated {
		if err := session.update(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("BGP peer %s: %w", p.Name, err))
		}
		s.log.Info("BGP peer changed, its session goes on", "peer", p.Name)
	}
	s.watch()
	return errors.Join(errs...)
}

// closeAll ends sessions at the same time, each for its reason.
func (s *Speaker) closeAll(ctx context.Context, sessions map[*session]ending) error {
	errs := make(chan error, len(sessions))
	for session, why := range sessions {
		go func() {
			err := session.close(ctx, why.reason, why.cease)
			if err != nil {
				err = fmt.Errorf("close session to BGP peer %s: %w", session.name, err)
			}
			s.log.Info("BGP session closed", "peer", session.name, "reason", why.reason)
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
	want := make(map[netip.Prefix]Path, len(s.paths))
	for prefix, path := range s.paths {
		want[prefix] = path.Path
	}
	open := maps.Clone(s.sessions)
	s.mu.Unlock()

	var errs []error
	for _, peer := range peers {
		if session, ok := open[peer.Name]; ok {
			errs = append(errs, session.sync(ctx, want))
			continue
		}
		if err := s.openSession(ctx, peer, want, restarting); err != nil {
			errs = append(errs, fmt.Errorf("open session to BGP peer %s: %w", peer.Name, err))
		}
	}
	s.discover(ctx, peers)
	s.listen(peers)
	return errors.Join(errs...)
}

// listen waits for the passive peers that have a session. Where that does not work it is in the peers'
// states, logged, and tried again by Run: it is no error of a Sync, of which nothing is left to be done.
func (s *Speaker) listen(peers []Peer) {
	s.mu.Lock()
	relays, waiting := map[netip.Addr]*relay{}, map[*session]netip.Addr{}
	for _, session := range s.sessions {
		if p := session.config(); p.Passive {
			relays[p.Address], waiting[session] = session.relay, withoutZone(p.Address)
		}
	}
	s.mu.Unlock()
	failed := s.listeners.sync(peers, relays, s.cfg.ListenPort)
	for session, addr := range waiting {
		if _, up := session.history.established(); !up && failed[addr] != nil {
			session.history.obstructed(failed[addr].Error())
		}
	}
	s.deaf = len(failed) > 0
}

// listenAgain tries what did not work, unless others are at work.
func (s *Speaker) listenAgain() {
	if !s.ops.TryLock() {
		return
	}
	defer s.ops.Unlock()
	if s.deaf && !s.closed {
		s.mu.Lock()
		peers := s.peers
		s.mu.Unlock()
		s.listen(peers)
	}
}

func (s *Speaker) openSession(ctx context.Context, peer Peer, want map[netip.Prefix]Path, restarting bool) error {
	session, err := newSession(ctx, s.cfg, peer, s.log, hooks{changed: s.watch, router: s.router}, s.notify)
	if err != nil {
		return err
	}
	pathErr := session.sync(ctx, want)
	if err := session.open(ctx, s.cfg.GracefulRestart, restarting); err != nil {
		return errors.Join(pathErr, err, session.close(ctx, "it could not be opened", wire.Cease(wire.CeaseShutdown, "")))
	}
	s.mu.Lock()
	s.sessions[peer.Name] = session
	s.mu.Unlock()
	s.notify()
	return pathErr
}

// watch has Run look at which sessions there are for BFD.
func (s *Speaker) watch() {
	select {
	case s.watched <- struct{}{}:
	default:
	}
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
	sessions := map[*session]ending{}
	for _, session := range s.sessions {
		sessions[session] = ending{"drained", wire.Cease(wire.CeaseShutdown, why)}
	}
	clear(s.sessions)
	clear(s.paths)
	s.mu.Unlock()
	defer s.notify()
	s.listeners.close()
	err := s.closeAll(ctx, sessions)
	// Later than the Cease: routers take the end of BFD for a failure while there is a session.
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	if bfdErr := s.bfd.Stop(ctx, bfd.StopAdminDown); !errors.Is(bfdErr, context.DeadlineExceeded) {
		err = errors.Join(err, bfdErr)
	}
	return err
}
