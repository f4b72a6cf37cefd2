package bfd

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// sim is two machines and the link between them in simulated time.
type sim struct {
	now    time.Time
	random *rand.Rand
	sides  [2]*side
	flying []flying
	// errs are the broken invariants.
	errs []error
}

// side is one end of the link.
type side struct {
	name  string
	m     *machine
	next  time.Time
	since time.Time // of the state
	ups   int
	downs []transition
	wall  bool // nothing that it sends arrives

	losses, lost     int           // at most losses packets are lost in a row
	delay, variation time.Duration // of its packets
	reorder          bool
	lastArrival      time.Time

	paced time.Time // the last packet that was bound to the pace
}

type flying struct {
	at     time.Time
	to     int
	packet Packet
}

func newSim(seed uint64, a, b timers) *sim {
	s := &sim{now: epoch, random: rand.New(rand.NewPCG(seed, 0))}
	for i, want := range []timers{a, b} {
		s.sides[i] = &side{
			name: string(rune('A' + i)), m: newMachine(epoch, uint32(i+1), want, s.random.Float64),
			next: epoch, since: epoch,
		}
	}
	return s
}

func (s *sim) failf(format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf("at %s: %w", s.now.Sub(epoch), fmt.Errorf(format, args...)))
}

// run lets simulated time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		// Whatever is first; a packet before a timer.
		at, packet, timer := end, -1, -1
		for i, sd := range s.sides {
			if !sd.next.IsZero() && sd.next.Before(at) {
				at, timer = sd.next, i
			}
		}
		for i, f := range s.flying {
			if f.at.Before(at) || f.at.Equal(at) && timer >= 0 && packet < 0 {
				at, packet = f.at, i
			}
		}
		if at.After(s.now) {
			s.now = at
		}
		switch {
		case packet >= 0:
			f := s.flying[packet]
			s.flying = append(s.flying[:packet], s.flying[packet+1:]...)
			s.event(f.to, func(m *machine) output { return m.receive(s.now, f.packet) })
		case timer >= 0:
			s.event(timer, func(m *machine) output { return m.due(s.now) })
		default:
			return
		}
		s.checkTogether()
	}
}

// until runs until the condition holds, and says whether it did in time.
func (s *sim) until(limit time.Duration, cond func() bool) bool {
	for end := s.now.Add(limit); !cond(); s.run(ms) {
		if s.now.After(end) {
			return false
		}
	}
	return true
}

func (s *sim) bothUp() bool { return s.sides[0].m.state == Up && s.sides[1].m.state == Up }

func (s *sim) event(i int, do func(m *machine) output) {
	sd := s.sides[i]
	before, fromRemote, allowed := sd.m.state, sd.m.remote, sd.m.interval()
	out := do(sd.m)
	sd.next = out.next
	if (out.change != nil) != (before != sd.m.state) {
		s.failf("%s went from %s to %s and reported %+v", sd.name, before, sd.m.state, out.change)
	}
	if out.change != nil {
		sd.since = s.now
		if out.change.to == Up {
			sd.ups++
		}
		if out.change.from == Up {
			sd.downs = append(sd.downs, *out.change)
		}
	}
	if next := sd.m.nextTx; out.send && !next.IsZero() && !next.After(s.now) {
		s.failf("%s wants to send again at once", sd.name)
	}
	if out.send {
		s.checkPacket(sd, out, fromRemote, allowed)
		s.fly(i, out.packet)
	}
}

// checkPacket checks what every single packet must obey.
func (s *sim) checkPacket(sd *side, out output, before remote, allowed time.Duration) {
	p := out.packet
	switch {
	case p.Poll && p.Final:
		s.failf("%s sent Poll and Final together", sd.name)
	case p.State != Up && p.DesiredMinTx < time.Second:
		s.failf("%s offers %s while %s", sd.name, p.DesiredMinTx, p.State)
	case p.State != sd.m.state, p.MyDiscriminator != sd.m.local:
		s.failf("%s sent %+v", sd.name, p)
	}
	if parsed, err := Parse(p.Append(nil)); err != nil || parsed != p {
		s.failf("%s sent %+v, which is read as %+v, %v", sd.name, p, parsed, err)
	}
	if p.Final {
		return
	}
	// The pace: three quarters of the interval, from packet to packet, and nothing at all if the
	// remote wants nothing. News may come early.
	if out.change == nil {
		now := sd.m.interval()
		if p.State == AdminDown { // this may have been the last farewell
			now = min(now, max(sd.m.tx, sd.m.remote.minRx))
		}
		least := time.Duration(0.75 * float64(min(allowed, now)))
		if gap := s.now.Sub(sd.paced); gap < least-time.Microsecond {
			s.failf("%s sent %s after the last packet, at least %s apart are allowed", sd.name, gap, least)
		}
		if before.minRx == 0 && sd.m.remote.minRx == 0 {
			s.failf("%s sent to a remote that wants nothing", sd.name)
		}
	}
	sd.paced = s.now
}

func (s *sim) fly(from int, p Packet) {
	sd := s.sides[from]
	if sd.wall {
		return
	}
	if sd.lost < sd.losses && s.random.IntN(2) == 0 {
		sd.lost++
		return
	}
	sd.lost = 0
	d := sd.delay
	if sd.variation > 0 {
		d += time.Duration(s.random.Int64N(int64(sd.variation)))
	}
	at := s.now.Add(d)
	if !sd.reorder {
		at = latest(at, sd.lastArrival)
	}
	sd.lastArrival = latest(at, sd.lastArrival)
	s.flying = append(s.flying, flying{at: at, to: 1 - from, packet: p})
}

// checkTogether: one side is not Up for long while the other is down. It hears of it, or hears nothing
// for its detection time.
func (s *sim) checkTogether() {
	for i, sd := range s.sides {
		other := s.sides[1-i]
		if sd.m.state != Up || other.m.state > Down {
			continue
		}
		bound := other.delay + other.variation + time.Duration(maxMultiplier)*maxSimInterval
		if since := s.now.Sub(latest(sd.since, other.since)); since > bound {
			s.failf("%s is up for %s after %s went %s", sd.name, since, other.name, other.m.state)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
