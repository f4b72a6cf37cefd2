package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ledger"
	"github.com/penstock-lb/penstock/bgp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStart(t *testing.T) {
	run(t, "order", func(t *testing.T, l *lab) {
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		s := l.agent.Status()
		if s.State != api.Running || len(s.NotReady) > 0 || len(s.Degraded) > 0 || s.Datapath.Survived || l.restarting {
			t.Errorf("status %+v, restarting %v", s, l.restarting)
		}
		if got := l.sysctls["net/ipv4/conf/eth0/accept_local"]; got != "1" {
			t.Errorf("accept_local = %q, want 1", got)
		}
		if w := strings.Join(s.Warnings, "\n"); strings.Contains(w, "sysctl") { // the fake has none for IPv6
			t.Errorf("a setting of a family without a VIP is missed:\n%s", w)
		}
		if v := s.VIPs[0]; !v.Announced || v.Reason != desired.Announceable {
			t.Errorf("VIP %+v", v)
		}
		l.mu.Lock()
		l.session = bgp.Active
		l.mu.Unlock()
		s = l.agent.Status()
		if v := s.VIPs[0]; v.Announced || v.Reason != NoSession || !slices.Contains(s.NotReady, "no BGP session up: tor is active") {
			t.Errorf("without a session: VIP %+v, not ready: %v", v, s.NotReady)
		}
		l.stop()
		if d := l.agent.Status().State; d != api.Stopped || l.agent.Alive() == nil {
			t.Errorf("after the end: %s, alive", d)
		}
	})
	run(t, "nothing before the source has synced", func(t *testing.T, l *lab) {
		l.synced = false
		l.attached["eth0"] = true
		l.start()
		time.Sleep(5 * resync / 2)
		l.is("unsynced", "load")
		if s := l.agent.Status(); s.State != api.Starting || !slices.Contains(s.NotReady, "source not synced") {
			t.Errorf("status %+v", s)
		}
		l.change(objects("web", "192.0.2.1", true))
		l.is("synced", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "a data path that survived", func(t *testing.T, l *lab) {
		l.attached["eth0"] = true
		l.start()
		if !l.restarting || !l.agent.Status().Datapath.Survived {
			t.Error("routers are not told that forwarding went on")
		}
		l.stop()
	})
	run(t, "ports of the kernel's own", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv4/ip_local_port_range"] = "20000\t60999"
		l.start()
		if err := <-l.ended; err == nil || !strings.Contains(err.Error(), "nat.ports 1024-29999") {
			t.Errorf("got %v, want an error that names nat.ports", err)
		}
		l.is("start")
	})
	run(t, "a data path that does not load", func(t *testing.T, l *lab) {
		l.failing("load")
		l.start()
		if err := <-l.ended; !errors.Is(err, errInjected) {
			t.Errorf("got %v", err)
		}
	})
	run(t, "no default route", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Interfaces = nil
		l.start()
		l.is("without", "load", syncWeb, "speaker.Sync()")
		l.mu.Lock()
		l.defaults = []string{"eth0"}
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("with", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.mu.Lock()
		l.defaults = nil
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("default route away", syncWeb, "speaker.Sync(192.0.2.1)")
		l.stop()
	})
}

func TestRetryWithBackoff(t *testing.T) {
	run(t, "tables", func(t *testing.T, l *lab) {
		l.failing("tables.Sync")
		l.start()
		l.is("first", "load", syncWeb)
		for _, delay := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
			time.Sleep(delay - time.Millisecond)
			l.is(fmt.Sprintf("just before %s", delay))
			time.Sleep(time.Millisecond)
			l.is(fmt.Sprintf("after %s", delay), syncWeb)
		}
		if s := l.agent.Status(); s.State != api.Starting || !strings.Contains(s.Sync.Error, "injected") || s.Sync.Errors != 5 {
			t.Errorf("status %+v", s.Sync)
		}
		l.failing()
		l.hopsChanged <- struct{}{}
		l.is("mended", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		if s := l.agent.Status(); len(s.Degraded) > 0 || !s.Sync.NextAttempt.IsZero() {
			t.Errorf("degraded: %v, next attempt %s", s.Degraded, s.Sync.NextAttempt)
		}
		l.logged()
		time.Sleep(20 * time.Second)
		l.is("resync at 30 s", "tables.Sync()")
		l.stop()
	})
}

func TestProblemsAreLoggedOnce(t *testing.T) {
	run(t, "service", func(t *testing.T, l *lab) {
		l.refuse = func(string) error { return errors.New("no room") }
		l.start()
		want := "service=default/web:http/tcp/ipv4 err=\"no room\""
		if log := l.logged(); strings.Count(log, want) != 1 || !strings.Contains(log, "VIP not announced") {
			t.Errorf("first pass logged\n%s", log)
		}
		time.Sleep(10 * time.Second)
		if log := l.logged(); log != "" {
			t.Errorf("later passes logged\n%s", log)
		}
		s := l.agent.Status()
		if s.Services[0].Error != "no room" || s.VIPs[0].Reason != Refused || !strings.Contains(s.VIPs[0].Detail, "no room") {
			t.Errorf("services %+v, VIPs %+v", s.Services, s.VIPs)
		}
		l.mu.Lock()
		l.refuse = func(string) error { return nil }
		l.mu.Unlock()
		time.Sleep(ledger.LastRetry)
		if log := l.logged(); !strings.Contains(log, "problem solved") || !strings.Contains(log, "VIP announced") {
			t.Errorf("after it was mended\n%s", log)
		}
		l.stop()
	})
}

func TestAliveTellsAStuckPass(t *testing.T) {
	run(t, "stuck", func(t *testing.T, l *lab) {
		release := make(chan struct{})
		l.start()
		l.mu.Lock()
		l.block = release
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		time.Sleep(control.StuckAfter)
		if err := l.agent.Alive(); err != nil {
			t.Errorf("after a minute: %v", err)
		}
		time.Sleep(time.Second)
		if err := l.agent.Alive(); err == nil {
			t.Error("after more than a minute it counts as alive")
		}
		if s := l.agent.Status(); s.State != api.Running {
			t.Error("a stuck pass holds up readers")
		}
		l.mu.Lock()
		l.block = nil
		l.mu.Unlock()
		close(release)
		synctest.Wait()
		if err := l.agent.Alive(); err != nil {
			t.Errorf("after the pass: %v", err)
		}
		l.stop()
	})
}

func TestFlowsAreSwept(t *testing.T) {
	run(t, "sweep", func(t *testing.T, l *lab) {
		l.start()
		time.Sleep(2*resync + time.Second)
		synctest.Wait()
		l.mu.Lock()
		if l.swept != 2 {
			t.Errorf("swept %d times in a minute", l.swept)
		}
		l.mu.Unlock()
		l.stop()
	})
}

func TestStrictReversePathFilterIsWarnedAbout(t *testing.T) {
	run(t, "warnings", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv4/conf/all/rp_filter"] = "0"
		l.sysctls["net/ipv4/conf/eth0/rp_filter"] = "1"
		l.start()
		w := strings.Join(l.agent.Status().Warnings, "\n")
		if want := "net.ipv4.conf.eth0.rp_filter is strict"; !strings.Contains(w, want) {
			t.Errorf("%q is not among the warnings:\n%s", want, w)
		}
		l.stop()
	})
}
