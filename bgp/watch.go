package bgp

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/bgp/wire"
)

// farewell bounds how long a router is waited for that is told of the end of BFD; one that cannot be
// reached, or has ended it by itself, does not answer.
const farewell = 300 * time.Millisecond

// tryAgain is between two looks for a next hop that is lacking, and attempts to listen.
const tryAgain = 2 * time.Second

// watcher is what BFD saw of the peers. A path is watched while there is an established session over it,
// each time anew: routers begin anew, too, and one that does while we go on looks like a failure.
type watcher struct {
	synced     map[string]time.Time // since when there is the session that is watched, by peer
	detections map[string]uint64
	reasons    map[string]string // why it was last down
	failure    string            // why not all paths can be watched, as last logged
}

// Run looks for unnumbered routers and for next hops that are lacking, and watches the paths to all routers
// until the end of ctx. Sync and SetPeers are refused afterwards, and what has not been stopped by then is
// left as StopRestart leaves it; Stop may still come.
func (s *Speaker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.bfd.Run(ctx) })
	g.Go(func() error { return s.discovery.Run(ctx) })
	g.Go(func() error {
		again := time.NewTicker(tryAgain)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-s.watched:
				s.watchPaths(ctx)
			case <-again.C:
				s.findHops(ctx)
				s.listenAgain()
				if s.unwatched() {
					s.watchPaths(ctx)
				}
			}
		}
	})
	err := g.Wait()
	s.ops.Lock()
	defer s.ops.Unlock()
	s.closed = true
	return errors.Join(err, s.bfd.Stop(context.WithoutCancel(ctx), bfd.StopSilent))
}

// findHops looks again for next hops of families that have none: at boot, a device's addresses come one
// after the other, and its session with the first.
func (s *Speaker) findHops(ctx context.Context) {
	s.mu.Lock()
	sessions := maps.Clone(s.sessions)
	s.mu.Unlock()
	for name, session := range sessions {
		if !session.lacks() {
			continue
		}
		if session.findHops(session.config()); session.lacks() {
			continue
		}
		s.log.Info("the routes of all families are announced by now", "peer", name)
		if err := session.apply(ctx); err != nil {
			s.log.Warn("some paths are not announced", "peer", name, "err", err)
		}
		s.notify()
	}
}

// watchPaths has BFD watch exactly the paths of the established sessions.
func (s *Speaker) watchPaths(ctx context.Context) {
	want, since := s.pathsToWatch()
	s.mu.Lock()
	old := s.watcher.synced
	s.watcher.synced = since
	s.mu.Unlock()
	var same []bfd.Session
	for _, session := range want {
		if old[session.Name].Equal(since[session.Name]) {
			same = append(same, session)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	if len(same) < len(want) { // those that came back begin anew
		_ = s.bfd.Sync(ctx, same) // whose failures come again
	}
	err := s.bfd.Sync(ctx, want)
	failure := ""
	if err != nil && !errors.Is(err, bfd.ErrStopped) && !errors.Is(err, context.DeadlineExceeded) {
		failure = err.Error()
	}
	s.mu.Lock()
	news := failure != s.watcher.failure
	s.watcher.failure = failure
	s.mu.Unlock()
	switch {
	case news && failure != "":
		s.log.Warn("some paths are not watched by BFD, trying again", "err", failure)
	case news:
		s.log.Info("all paths are watched by BFD again")
	}
	s.notify()
}

// unwatched says that not all paths can be watched, as while another daemon has BFD's port.
func (s *Speaker) unwatched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watcher.failure != ""
}

// pathsToWatch are in the order of their names, so that failures that stay read the same.
func (s *Speaker) pathsToWatch() (want []bfd.Session, since map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since = map[string]time.Time{}
	for name, session := range s.sessions {
		p := session.config()
		up, established := session.history.established()
		if !p.BFD.Enabled || !established {
			continue
		}
		since[name] = up
		local, remote := session.history.ends()
		w := bfd.Session{
			Name: name, Peer: remote, Local: local, Interface: p.Interface, Multihop: p.BFD.Multihop,
			MinTx: p.BFD.Interval, MinRx: p.BFD.Interval, Multiplier: p.BFD.Multiplier,
		}
		if w.Multihop {
			w.Interface = "" // the route chooses it
			w.MinTTL = leastTTL(p)
		}
		want = append(want, w)
	}
	slices.SortFunc(want, func(a, b bfd.Session) int { return cmp.Compare(a.Name, b.Name) })
	return want, since
}

// leastTTL is that of a multihop packet that has come from the router and from no farther: FRR sends them
// with 255, BIRD with 64.
func leastTTL(p Peer) uint8 {
	from := uint8(ordinaryTTL)
	if p.TTLSecurity {
		from = directTTL
	}
	return max(from-min(from, max(p.MultihopTTL, 1)), 1)
}

// pathChanged ends the session over a path that failed: its router is to look elsewhere at once, and
// is told by RFC 9384's Cease if it can still hear.
func (s *Speaker) pathChanged(c bfd.Change) {
	defer s.notify()
	s.mu.Lock()
	session := s.sessions[c.Name]
	if c.To != bfd.Up && c.To != bfd.AdminDown { // that is ours, after each end of the BGP session
		s.watcher.reasons[c.Name] = c.Reason
	}
	if c.Failed {
		s.watcher.detections[c.Name]++
	}
	s.mu.Unlock()
	if session != nil && c.Failed {
		// A router that takes nothing any more holds the others' changes up by nothing.
		go session.relay.end(CauseBFD, "BFD: "+c.Reason, wire.Cease(wire.CeaseBFDDown, ""))
	}
}

// fillBFD adds what BFD sees of the peers to their states.
func (s *Speaker) fillBFD(states []PeerState) {
	watched := map[string]bfd.SessionState{}
	for _, w := range s.bfd.States() {
		watched[w.Name] = w
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range states {
		state := states[i].BFD
		if state == nil {
			continue
		}
		name := states[i].Name
		state.Detections, state.Reason = s.watcher.detections[name], s.watcher.reasons[name]
		if w, ok := watched[name]; ok {
			state.State, state.RemoteState = w.State.String(), w.RemoteState.String()
			state.Since, state.Detection = w.Since, w.DetectionTime
			if w.DownReason != "" && w.State != bfd.AdminDown {
				state.Reason = w.DownReason
			}
		}
	}
}
