package bfd

import "time"

// machine is one session as RFC 5880 describes it, without clock, sockets and goroutines: each event
// comes with its time and gives an [output]. The caller sends the packet, reports the transition and
// calls due at the given time. Times must not go backwards.
type machine struct {
	random func() float64 // in [0, 1), for jitter
	local  uint32         // bfd.LocalDiscr
	want   timers

	state  State
	diag   Diag
	remote remote
	heard  time.Time // the last accepted packet; zero while nothing is known of the remote

	// tx and rx are the intervals in force, which differ from the wanted ones while the remote has not
	// confirmed a change, see timers.go.
	tx, rx    time.Duration
	poll      pollState
	polled    bool          // the present poll sequence has sent a packet
	sent      time.Time     // the last packet that was not only an answer to a poll
	paced     time.Duration // what nextTx was computed with
	nextTx    time.Time     // zero: nothing is sent periodically
	farewells int           // AdminDown packets that are still owed at the old interval
}

// remote is what the last packet said.
type remote struct {
	discriminator uint32
	state         State
	diag          Diag
	multiplier    uint8
	minTx, minRx  time.Duration
	demand        bool
}

// unheard are the initial values of RFC 5880 section 6.8.1.
var unheard = remote{state: Down, minRx: time.Microsecond}

// output is what an event leads to.
type output struct {
	// packet is to be sent at once if send is set.
	packet Packet
	send   bool
	// next is when due must be called; zero if only other events matter.
	next time.Time
	// change is nil if the state stayed.
	change *transition
	// drop is why a received packet had no effect on the session.
	drop Reason
}

// transition is a change of state and what led to it.
type transition struct {
	from, to    State
	diag        Diag
	remoteState State
	remoteDiag  Diag
	detection   time.Duration // the detection time in force
}

// farewells is how many AdminDown packets go out at the old interval if the remote does not confirm:
// were there one, its loss would make a planned end look like a failure.
const farewells = 3

// newMachine starts a session in state Down. Its first packet is due at once.
func newMachine(now time.Time, local uint32, want timers, random func() float64) *machine {
	m := &machine{random: random, local: local, want: want, state: Down, remote: unheard, nextTx: now}
	m.settle()
	m.paced = m.interval()
	return m
}

// receive takes a packet that Parse accepted and that belongs to the session: section 6.8.6 from the
// point where the session is selected.
func (m *machine) receive(now time.Time, p Packet) output {
	m.remote = remote{
		discriminator: p.MyDiscriminator, state: p.State, diag: p.Diag, multiplier: p.Multiplier,
		minTx: p.DesiredMinTx, minRx: p.RequiredMinRx, demand: p.Demand,
	}
	m.heard = now
	if m.state == AdminDown {
		if p.State <= Down {
			m.farewells = 0
		}
		out := m.output(now, nil, false)
		out.drop = WhileAdminDown
		return out
	}
	if p.Final {
		m.finishPoll()
	}
	var change *transition
	switch to := m.state.after(p.State); to {
	case m.state:
	case Down:
		change = m.enter(Down, NeighborSignaledDown)
	default:
		change = m.enter(to, m.diag)
	}
	return m.output(now, change, p.Poll)
}

// after is the state machine of section 6.2, for a packet with the remote's state.
func (s State) after(remote State) State {
	switch {
	case remote == AdminDown:
		return Down
	case s == Down && remote == Down:
		return Init
	case s == Down && remote == Init, s == Init && remote >= Init:
		return Up
	case s == Up && remote == Down:
		return Down
	}
	return s
}

// due is called when the time of the last output has come; earlier calls do no harm.
func (m *machine) due(now time.Time) output {
	var change *transition
	if m.expired(now) {
		silence := m.detection()
		m.remote, m.heard, m.farewells = unheard, time.Time{}, 0
		if m.state == Init || m.state == Up {
			change = m.enter(Down, DetectionTimeExpired)
			change.detection = silence
		}
	}
	return m.output(now, change, false)
}

// expired says whether the detection time has passed without a packet, section 6.8.4.
func (m *machine) expired(now time.Time) bool {
	return !m.heard.IsZero() && !now.Before(m.heard.Add(m.detection()))
}

// setTimers changes the wanted timers.
func (m *machine) setTimers(now time.Time, want timers) output {
	if want != m.want {
		m.want = want
		m.settle()
		if m.state == Up {
			m.startPoll()
		}
	}
	return m.output(now, nil, false)
}

// setAdminDown takes the session out of service or back into it, section 6.8.16.
func (m *machine) setAdminDown(now time.Time, down bool) output {
	var change *transition
	switch {
	case down == (m.state == AdminDown):
	case down:
		m.farewells = 1
		if m.remote.state >= Init {
			m.farewells = farewells
		}
		change = m.enter(AdminDown, AdministrativelyDown)
	default:
		m.farewells = 0
		change = m.enter(Down, NoDiagnostic)
	}
	return m.output(now, change, false)
}

// pathLost says that the way to the remote is known to be broken.
func (m *machine) pathLost(now time.Time) output {
	var change *transition
	if m.state == Init || m.state == Up {
		change = m.enter(Down, PathDown)
	}
	return m.output(now, change, false)
}

func (m *machine) enter(to State, diag Diag) *transition {
	if to == Up {
		diag = NoDiagnostic
	}
	change := &transition{
		from: m.state, to: to, diag: diag,
		remoteState: m.remote.state, remoteDiag: m.remote.diag, detection: m.detection(),
	}
	m.state, m.diag = to, diag
	before := m.tx
	m.settle()
	if to == Up && before != m.desiredTx() {
		m.startPoll()
	}
	return change
}

// output decides whether a packet goes out now: an answer to a poll does at once and leaves the pace as
// it is, a new state does at once, and otherwise the pace decides (section 6.8.7).
func (m *machine) output(now time.Time, change *transition, final bool) output {
	m.pace()
	periodic := !m.nextTx.IsZero() && !now.Before(m.nextTx)
	out := output{send: final || change != nil || periodic, change: change}
	if out.send {
		// Never both bits, section 6.5: our own poll waits for the next packet.
		out.packet = m.packet(final)
		m.polled = m.polled || out.packet.Poll
	}
	if change != nil || periodic {
		m.sent = now
		m.farewells = max(m.farewells-1, 0)
		m.paced = unpaced
		m.pace()
	}
	out.next = m.nextTx
	if !m.heard.IsZero() {
		if detect := m.heard.Add(m.detection()); out.next.IsZero() || detect.Before(out.next) {
			out.next = detect
		}
	}
	return out
}

func (m *machine) packet(final bool) Packet {
	return Packet{
		Diag: m.diag, State: m.state, Final: final, Poll: m.poll != noPoll && !final,
		Multiplier: m.want.multiplier, MyDiscriminator: m.local, YourDiscriminator: m.remote.discriminator,
		DesiredMinTx: m.desiredTx(), RequiredMinRx: m.want.minRx,
	}
}
