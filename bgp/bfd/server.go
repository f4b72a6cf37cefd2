package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// Server watches paths. Its methods may be called concurrently.
type Server struct {
	log      *slog.Logger
	onChange func(Change)
	changes  changes

	ops       sync.Mutex // held by Sync and Stop for as long as they work
	closed    bool
	listeners map[listenKey]*listener

	mu       sync.RWMutex // held shortly, inside ops if both are
	sessions map[string]*session
	refused  map[string]SessionState // wanted sessions that could not be opened
	table    table

	ports   sourcePorts
	dropMu  sync.Mutex
	dropped map[Reason]uint64
}

// ErrStopped is returned by Sync after Stop or after the end of Run.
var ErrStopped = errors.New("BFD server is stopped")

// StopMode is what peers are told when we stop.
type StopMode int

const (
	// StopAdminDown tells them that the end is wanted: they must not take it for a failure of the path.
	StopAdminDown StopMode = iota
	// StopSilent tells them nothing, as if the process had died.
	StopSilent
)

func (m StopMode) String() string {
	if m == StopAdminDown {
		return "adminDown"
	}
	return "silent"
}

// New makes a server without sessions. Run calls onChange, which may be nil, for every change of a
// session's state, one after the other.
func New(log *slog.Logger, onChange func(Change)) *Server {
	if onChange == nil {
		onChange = func(Change) {}
	}
	return &Server{
		log: log, onChange: onChange, changes: changes{filled: make(chan struct{}, 1)},
		listeners: map[listenKey]*listener{}, sessions: map[string]*session{}, refused: map[string]SessionState{},
		table: newTable(), ports: sourcePorts{used: map[int]bool{}}, dropped: map[Reason]uint64{},
	}
}

// Run reports changes until the end of ctx. Sync is refused afterwards; Stop must still come. A slow
// onChange delays only the changes after it: they wait in a queue and none is lost.
func (s *Server) Run(ctx context.Context) error {
	s.changes.deliver(ctx, func(c Change) {
		s.onChange(c)
		level := slog.LevelInfo
		if c.Failed {
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "BFD session changed", "session", c.Name, "peer", c.Peer, "from", c.From, "to", c.To, "reason", c.Reason)
	})
	s.ops.Lock()
	defer s.ops.Unlock()
	s.closed = true
	return nil
}

// Sync makes want the whole set of sessions. One that stays as it is goes on undisturbed; changed
// timers are renegotiated by a poll sequence; a changed address, interface or kind of path is another
// session. A session that goes is AdminDown to its peer first, for which Sync waits up to two seconds.
//
// A session that is wrong or cannot be opened is reported as a *SessionError, the errors are joined,
// and the others are carried out; one that runs under its name goes on if the new one is wrong. The
// same call again tries only what is missing.
func (s *Server) Sync(ctx context.Context, want []Session) error {
	s.ops.Lock()
	defer s.ops.Unlock()
	if s.closed {
		return ErrStopped
	}
	valid, keep, errs := normalSessions(want)
	errs = append(errs, s.endUnwanted(ctx, valid, keep))
	s.mu.Lock()
	running := maps.Clone(s.sessions)
	clear(s.refused)
	s.mu.Unlock()
	for _, w := range valid {
		if session, ok := running[w.Name]; ok {
			session.update(w)
			continue
		}
		if err := s.open(w); err != nil {
			err = &SessionError{Name: w.Name, Err: err}
			s.refuse(w, err)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.closeIdleListeners())...)
}

// normalSessions returns the sessions that can be opened and the names of the wrong ones.
func normalSessions(want []Session) (valid []Session, keep map[string]bool, errs []error) {
	names := map[string]bool{}
	keep = map[string]bool{}
	for _, w := range want {
		w, err := w.normal()
		switch {
		case err != nil:
			keep[w.Name] = true
			errs = append(errs, err)
		case names[w.Name]:
			errs = append(errs, &SessionError{Name: w.Name, Err: errors.New("another session has this name: give another one")})
		default:
			names[w.Name] = true
			valid = append(valid, w)
		}
	}
	return valid, keep, errs
}

// endUnwanted closes the sessions that are gone or have become others, all at the same time.
func (s *Server) endUnwanted(ctx context.Context, want []Session, keep map[string]bool) error {
	wanted := map[string]endpoint{}
	for _, w := range want {
		wanted[w.Name] = w.endpoint()
	}
	return s.end(ctx, true, func(session *session) bool {
		e, ok := wanted[session.name]
		return ok && e == session.endpoint || !ok && keep[session.name]
	})
}

// end closes the sessions that stay does not want, all at the same time.
func (s *Server) end(ctx context.Context, farewell bool, stay func(*session) bool) error {
	s.mu.RLock()
	var going []*session
	for _, session := range s.sessions {
		if !stay(session) {
			going = append(going, session)
		}
	}
	s.mu.RUnlock()
	errs := make([]error, len(going))
	var ending sync.WaitGroup
	for i, session := range going {
		if farewell {
			ending.Go(func() { errs[i] = session.farewell(ctx) })
		}
	}
	ending.Wait()
	// Nobody delivers packets while mu is held, nor to these sessions afterwards.
	s.mu.Lock()
	for _, session := range going {
		delete(s.sessions, session.name)
		s.table.remove(session)
	}
	s.mu.Unlock()
	for i, session := range going {
		if err := errors.Join(errs[i], session.close()); err != nil {
			errs[i] = &SessionError{Name: session.name, Err: err}
		}
	}
	return errors.Join(errs...)
}

// open makes a session and its listener.
func (s *Server) open(want Session) error {
	session, err := newSession(want, s.newDiscriminator(), &s.ports)
	if err != nil {
		return err
	}
	if err := s.checkClash(session); err != nil {
		return errors.Join(err, session.sender.close())
	}
	l, err := s.listener(session.endpoint.listenKey())
	if err != nil {
		return errors.Join(err, session.sender.close())
	}
	session.start(l, s.changes.add)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[want.Name] = session
	s.table.add(session)
	return nil
}

func (s *Server) checkClash(session *session) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, other := range s.sessions {
		if session.clashes(other) {
			return fmt.Errorf("session %q has the same peer and local address: remove one of them", other.name)
		}
	}
	return nil
}

// newDiscriminator is random, unique and not zero: one that cannot be guessed keeps strangers out
// (RFC 5880 section 9).
func (s *Server) newDiscriminator() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for {
		if d := rand.Uint32(); d != 0 && s.table.byDiscriminator[d] == nil {
			return d
		}
	}
}

func (s *Server) refuse(want Session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[want.Name] = SessionState{
		Name: want.Name, Peer: want.Peer, Local: want.Local, Interface: want.Interface, Multihop: want.Multihop,
		State: Down, RemoteState: Down, Since: time.Now(), DownReason: errors.Unwrap(err).Error(),
	}
}

// Stop ends all sessions; see the modes. With StopAdminDown it returns when the peers know, after two
// seconds, or when ctx ends.
func (s *Server) Stop(ctx context.Context, mode StopMode) error {
	s.ops.Lock()
	defer s.ops.Unlock()
	s.closed = true
	s.log.Info("BFD server stops", "mode", mode)
	err := s.end(ctx, mode == StopAdminDown, func(*session) bool { return false })
	s.mu.Lock()
	clear(s.refused)
	s.mu.Unlock()
	return errors.Join(err, s.closeIdleListeners())
}
