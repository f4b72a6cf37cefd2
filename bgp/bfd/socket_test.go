package bfd_test

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/test/fixture"
)

// Sessions of all kinds at once share a socket per family and port, and know their packets.
func TestSessionsShareSockets(t *testing.T) {
	t.Parallel()
	l := newLab(t, path{})
	ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
	kinds := []path{
		{name: "a", router: "10.1.1.1", local: "10.1.1.2"},
		{name: "b", router: "fd00:1::1", local: "fd00:1::2"},
		{name: "c", router: "fe80::1", local: "fe80::2", device: "eth0"},
		{name: "d", router: "10.1.1.1", local: "10.1.1.2", multihop: true, minTTL: 255},
	}
	var want, mirrored []bfd.Session
	for _, p := range kinds {
		s, m := p.session(interval), p.mirror().session(interval)
		s.Name, m.Name = p.name, p.name
		s.Multiplier, m.Multiplier = 50, 50
		want, mirrored = append(want, s), append(mirrored, m)
	}
	for i := range mirrored {
		if !mirrored[i].Peer.IsLinkLocalUnicast() {
			mirrored[i].Interface = ""
		}
	}
	ours.sync(want...)
	theirs.sync(mirrored...)
	allUp := func() []bfd.SessionState {
		t.Helper()
		var states []bfd.SessionState
		fixture.Wait(t, 20*time.Second, "all sessions", func() error {
			states = ours.states()
			for _, s := range states {
				if s.State != bfd.Up {
					return &bfd.SessionError{Name: s.Name, Err: net.UnknownNetworkError(s.DownReason)}
				}
			}
			return nil
		})
		return states
	}
	before := allUp()
	listening := func() []string {
		var ports []string
		for line := range strings.Lines(l.lb.Run(t, "ss", "-Hlun")) {
			ports = append(ports, strings.Fields(line)[3])
		}
		return ports
	}
	if got := listening(); len(got) != 3 {
		t.Errorf("listening on %v, want IPv4 3784 and 4784, and IPv6 3784", got)
	}

	// One that clashes is named with the other; the rest goes on, and so does what stays.
	clash := want[0]
	clash.Name, clash.Local = "e", netip.MustParseAddr("10.1.1.2")
	err := ours.try("Sync", []bfd.Session{want[0], want[1], want[2], clash})
	if err == nil || !strings.Contains(err.Error(), `"e"`) || !strings.Contains(err.Error(), `session "a"`) {
		t.Errorf("the clash is reported as %v", err)
	}
	after := ours.states()
	if len(after) != 4 || after[3].Name != "e" || !strings.Contains(after[3].DownReason, "remove one") {
		t.Fatalf("states %+v", after)
	}
	for i := range 3 {
		if !after[i].Since.Equal(before[i].Since) || after[i].Discriminator != before[i].Discriminator {
			t.Errorf("session %s was disturbed: %+v, before %+v", after[i].Name, after[i], before[i])
		}
	}
	if got := listening(); len(got) != 2 {
		t.Errorf("listening on %v, want no multihop port", got)
	}

	// A new name, another local address and a wrong value at once.
	want[0].Name = "f"
	l.lb.AddAddr(t, "eth0", "fd00:1::8/64")
	want[1].Local = netip.MustParseAddr("fd00:1::8")
	want[2].MinTx = time.Millisecond
	err = ours.try("Sync", want[:3])
	if err == nil || !strings.Contains(err.Error(), `"c"`) || !strings.Contains(err.Error(), "1ms") {
		t.Errorf("the wrong interval is reported as %v", err)
	}
	after = ours.states()
	if after[0].Local.String() != "fd00:1::8" || after[0].Discriminator == before[1].Discriminator {
		t.Errorf("another local address is not another session: %+v", after[0])
	}
	if after[1].Name != "c" || after[1].State != bfd.Up || !after[1].Since.Equal(before[2].Since) {
		t.Errorf("a wrong new value ended the session: %+v", after[1])
	}
	if after[2].Name != "f" {
		t.Errorf("the session has not got its new name: %+v", after[2])
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t, path{})
	var other *net.UDPConn
	if err := l.lb.Do(func() (err error) {
		other, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 3784})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	proc := startProcess(t, l.lb)
	a, b := paths[0].session(interval), paths[1].session(interval)
	a.Name, b.Name = "a", "b"
	err := proc.try("Sync", []bfd.Session{a, b})
	if err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), "UDP port 3784 is taken") || strings.Contains(err.Error(), `"b"`) {
		t.Errorf("error %v", err)
	}
	if s := proc.states(); len(s) != 2 || s[0].State != bfd.Down || !strings.Contains(s[0].DownReason, "port 3784") {
		t.Errorf("states %+v", s)
	}
	other.Close()
	// A child of another test may hold the socket until it has become another program.
	fixture.Wait(t, 5*time.Second, "the port to be free", func() error { return proc.try("Sync", []bfd.Session{a, b}) })
	if s := proc.states(); len(s) != 2 || strings.Contains(s[0].DownReason, "port 3784") {
		t.Errorf("states %+v", s)
	}
}

// FRR's own BFD on our host has all ports, until it is stopped.
func TestPortsOfBFDD(t *testing.T) {
	t.Parallel()
	l := newLab(t, path{})
	r := fixture.StartFRR(t, l.lb, "", "bfdd")
	proc := startProcess(t, l.lb)
	var want []bfd.Session
	for _, p := range []path{
		paths[0], paths[1],
		{name: "multihop IPv4", router: "10.1.1.1", multihop: true},
		{name: "multihop IPv6", router: "fd00:1::1", multihop: true},
	} {
		s := p.session(interval)
		s.Name = p.name
		want = append(want, s)
	}
	err := proc.try("Sync", want)
	for _, s := range want {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("BFD session %q: UDP port", s.Name)) {
			t.Errorf("error %v does not name %s", err, s.Name)
		}
	}
	r.Stop(t)
	fixture.Wait(t, 5*time.Second, "the ports to be free", func() error { return proc.try("Sync", want) })
}

// Nothing needs a capability, not even binding to an interface.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	p := paths[2]
	l := newLab(t, p)
	ours := startProcess(t, l.lb, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
	theirs := startProcess(t, l.tor)
	ours.sync(p.session(interval))
	theirs.sync(p.mirror().session(interval))
	ours.waitUp()
	if status := l.lb.Run(t, "grep", "CapEff", "/proc/"+strconv.Itoa(ours.proc.Pid())+"/status"); !strings.Contains(status, "0000000000000000") {
		t.Errorf("the process has capabilities: %s", status)
	}
}

// The kernel refuses to send when the interface is down or gone, which is noticed before the detection
// time is over. The session comes back with the interface, also with another one of its name.
func TestInterfaceLost(t *testing.T) {
	t.Parallel()
	for _, p := range []path{{name: "IPv4", router: "10.1.1.1", local: "10.1.1.2", device: "eth0"}, paths[0], paths[1], paths[2]} {
		t.Run(p.name+" "+p.device, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, p)
			ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
			slow := func(s bfd.Session) bfd.Session {
				s.Multiplier = 50
				return s
			}
			ours.sync(slow(p.session(interval)))
			mirror := p.mirror()
			if p.device == "" {
				mirror.device = ""
			}
			theirs.sync(slow(mirror.session(interval)))
			theirs.waitUp()
			ours.waitUp()
			began := time.Now()
			l.lb.Run(t, "ip", "link", "del", "eth0")
			c := ours.waitChange(began, "the loss", func(c bfd.Change) bool { return c.From == bfd.Up })
			t.Logf("loss noticed after %s", c.Time.Sub(began).Round(time.Millisecond))
			if c.Diag != bfd.PathDown || !c.Failed || c.Time.Sub(began) > slack*interval {
				t.Errorf("reported as %+v", c)
			}
			fixture.Link(t, l.tor, "lb", l.lb, "eth0", fixture.LinkOptions{
				AddrsA: []string{"10.1.1.1/24", "fd00:1::1/64", "fe80::1/64"}, AddrsB: []string{"10.1.1.2/24", "fd00:1::2/64", "fe80::2/64"},
			})
			ours.waitUp()
			if theirs.waitUp(); ours.state().Failed {
				t.Errorf("state %+v", ours.state())
			}
		})
	}
}

// A process that does not get to run finds the detection time over when it does, and the peer's packets
// in its socket: those are read before anything is concluded.
func TestReadsBeforeItConcludes(t *testing.T) {
	t.Parallel()
	p := paths[0]
	l := newLab(t, p)
	ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
	want := p.session(interval)
	want.Multiplier = 200 // theirs is patient
	ours.sync(want)
	theirs.sync(p.mirror().session(interval))
	ours.wait("the timers", func(s bfd.SessionState) bool { return s.State == bfd.Up && s.DetectionTime == 3*interval })
	theirs.waitUp()
	for range 3 {
		if err := ours.proc.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		before := theirs.state()
		theirs.wait("packets to a frozen process", func(s bfd.SessionState) bool { return s.Sent > before.Sent+4 })
		if err := ours.proc.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		received := ours.state().Received
		if now := ours.wait("packets", func(s bfd.SessionState) bool { return s.Received > received }); len(now.Downs) != 0 {
			t.Fatalf("after a pause the session is %+v", now)
		}
	}
}

// On an interface without a route the kernel offers an address of another one, with which the peer
// does not know us. The right one is taken when it is there.
func TestAddressComesLater(t *testing.T) {
	t.Parallel()
	p := paths[0]
	p.device = "eth0"
	l := newLab(t, p)
	l.lb.Run(t, "ip", "addr", "del", "10.1.1.2/24", "dev", "eth0")
	ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
	if err := ours.try("Sync", []bfd.Session{p.session(interval)}); err == nil || !strings.Contains(err.Error(), "the interface has no address") {
		t.Errorf("error %v", err)
	}
	l.lb.AddAddr(t, "lo", "10.9.9.9/32")
	ours.sync(p.session(interval))
	if s := ours.state(); s.Local.String() != "10.9.9.9" {
		t.Errorf("state %+v, want the other address", s)
	}
	theirs.sync(p.mirror().session(interval))
	ours.wait("a packet", func(s bfd.SessionState) bool { return s.Sent > 0 })
	l.lb.AddAddr(t, "eth0", "10.1.1.2/24")
	ours.waitUp()
	theirs.waitUp()
}

// 3×50 ms on a machine whose cores are all busy. Not parallel, so that little else disturbs. If the
// kernel kept even a sleeping goroutine of ours waiting for long, then the machine was busier than this
// test means, by the tests of other packages, and it tries again.
func TestBusyCores(t *testing.T) {
	p := paths[0]
	l := newLab(t, p)
	const fast = 50 * time.Millisecond
	proc, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
	proc.sync(p.session(fast))
	theirs.sync(p.mirror().session(fast))
	proc.wait("fast timers", func(s bfd.SessionState) bool { return s.DetectionTime == 3*fast && s.TxInterval == fast })
	for range 4 {
		l.lb.Start(t, "sh", "-c", "while :; do :; done")
	}
	for range 5 {
		before := proc.waitUp()
		latest := watchSleep(t)
		after := proc.wait("two seconds of packets", func(s bfd.SessionState) bool { return s.Received > before.Received+40 })
		t.Logf("sent %d, received %d", after.Sent-before.Sent, after.Received-before.Received)
		late := latest()
		if after.Since.Equal(before.Since) && after.State == bfd.Up {
			return
		}
		t.Logf("the session did not bear it: %+v; sleep was up to %s late", after, late)
		if late < fast/2 {
			t.Fatal("although the machine was quick enough")
		}
	}
	t.Skip("other work kept the machine too busy to tell")
}

// watchSleep sleeps again and again until its result is called, which returns how late it woke at worst.
func watchSleep(t *testing.T) func() time.Duration {
	t.Helper()
	const nap = 10 * time.Millisecond
	quit, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		ticker := time.NewTimer(nap)
		defer ticker.Stop()
		var late time.Duration
		for began := time.Now(); ; began = time.Now() {
			select {
			case <-ticker.C:
				late = max(late, time.Since(began)-nap)
				ticker.Reset(nap)
			case <-quit:
				worst <- late
				return
			}
		}
	}()
	return func() time.Duration {
		close(quit)
		return <-worst
	}
}
