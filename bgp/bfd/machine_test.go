package bfd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

// longest is the random source that gives no jitter but rounding.
func longest() float64 { return 1 }

var fast = timers{minTx: 50 * ms, minRx: 60 * ms, multiplier: 3}

// from is a packet of a remote that wants 100 ms × 3.
func from(state State, edits ...func(*Packet)) Packet {
	p := Packet{State: state, Multiplier: 3, MyDiscriminator: 9, DesiredMinTx: time.Second, RequiredMinRx: 100 * ms}
	if state == Up {
		p.DesiredMinTx = 100 * ms
	}
	if state >= Init {
		p.YourDiscriminator = 7
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func poll(p *Packet)  { p.Poll = true }
func final(p *Packet) { p.Final = true }

// upMachine is up since 0 and has finished its poll sequence.
func upMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(epoch, 7, fast, longest)
	m.due(epoch)
	m.receive(epoch, from(Down))
	m.receive(epoch, from(Up))
	if out := m.receive(epoch, from(Up, final)); m.state != Up || m.poll != noPoll || out.send {
		t.Fatalf("machine is %s, poll %d, output %+v", m.state, m.poll, out)
	}
	return m
}

func TestStateTable(t *testing.T) {
	// Section 6.2: from our state (rows) and the remote's, in the order AdminDown, Down, Init, Up.
	want := map[State][4]State{
		Down: {Down, Init, Up, Down},
		Init: {Down, Init, Up, Up},
		Up:   {Down, Down, Up, Up},
	}
	for s, row := range want {
		for remote, to := range row {
			if got := s.after(State(remote)); got != to {
				t.Errorf("%s and remote %s give %s, want %s", s, State(remote), got, to)
			}
		}
	}
}

func TestHandshake(t *testing.T) {
	m := newMachine(epoch, 7, fast, longest)
	check := func(what string, out output, state State, want Packet) {
		t.Helper()
		if m.state != state || !out.send {
			t.Fatalf("%s: state %s, want %s; sent %t", what, m.state, state, out.send)
		}
		want.State, want.Multiplier, want.MyDiscriminator, want.RequiredMinRx = state, 3, 7, 60*ms
		if diff := cmp.Diff(want, out.packet); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("start", m.due(epoch), Down, Packet{DesiredMinTx: time.Second})
	check("remote down", m.receive(at(ms), from(Down)), Init, Packet{DesiredMinTx: time.Second, YourDiscriminator: 9})
	out := m.receive(at(2*ms), from(Init))
	// Fast at once, and the poll sequence begins with the news.
	check("remote init", out, Up, Packet{DesiredMinTx: 50 * ms, YourDiscriminator: 9, Poll: true})
	if want := at(102 * ms); !out.next.Equal(want) {
		t.Errorf("next packet at %s, want %s", out.next, want)
	}
	check("remote polls", m.receive(at(3*ms), from(Up, poll)), Up, Packet{DesiredMinTx: 50 * ms, YourDiscriminator: 9, Final: true})
	check("no final yet", m.due(at(102*ms)), Up, Packet{DesiredMinTx: 50 * ms, YourDiscriminator: 9, Poll: true})
	if out := m.receive(at(103*ms), from(Up, final)); out.send {
		t.Errorf("a final was answered by %+v", out.packet)
	}
	check("poll is over", m.due(at(202*ms)), Up, Packet{DesiredMinTx: 50 * ms, YourDiscriminator: 9})
}

func TestLeavingUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		event func(m *machine) output
		want  transition
		your  uint32 // in the packet that goes out
	}{
		{"silence", func(m *machine) output { return m.due(at(300 * ms)) },
			transition{to: Down, diag: DetectionTimeExpired, remoteState: Down, detection: 300 * ms}, 0},
		{"remote down", func(m *machine) output {
			return m.receive(at(ms), from(Down, func(p *Packet) { p.Diag = DetectionTimeExpired }))
		}, transition{to: Down, diag: NeighborSignaledDown, remoteState: Down, remoteDiag: DetectionTimeExpired, detection: 3 * time.Second}, 9},
		{"remote AdminDown", func(m *machine) output {
			return m.receive(at(ms), from(AdminDown, func(p *Packet) { p.Diag = AdministrativelyDown }))
		}, transition{to: Down, diag: NeighborSignaledDown, remoteState: AdminDown, remoteDiag: AdministrativelyDown, detection: 3 * time.Second}, 9},
		{"path lost", func(m *machine) output { return m.pathLost(at(ms)) },
			transition{to: Down, diag: PathDown, remoteState: Up, detection: 300 * ms}, 9},
		{"AdminDown", func(m *machine) output { return m.setAdminDown(at(ms), true) },
			transition{to: AdminDown, diag: AdministrativelyDown, remoteState: Up, detection: 300 * ms}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := upMachine(t)
			out := c.event(m)
			if out.change == nil || !out.send {
				t.Fatalf("output %+v, want a change and a packet", out)
			}
			c.want.from = Up
			if diff := cmp.Diff(c.want, *out.change, cmp.AllowUnexported(transition{})); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
			p := out.packet
			if p.State != c.want.to || p.Diag != c.want.diag || p.YourDiscriminator != c.your || p.DesiredMinTx != time.Second || p.Poll {
				t.Errorf("packet %+v", p)
			}
		})
	}
}

func TestDetectionIsExact(t *testing.T) {
	m := upMachine(t)
	if out := m.due(at(300*ms - 1)); out.change != nil {
		t.Errorf("down 1 ns early: %+v", out.change)
	}
	m.receive(at(300*ms-1), from(Up))
	if out := m.due(at(599 * ms)); out.change != nil {
		t.Errorf("down although a packet came: %+v", out.change)
	}
	if out := m.due(at(600 * ms)); out.change == nil {
		t.Error("still up after the detection time")
	}
}

// A remote that is not heard for a detection time is forgotten also while the session is down, so that
// packets do not name a discriminator of its former life.
func TestForgetsRemoteWhenDown(t *testing.T) {
	m := newMachine(epoch, 7, fast, longest)
	m.receive(epoch, from(AdminDown, func(p *Packet) { p.RequiredMinRx = 0 }))
	if out := m.due(at(ms)); out.send || !out.next.Equal(at(3*time.Second)) {
		t.Fatalf("a remote that wants no packets gets %+v", out)
	}
	out := m.due(at(3 * time.Second))
	if !out.send || out.packet.YourDiscriminator != 0 || out.change != nil || m.remote != unheard {
		t.Errorf("after the detection time: %+v, remote %+v", out, m.remote)
	}
}

func TestRemoteWantsNoPackets(t *testing.T) {
	m := upMachine(t)
	mute := func(p *Packet) { p.RequiredMinRx = 0 }
	if out := m.receive(at(100*ms), from(Up, mute)); out.send || !out.next.Equal(at(400*ms)) {
		t.Errorf("output %+v, want only the detection time", out)
	}
	if out := m.receive(at(110*ms), from(Up, mute, poll)); !out.send || !out.packet.Final {
		t.Errorf("a poll is not answered: %+v", out)
	}
	if out := m.receive(at(200*ms), from(Up)); !out.send {
		t.Errorf("packets are wanted again, and are overdue: %+v", out)
	}
}

func TestRemoteInDemandMode(t *testing.T) {
	m := upMachine(t)
	demand := func(p *Packet) { p.Demand = true }
	if out := m.receive(at(50*ms), from(Up, demand)); out.send || !out.next.Equal(at(350*ms)) {
		t.Errorf("output %+v, want only the detection time", out)
	}
	// A change is still told, by polls.
	out := m.setTimers(at(60*ms), timers{50 * ms, 200 * ms, 3})
	if out.send || !out.next.Equal(at(100*ms)) {
		t.Errorf("output %+v, want the poll 100 ms after the last packet", out)
	}
	if out := m.due(at(100 * ms)); !out.packet.Poll {
		t.Errorf("output %+v, want a poll", out)
	}
}

func TestTimersRenegotiated(t *testing.T) {
	slower, faster := timers{500 * ms, 600 * ms, 3}, timers{20 * ms, 30 * ms, 3}
	quick := func(p *Packet) { p.RequiredMinRx, p.DesiredMinTx = 10*ms, 10*ms }
	for _, c := range []struct {
		name                      string
		want                      timers
		before, after             time.Duration // transmit interval around the Final
		detectBefore, detectAfter time.Duration
	}{
		{"slower", slower, 50 * ms, 500 * ms, 1800 * ms, 1800 * ms},
		{"faster", faster, 20 * ms, 20 * ms, 180 * ms, 90 * ms},
		{"multiplier", timers{50 * ms, 60 * ms, 5}, 50 * ms, 50 * ms, 180 * ms, 180 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := upMachine(t)
			m.receive(epoch, from(Up, quick))
			check := func(when string, tx, detect time.Duration) {
				t.Helper()
				if m.interval() != tx || m.detection() != detect {
					t.Errorf("%s: interval %s, detection %s; want %s, %s", when, m.interval(), m.detection(), tx, detect)
				}
			}
			m.setTimers(epoch, c.want)
			check("announced", c.before, c.detectBefore)
			m.receive(epoch, from(Up, quick, final)) // of an older sequence: ours has sent nothing yet
			check("stale final", c.before, c.detectBefore)
			out := m.due(at(c.before))
			if p := out.packet; !p.Poll || p.DesiredMinTx != c.want.minTx || p.RequiredMinRx != c.want.minRx || p.Multiplier != c.want.multiplier {
				t.Errorf("packet %+v", p)
			}
			check("polled", c.before, c.detectBefore)
			m.receive(at(c.before), from(Up, quick, final))
			check("final", c.after, c.detectAfter)
			if out := m.due(at(c.before + c.after)); !out.send || out.packet.Poll {
				t.Errorf("after the sequence: %+v", out)
			}
		})
	}
}

// A change during a poll sequence comes into force with a sequence of its own.
func TestTimersChangedTwice(t *testing.T) {
	m := upMachine(t)
	m.setTimers(epoch, timers{500 * ms, 60 * ms, 3})
	m.due(at(100 * ms))
	m.setTimers(at(101*ms), timers{800 * ms, 60 * ms, 3})
	m.receive(at(102*ms), from(Up, final))
	if m.interval() != 100*ms {
		t.Fatalf("interval %s after the first final, want the old one", m.interval())
	}
	if out := m.due(at(200 * ms)); !out.packet.Poll {
		t.Fatalf("no second sequence: %+v", out)
	}
	m.receive(at(201*ms), from(Up, final))
	if m.interval() != 800*ms {
		t.Errorf("interval %s, want 800ms", m.interval())
	}
}

// The remote asks for less: the next packet comes at the new interval after the last one, or at once.
func TestRemoteReducesMinRx(t *testing.T) {
	m := upMachine(t)
	quick := func(p *Packet) { p.RequiredMinRx = 10 * ms }
	if out := m.receive(at(20*ms), from(Up, quick)); out.send || !out.next.Equal(at(50*ms)) {
		t.Errorf("output %+v, want the next packet 50 ms after the last one", out)
	}
	m = upMachine(t)
	if out := m.receive(at(70*ms), from(Up, quick)); !out.send {
		t.Errorf("output %+v, want a packet at once", out)
	}
}

// AdminDown is repeated at the old pace until the remote has left Up, so that the loss of one packet
// does not turn a planned end into a failure.
func TestFarewell(t *testing.T) {
	m := upMachine(t)
	m.setAdminDown(epoch, true)
	for _, when := range []time.Duration{100 * ms, 200 * ms} {
		if out := m.due(at(when)); !out.send || out.packet.State != AdminDown {
			t.Errorf("at %s: %+v", when, out)
		}
	}
	if out := m.due(at(300 * ms)); out.send || m.farewells != 0 {
		t.Errorf("a fourth packet at the old pace: %+v", out)
	}

	m = upMachine(t)
	m.setAdminDown(epoch, true)
	if out := m.receive(at(ms), from(Down)); out.drop != WhileAdminDown || m.farewells != 0 || out.next.Before(at(time.Second)) {
		t.Errorf("confirmed farewell: %+v", out)
	}
	out := m.setAdminDown(at(10*ms), false)
	if m.state != Down || !out.send || out.packet.DesiredMinTx != time.Second {
		t.Errorf("back in service: %s, %+v", m.state, out)
	}
}

func TestJitter(t *testing.T) {
	for _, c := range []struct {
		multiplier uint8
		random     float64
		want       time.Duration
	}{{3, 0, 75 * ms}, {3, 1, 100 * ms}, {1, 0, 75 * ms}, {1, 1, 90 * ms}} {
		m := &machine{want: timers{multiplier: c.multiplier}, random: func() float64 { return c.random }}
		if got := m.jitter(100 * ms).Round(time.Microsecond); got != c.want {
			t.Errorf("multiplier %d, random %g: %s, want %s", c.multiplier, c.random, got, c.want)
		}
	}
}
