package bfd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// session is a machine with a clock, a sending socket and a goroutine for its timer.
type session struct {
	name     string
	endpoint endpoint
	local    uint32 // our discriminator
	listener *listener
	changed  func(Change)
	ports    *sourcePorts

	wake  chan struct{} // the next deadline has come nearer
	quit  chan struct{}
	ended chan struct{}

	mu      sync.Mutex // held shortly; sending does not wait
	want    Session
	machine *machine
	sender  *sender
	armed   time.Time // when the timer fires; zero: never
	leaving chan struct{}
	history history
}

// history is what is counted and remembered of a session.
type history struct {
	since          time.Time
	sent, received uint64
	dropped        map[Reason]uint64
	downs          map[Diag]uint64
	failed         bool   // since the last time it was up
	lost           string // why it was last down after it was up
	sendErr        error  // of the last packet
}

func newSession(want Session, local uint32, ports *sourcePorts) (*session, error) {
	s := &session{
		name: want.Name, endpoint: want.endpoint(), local: local, ports: ports, want: want,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		history: history{since: time.Now(), dropped: map[Reason]uint64{}, downs: map[Diag]uint64{}},
	}
	var err error
	s.sender, err = openSender(s.endpoint, ports)
	return s, err
}

// start begins to send.
func (s *session) start(l *listener, changed func(Change)) {
	s.listener, s.changed = l, changed
	now := time.Now()
	s.mu.Lock()
	s.machine = newMachine(now, s.local, s.want.timers(), rand.Float64)
	if s.want.AdminDown {
		s.apply(now, s.machine.setAdminDown(now, true))
	}
	s.mu.Unlock()
	go s.run()
}

func (s *session) run() {
	defer close(s.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-timer.C:
		case <-s.wake:
		}
		if next := s.due(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// due does what is due and returns when to come again. A process that did not get to run for a while
// finds the detection time over and the peer's packets waiting, so those are read first.
func (s *session) due() time.Time {
	s.mu.Lock()
	expired := s.machine.expired(time.Now())
	s.mu.Unlock()
	if expired {
		s.listener.drain()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.armed = s.apply(now, s.machine.due(now))
	return s.armed
}

// event is everything but the timer.
func (s *session) event(do func(m *machine, now time.Time) output) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := s.apply(now, do(s.machine, now))
	if !next.IsZero() && (s.armed.IsZero() || next.Before(s.armed)) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// receive takes a packet that was found to be of this session.
func (s *session) receive(p Packet) {
	s.event(func(m *machine, now time.Time) output {
		out := m.receive(now, p)
		if out.drop != "" {
			s.history.dropped[out.drop]++
		} else {
			s.history.received++
		}
		return out
	})
}

// apply sends and reports what an event led to, and returns the next deadline. It is called with mu held.
func (s *session) apply(now time.Time, out output) time.Time {
	if out.change != nil {
		s.record(now, out.change)
	}
	if out.send {
		err := s.send(out.packet)
		if noWay(err) && s.machine.state >= Init {
			return s.apply(now, s.machine.pathLost(now))
		}
	}
	if s.leaving != nil && s.machine.farewells == 0 {
		close(s.leaving)
		s.leaving = nil
	}
	return out.next
}

func (s *session) record(now time.Time, t *transition) {
	c, h := newChange(s, t, now), &s.history
	h.since = now
	if t.to == Up || t.to == AdminDown {
		h.failed = false
	}
	if t.from == Up {
		h.failed, h.lost = c.Failed, c.Reason
		h.downs[t.diag]++
	}
	s.changed(c)
}

// send looks after the socket while the session is down: the interface may have come back as another
// one, and the route may want another local address now. The peer would not know the old one, nor we
// what it sends to the new one.
func (s *session) send(p Packet) error {
	var buf [packetLen]byte
	b := p.Append(buf[:0])
	if p.State <= Down && s.machine.heard.IsZero() {
		s.reopen(func(again *sender) bool {
			return again.local != s.sender.local || again.ifindex != s.sender.ifindex
		})
	}
	err := s.sender.send(b)
	if p.State <= Down && noWay(err) && s.reopen(func(*sender) bool { return true }) {
		err = s.sender.send(b)
	}
	if err == nil || errors.Is(err, errRefused) {
		s.history.sent++
	}
	s.history.sendErr = err
	return err
}

// reopen takes another socket if one can be had and is better.
func (s *session) reopen(better func(*sender) bool) bool {
	again, err := openSender(s.endpoint, s.ports)
	if err != nil {
		return false
	}
	if !better(again) {
		_ = again.close() // nothing was sent
		return false
	}
	_ = s.sender.close() // it is of no use any more
	s.sender = again
	return true
}

func (s *session) drop(why Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.dropped[why]++
}

// update takes what may change without another session.
func (s *session) update(want Session) {
	s.event(func(m *machine, now time.Time) output {
		s.want = want
		return m.setTimers(now, want.timers())
	})
	s.event(func(m *machine, now time.Time) output { return m.setAdminDown(now, want.AdminDown) })
}

// maxFarewell bounds how long the end of a session waits for the peer to know.
const maxFarewell = 2 * time.Second

// farewell returns once the peer has confirmed AdminDown or was told often enough.
func (s *session) farewell(ctx context.Context) error {
	told := make(chan struct{})
	s.event(func(m *machine, now time.Time) output {
		s.leaving = told
		return m.setAdminDown(now, true)
	})
	patience := time.NewTimer(maxFarewell)
	defer patience.Stop()
	select {
	case <-told:
		return nil
	case <-patience.C:
		return nil // the peer is slow to take packets, and had one
	case <-ctx.Done():
		return fmt.Errorf("tell the peer AdminDown: %w", ctx.Err())
	}
}

// close ends a session that receives nothing any more.
func (s *session) close() error {
	close(s.quit)
	<-s.ended
	return s.sender.close()
}
