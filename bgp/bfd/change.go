package bfd

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Change is a change of a session's state.
type Change struct {
	Name string
	Peer netip.Addr
	// From and To are our states.
	From, To State
	Diag     Diag
	// RemoteState and RemoteDiag are what the peer said last; Down and none if it was silent for the
	// detection time.
	RemoteState State
	RemoteDiag  Diag
	// Failed: the session was up, and the path or the peer's BFD failed. An end that either side
	// wanted is no failure (RFC 5882 section 3.2): what the session watches may go on working.
	Failed bool
	// Reason is a sentence for people.
	Reason string
	Time   time.Time
}

func newChange(s *session, t *transition, now time.Time) Change {
	return Change{
		Name: s.name, Peer: s.endpoint.peer, From: t.from, To: t.to, Diag: t.diag,
		RemoteState: t.remoteState, RemoteDiag: t.remoteDiag,
		Failed: t.failed(), Reason: t.reason(), Time: now,
	}
}

func (t *transition) failed() bool {
	return t.from == Up && t.to == Down && (t.diag != NeighborSignaledDown || t.remoteState != AdminDown)
}

func (t *transition) reason() string {
	switch {
	case t.to == AdminDown:
		return "taken out of service here"
	case t.from == AdminDown:
		return "back in service here"
	case t.to != Down:
		return fmt.Sprintf("the peer is %s", t.remoteState)
	case t.diag == DetectionTimeExpired:
		return fmt.Sprintf("nothing heard from the peer for %s", t.detection)
	case t.diag == PathDown:
		return "the kernel has no way to the peer"
	case t.remoteState == AdminDown:
		return "the peer took the session out of service"
	case t.remoteDiag == DetectionTimeExpired:
		return "the peer did not hear us for its detection time"
	}
	return fmt.Sprintf("the peer says that the session is down, diagnostic %s", t.remoteDiag)
}

// changes is a queue between the sessions, which must not wait, and Run.
type changes struct {
	mu      sync.Mutex
	pending []Change
	filled  chan struct{}
}

func (q *changes) add(c Change) {
	q.mu.Lock()
	q.pending = append(q.pending, c)
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// deliver gives all changes to f, in order, until the end of ctx.
func (q *changes) deliver(ctx context.Context, f func(Change)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.filled:
		}
		q.mu.Lock()
		batch := q.pending
		q.pending = nil
		q.mu.Unlock()
		for _, c := range batch {
			f(c)
		}
	}
}
