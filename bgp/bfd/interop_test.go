package bfd_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp/bfd"
)

const (
	interval  = 200 * time.Millisecond
	detection = 3 * interval
	// slack is for a busy machine.
	slack = 10
)

func TestInterop(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name  string
		start func(t *testing.T, l *lab, p path, interval time.Duration) router
		ttl   uint8 // of its multihop packets
	}{{"FRR", startFRR, 255}, {"BIRD", startBIRD, 64}} {
		for _, p := range paths {
			if p.multihop {
				p.minTTL = kind.ttl - 1 // one hop
			}
			t.Run(kind.name+" "+p.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, p)
				i := &interop{t: t, lab: l, path: p, router: kind.start(t, l, p, interval), proc: startProcess(t, l.lb)}
				i.comesUp()
				i.changesTimers()
				i.detectsFreeze()
				i.detectsLoss()
				i.saysAdminDown()
				i.survivesRestart()
				i.vanishes()
			})
		}
	}
}

// interop is a session with a router. Its steps begin and end with the session up.
type interop struct {
	t      *testing.T
	lab    *lab
	path   path
	router router
	proc   *process
}

func (i *interop) waitUp() bfd.SessionState {
	i.t.Helper()
	state := i.proc.waitUp()
	waitRouter(i.t, i.router, "up")
	return state
}

func (i *interop) comesUp() {
	i.t.Helper()
	began := time.Now()
	i.proc.sync(i.path.session(interval))
	up := i.proc.waitChange(began, "the state up", func(c bfd.Change) bool { return c.To == bfd.Up })
	i.t.Logf("up after %s", up.Time.Sub(began).Round(time.Millisecond))
	state := i.waitUp()
	if state.Local.WithZone("").String() != i.path.local {
		i.t.Errorf("local address is %s, want %s", state.Local, i.path.local)
	}
	if state.Failed || len(state.Downs) != 0 || len(state.Dropped) != 0 {
		i.t.Errorf("a session that just came up is %+v", state)
	}
}

func (i *interop) waitTimers(tx, detect time.Duration) {
	i.t.Helper()
	i.proc.wait("new timers", func(s bfd.SessionState) bool {
		return s.State == bfd.Up && s.TxInterval == tx && s.DetectionTime == detect
	})
}

func (i *interop) changesTimers() {
	i.t.Helper()
	i.waitTimers(interval, detection)
	before := i.proc.changes()
	i.proc.sync(i.path.session(3 * interval))
	i.waitTimers(3*interval, 3*detection)
	i.proc.sync(i.path.session(interval))
	i.waitTimers(interval, detection)
	if f, ok := i.router.(frr); ok {
		f.configure(i.t, fmt.Sprintf("transmit-interval %d", 2*interval.Milliseconds()))
		i.waitTimers(interval, 2*detection)
		f.configure(i.t, fmt.Sprintf("transmit-interval %d", interval.Milliseconds()))
		i.waitTimers(interval, detection)
	}
	if after := i.proc.changes(); len(after) != len(before) {
		i.t.Errorf("new timers changed the state: %+v", after[len(before):])
	}
}

// detects waits for the failure that began at a time.
func (i *interop) detects(what string, began time.Time) {
	i.t.Helper()
	c := i.proc.waitChange(began, "the detection of "+what, func(c bfd.Change) bool { return c.From == bfd.Up })
	took := c.Time.Sub(began)
	i.t.Logf("%s detected after %s", what, took.Round(time.Millisecond))
	if c.To != bfd.Down || c.Diag != bfd.DetectionTimeExpired || !c.Failed || took > slack*detection {
		i.t.Errorf("%s was reported as %+v after %s", what, c, took)
	}
	if state := i.proc.state(); !state.Failed || state.DownReason != c.Reason || state.Downs[bfd.DetectionTimeExpired] == 0 {
		i.t.Errorf("after %s the state is %+v", what, state)
	}
}

func (i *interop) detectsFreeze() {
	i.t.Helper()
	began := time.Now()
	i.router.Signal(i.t, syscall.SIGSTOP)
	i.detects("a frozen router", began)
	i.router.Signal(i.t, syscall.SIGCONT)
	i.waitUp()
}

func (i *interop) detectsLoss() {
	i.t.Helper()
	began := time.Now()
	i.lab.cut(i.t)
	i.detects("a cut", began)
	waitRouter(i.t, i.router, "down")
	i.lab.heal(i.t)
	i.waitUp()
}

func (i *interop) saysAdminDown() {
	i.t.Helper()
	began := time.Now()
	want := i.path.session(interval)
	want.AdminDown = true
	i.proc.sync(want)
	waitRouter(i.t, i.router, "down")
	if _, diag, _ := i.router.session(); diag != "" && diag != "administratively down" {
		i.t.Errorf("the router was told %q", diag)
	}
	c := i.proc.waitChange(began, "the state adminDown", func(c bfd.Change) bool { return c.To == bfd.AdminDown })
	if c.Failed || i.proc.state().Failed {
		i.t.Errorf("our own AdminDown is a failure: %+v", c)
	}
	i.proc.sync(i.path.session(interval))
	i.waitUp()
}

func (i *interop) survivesRestart() {
	i.t.Helper()
	before := i.proc.state()
	i.router.Restart(i.t)
	state := i.proc.wait("the router's next life", func(s bfd.SessionState) bool {
		return s.State == bfd.Up && s.RemoteDiscriminator != before.RemoteDiscriminator
	})
	if state.Discriminator != before.Discriminator {
		i.t.Errorf("our discriminator changed from %d to %d", before.Discriminator, state.Discriminator)
	}
	waitRouter(i.t, i.router, "up")
}

// vanishes is the last step: the router finds out that we are gone.
func (i *interop) vanishes() {
	i.t.Helper()
	i.proc.crash()
	began := time.Now()
	waitRouter(i.t, i.router, "down")
	i.t.Logf("the router saw us vanish within %s", time.Since(began).Round(time.Millisecond))
}

// A peer that is taken out of service, or whose process ends in order, is no failure.
func TestPeerAdminDown(t *testing.T) {
	t.Parallel()
	p := paths[0]
	l := newLab(t, p)
	r := startFRR(t, l, p, interval).(frr)
	proc := startProcess(t, l.lb)
	proc.sync(p.session(interval))
	proc.waitUp()
	began := time.Now()
	r.configure(t, "shutdown")
	c := proc.waitChange(began, "the peer's AdminDown", func(c bfd.Change) bool { return c.From == bfd.Up })
	if c.To != bfd.Down || c.Diag != bfd.NeighborSignaledDown || c.RemoteState != bfd.AdminDown || c.Failed {
		t.Errorf("the peer's AdminDown was reported as %+v", c)
	}
	if s := proc.state(); s.Failed || s.DownReason != "the peer took the session out of service" {
		t.Errorf("state %+v", s)
	}
	r.configure(t, "no shutdown")
	proc.waitUp()
}

// Two of ours: the end that is stopped in order is no failure to the other, the silent one is.
func TestStopModes(t *testing.T) {
	t.Parallel()
	p := paths[1]
	for _, c := range []struct {
		mode   bfd.StopMode
		failed bool
	}{{bfd.StopAdminDown, false}, {bfd.StopSilent, true}} {
		t.Run(c.mode.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, p)
			ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
			ours.sync(p.session(interval))
			other := p.mirror()
			theirs.sync(other.session(interval))
			ours.waitUp()
			theirs.waitUp()
			began := time.Now()
			theirs.call("Stop", c.mode)
			t.Logf("Stop took %s", time.Since(began).Round(time.Millisecond))
			change := ours.waitChange(began, "the end", func(c bfd.Change) bool { return c.From == bfd.Up })
			if change.Failed != c.failed {
				t.Errorf("reported as %+v", change)
			}
			if err := theirs.try("Sync", []bfd.Session{other.session(interval)}); err == nil || err.Error() != bfd.ErrStopped.Error() {
				t.Errorf("Sync after Stop: %v", err)
			}
			theirs.call("End", Nothing(0))
			// A removed session is AdminDown first too, and the port is free afterwards.
			ours.sync()
			ours.call("End", Nothing(0))
			if out := l.lb.Run(t, "ss", "-Hlun"); out != "" {
				t.Errorf("sockets are left:\n%s", out)
			}
		})
	}
}
