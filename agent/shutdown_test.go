package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/maps"
)

func TestShutdown(t *testing.T) {
	run(t, "drain waits for traffic to cease", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		stop := make(chan struct{})
		go func() { // traffic for 2 s
			defer close(stop)
			for range 20 {
				l.mu.Lock()
				l.traffic++
				l.mu.Unlock()
				time.Sleep(100 * time.Millisecond)
			}
		}()
		began := time.Now()
		l.signal()
		l.is("signal", syncWeb, "speaker.Sync(192.0.2.1~)")
		s := l.agent.Status()
		if v := s.VIPs[0]; s.State != api.Draining || v.Reason != Draining || !v.Announced || !slices.Contains(s.NotReady, "draining") {
			t.Errorf("status %+v", s)
		}
		second := *l.snapshot.Slices[0].Endpoints[0].DeepCopy()
		second.Addresses = []string{"10.1.0.5"}
		next := objects("web", "192.0.2.1", true)
		next.Slices[0].Endpoints = append(next.Slices[0].Endpoints, second)
		l.change(next)
		l.is("an endpoint that comes while draining", syncWeb, "speaker.Sync(192.0.2.1~)")
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
		<-stop
		if d := time.Since(began); d < 2900*time.Millisecond || d > 3500*time.Millisecond {
			t.Errorf("drained for %s, want about 3 s", d)
		}
		l.is("end", syncWeb, "speaker.Sync()", "speaker.Stop(drain)", "history.Close", "tables.Close", "datapath.Close")
	})
	run(t, "drain ends at the timeout", func(t *testing.T, l *lab) {
		l.cfg.DrainTimeout = 5 * time.Second
		l.start()
		l.took()
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
					l.mu.Lock()
					l.traffic++
					l.mu.Unlock()
				}
			}
		}()
		began := time.Now()
		l.stop()
		close(done)
		if d := time.Since(began); d != 5*time.Second+stragglers {
			t.Errorf("drained for %s", d)
		}
		if log := l.logged(); !strings.Contains(log, "traffic still arrives") {
			t.Errorf("logged\n%s", log)
		}
	})
	run(t, "restart withdraws nothing", func(t *testing.T, l *lab) {
		l.cfg.Shutdown = config.ShutdownRestart
		l.start()
		l.took()
		began := time.Now()
		l.stop()
		l.is("restart", "speaker.Stop(restart)", "history.Close", "tables.Close", "datapath.Close")
		if d := time.Since(began); d != 0 {
			t.Errorf("took %s", d)
		}
		if got := l.announced(); len(got) != 1 {
			t.Errorf("routers know %v, want the VIP still", got)
		}
	})
	run(t, "a component that fails ends all without withdrawing", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.brokenSource <- errInjected
		if err := <-l.ended; !errors.Is(err, errInjected) || !strings.Contains(err.Error(), "source") {
			t.Errorf("got %v", err)
		}
		l.is("failed", "history.Close", "tables.Close", "datapath.Close")
	})
}

func TestShutdownSolvesNoProblem(t *testing.T) {
	run(t, "attach", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Interfaces = []string{"eth0", "eth1"}
		l.ifindex["eth5"] = 5
		second := *l.snapshot.Slices[0].Endpoints[0].DeepCopy()
		second.Addresses = []string{"10.1.0.5"}
		l.snapshot.Slices[0].Endpoints = append(l.snapshot.Slices[0].Endpoints, second)
		l.hops = map[netip.Addr]maps.NextHop{netip.MustParseAddr("10.1.0.5"): {Ifindex: 5}}
		l.start()
		if log := l.logged(); !strings.Contains(log, "step=attach") || !strings.Contains(log, "by eth5") {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
		if log := l.logged(); strings.Contains(log, "problem") || strings.Contains(log, `detail=""`) {
			t.Errorf("while it ended it logged\n%s", log)
		}
	})
}

func TestServicesOfAnotherClassAreNoProblem(t *testing.T) {
	run(t, "class", func(t *testing.T, l *lab) {
		other := "example.com/cloud"
		l.snapshot.Services[0].Spec.LoadBalancerClass = &other
		l.start()
		if log := l.logged(); strings.Contains(log, "OtherClass") {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
}
