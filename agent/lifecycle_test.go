package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

func TestProbeBeforeAnnouncing(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	run(t, "one VIP is not forwarded to, until it is", func(t *testing.T, l *lab) {
		l.dual()
		l.probes = map[netip.Addr]string{six: "drop_no_route"}
		l.start()
		l.is("start", "load", syncBoth, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		s := l.agent.Status()
		if v := s.VIPs[0]; !v.Announced {
			t.Errorf("the other VIP: %+v", v)
		}
		if v := s.VIPs[1]; v.Announced || v.Reason != ProbeFailed || v.Detail != "the loaded program answers a packet to [2001:db8::1]:80/tcp with drop_no_route" {
			t.Errorf("VIP %+v", v)
		}
		l.mu.Lock()
		delete(l.probes, six)
		l.mu.Unlock()
		time.Sleep(probeAgain)
		l.is("mended", "tables.Sync()", plain)
		l.mu.Lock()
		probed := l.probed
		l.mu.Unlock()
		time.Sleep(2 * resync)
		l.took()
		if l.probed != probed {
			t.Errorf("%d probes while nothing changed", l.probed-probed)
		}
		l.stop()
		if len(l.broken) > 0 {
			t.Error(l.broken)
		}
	})
	run(t, "tables that are written anew", func(t *testing.T, l *lab) {
		l.dual()
		l.start()
		l.took()
		l.mu.Lock()
		l.probes = map[netip.Addr]string{four: "drop_table or drop_source"}
		l.mu.Unlock()
		l.edit(func(ep *discoveryv1.Endpoint) { ep.Addresses = []string{"10.1.0.9"} })
		l.is("another endpoint", syncBoth, "speaker.Sync(2001:db8::1)")
		if v := l.agent.Status().VIPs[0]; v.Reason != ProbeFailed || !strings.Contains(v.Detail, "drop_table or drop_source") {
			t.Errorf("VIP %+v", v)
		}
		l.stop()
	})
	run(t, "a program that cannot be asked holds nothing back", func(t *testing.T, l *lab) {
		l.dual()
		l.failing("probe")
		l.start()
		l.vips("start", desired.Announceable, true, "")
		if log := l.logged(); !strings.Contains(log, "step=probe") {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
}

func TestDampedVIPs(t *testing.T) {
	flap := func(l *lab, ready bool) {
		l.edit(func(ep *discoveryv1.Endpoint) { ep.Conditions.Ready = &ready })
	}
	run(t, "held back, and back on time", func(t *testing.T, l *lab) {
		l.dual()
		l.cfg.BGP.Damping.Enabled = true
		l.start()
		began := time.Now()
		for n := range 3 {
			l.took()
			flap(l, false)
			if calls := l.took(); calls[0] != "speaker.Sync(2001:db8::1)" {
				t.Errorf("withdrawal %d waited: %q", n, calls)
			}
			flap(l, true)
			if v := l.agent.Status().VIPs[0]; v.Announced != (n < 2) {
				t.Errorf("after %d withdrawals: %+v", n+1, v)
			}
		}
		until := began.Add(4 * time.Minute) // two half-lives from 3000 to 750
		if v := l.agent.Status().VIPs[0]; v.Reason != Damped || v.Detail != "until "+until.UTC().Format(time.RFC3339)+", after it was withdrawn 3 times" {
			t.Errorf("VIP %+v, want until %s", v, until)
		}
		if v := l.agent.Status().VIPs[1]; !v.Announced {
			t.Errorf("another VIP: %+v", v)
		}
		time.Sleep(time.Until(until) - time.Second)
		if v := l.agent.Status().VIPs[0]; v.Announced {
			t.Errorf("a second early: %+v", v)
		}
		time.Sleep(2 * time.Second)
		l.vips("in time", desired.Announceable, true, "")
		l.stop()
	})
	run(t, "not what a drain does", func(t *testing.T, l *lab) {
		l.dual()
		l.cfg.BGP.Damping.Enabled = true
		l.start()
		for range 5 {
			next := l.snapshot
			next.Nodes = lbs(true)
			l.change(next)
			time.Sleep(2 * time.Second)
			next.Nodes = lbs(false)
			l.change(next)
		}
		l.vips("drained five times", desired.Announceable, true, "")
		l.stop()
	})
	run(t, "off by default, and switched off", func(t *testing.T, l *lab) {
		l.dual()
		l.start()
		for range 5 {
			flap(l, false)
			flap(l, true)
		}
		l.vips("off", desired.Announceable, true, "")
		on := *l.cfg
		on.BGP.Damping.Enabled = true
		l.configs.set(&on, nil)
		for range 5 {
			flap(l, false)
			flap(l, true)
		}
		if v := l.agent.Status().VIPs[0]; v.Reason != Damped {
			t.Errorf("on: %+v", v)
		}
		off := on
		off.BGP.Damping.Enabled = false
		l.configs.set(&off, nil)
		l.vips("off again", desired.Announceable, true, "")
		l.configs.set(&on, nil)
		flap(l, false)
		flap(l, true)
		l.vips("on again, of what was before nothing counts", desired.Announceable, true, "")
		l.stop()
	})
}

func TestWarmup(t *testing.T) {
	run(t, "after a start", func(t *testing.T, l *lab) {
		l.dual()
		l.cfg.BGP.Warmup = 10 * time.Second
		l.synced = false
		l.start()
		time.Sleep(45 * time.Second) // which is no warm-up: nothing is announced
		l.took()
		l.change(l.snapshot)
		l.is("start", syncBoth, "attach(eth0 auto)", "settle", last)
		l.vips("start", WarmingUp, true, "until ")
		l.edit(func(ep *discoveryv1.Endpoint) { ep.Addresses = []string{"10.1.0.9"} })
		l.is("an endpoint", syncBoth)
		time.Sleep(10 * time.Second)
		l.is("warm", syncBoth, plain)
		l.vips("warm", desired.Announceable, true, "")
		if s := l.agent.Status(); len(s.NotReady) > 0 {
			t.Errorf("not ready: %q", s.NotReady)
		}
		l.stop()
	})
	run(t, "the data path has forwarded on", func(t *testing.T, l *lab) {
		l.dual()
		l.cfg.BGP.Warmup = 10 * time.Second
		l.attached["eth0"] = true
		l.start()
		l.is("start", "load", syncBoth, "attach(eth0 auto)", "settle", plain)
		l.stop()
	})
}
