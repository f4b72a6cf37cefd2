package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab runs an agent in a world of its own, on synctest's clock.
type lab struct {
	*world
	t       *testing.T
	cfg     *config.Config
	configs *fakeConfigs
	agent   *Agent
	log     *bytes.Buffer // read after synctest.Wait only

	restarting bool
	signal     func() // as SIGTERM
	ended      chan error
}

type fakeConfigs struct {
	mu      sync.Mutex
	cfg     *config.Config
	err     error
	changed chan struct{}
}

func (f *fakeConfigs) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeConfigs) Changed() <-chan struct{}      { return f.changed }
func (f *fakeConfigs) Config() *config.Config        { f.mu.Lock(); defer f.mu.Unlock(); return f.cfg }
func (f *fakeConfigs) Err() error                    { f.mu.Lock(); defer f.mu.Unlock(); return f.err }
func (f *fakeConfigs) set(cfg *config.Config, err error) {
	f.mu.Lock()
	f.cfg, f.err = cfg, err
	f.mu.Unlock()
	f.changed <- struct{}{}
}

func testConfig() *config.Config {
	cfg := config.Default()
	cfg.Node = "lb-1"
	cfg.Datapath.Interfaces = []string{"eth0"}
	cfg.BGP.ASN = 64512
	cfg.BGP.RouterID = netip.MustParseAddr("10.0.0.1")
	cfg.BGP.Peers = []config.Peer{{Name: "tor", Address: netip.MustParseAddr("10.0.0.254"), ASN: 64513}}
	return cfg
}

// newLab makes a lab whose source has one Service. It runs after start.
func newLab(t *testing.T) *lab {
	l := &lab{world: newWorld(), t: t, cfg: testConfig(), log: new(bytes.Buffer), ended: make(chan error, 1)}
	l.synced = true
	l.snapshot = objects("web", "192.0.2.1", true)
	l.sysctls["net/ipv4/ip_local_port_range"] = "32768\t60999"
	l.sysctls["net/ipv4/ip_local_reserved_ports"] = ""
	l.sysctls["net/ipv4/ip_forward"] = "1"
	return l
}

func (l *lab) start() {
	l.configs = &fakeConfigs{cfg: l.cfg, changed: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	l.agent = New(l.cfg, Deps{
		Version: "test", Source: fakeSource{l.world}, Resolver: fakeResolver{l.world}, System: fakeSystem{l.world},
		Configs: l.configs, Level: new(slog.LevelVar),
		Load: func(*config.Config) (Datapath, Tables, error) {
			if err := l.call("load"); err != nil {
				return nil, nil, err
			}
			return fakeDatapath{l.world}, fakeTables{l.world}, nil
		},
		Speaker: func(_ *config.Config, restarting bool) (Speaker, error) {
			l.restarting = restarting
			return fakeSpeaker{l.world}, nil
		},
	}, log)
	ctx, cancel := context.WithCancel(context.Background())
	l.signal = cancel
	go func() { l.ended <- l.agent.Run(ctx) }()
	synctest.Wait()
}

// stop ends the agent by signal and waits for it.
func (l *lab) stop() {
	l.t.Helper()
	l.signal()
	if err := <-l.ended; err != nil {
		l.t.Errorf("Run: %v", err)
	}
}

// is compares the calls since the last time.
func (l *lab) is(what string, want ...string) {
	l.t.Helper()
	synctest.Wait()
	if d := cmp.Diff(want, l.took()); d != "" {
		l.t.Errorf("%s: want -, got +\n%s", what, d)
	}
}

// logged takes the log since the last time.
func (l *lab) logged() string {
	synctest.Wait()
	text := l.log.String()
	l.log.Reset()
	return text
}

// change replaces what the source knows.
func (l *lab) change(s desired.Snapshot) {
	l.mu.Lock()
	l.snapshot, l.synced = s, true
	l.mu.Unlock()
	l.sourceChanged <- struct{}{}
	synctest.Wait()
}

// failing makes the calls with these beginnings fail; none ends it.
func (l *lab) failing(calls ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = func(call string) error {
		if slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(call, c) }) {
			return errInjected
		}
		return nil
	}
}

// objects makes a LoadBalancer Service with one endpoint.
func objects(name, vip string, ready bool) desired.Snapshot {
	meta := metav1.ObjectMeta{Namespace: "default", Name: name}
	port, number := "http", int32(8080)
	return desired.Snapshot{
		Services: []*corev1.Service{{
			ObjectMeta: meta,
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{vip},
				Ports: []corev1.ServicePort{{Name: port, Port: 80, Protocol: corev1.ProtocolTCP}},
			},
		}},
		Slices: []*discoveryv1.EndpointSlice{{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{"10.1.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			}},
			Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
		}},
	}
}

const syncWeb = "tables.Sync(default/web:http/tcp/ipv4)"

// run runs a test on synctest's clock.
func run(t *testing.T, name string, test func(t *testing.T, l *lab)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newLab(t)) })
	})
}

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
		if v := s.VIPs[0]; v.Announced || v.Reason != NoSession || !slices.Contains(s.NotReady, "no BGP session up") {
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
		l.is("resync at 30 s", syncWeb, "speaker.Sync(192.0.2.1)")
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
		if s.Services[0].Error != "no room" || s.VIPs[0].Reason != NotInKernel || !strings.Contains(s.VIPs[0].Detail, "no room") {
			t.Errorf("services %+v, VIPs %+v", s.Services, s.VIPs)
		}
		l.mu.Lock()
		l.refuse = func(string) error { return nil }
		l.mu.Unlock()
		time.Sleep(lastRetry)
		if log := l.logged(); !strings.Contains(log, "problem solved") || !strings.Contains(log, "VIP announced") {
			t.Errorf("after it was mended\n%s", log)
		}
		l.stop()
	})
}

func TestInterfaces(t *testing.T) {
	run(t, "one missing", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Interfaces = []string{"eth0", "eth1"}
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		s := l.agent.Status()
		if i := s.Datapath.Interfaces; !i[0].Attached || i[1].Attached || !strings.Contains(i[1].Error, "eth1") {
			t.Errorf("interfaces %+v", i)
		}
		if len(s.NotReady) > 0 || len(s.Degraded) != 1 {
			t.Errorf("not ready %v, degraded %v", s.NotReady, s.Degraded)
		}
		l.mu.Lock()
		l.ifindex["eth1"] = 3
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("it appears", syncWeb, "attach(eth1 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "made anew", func(t *testing.T, l *lab) {
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.mu.Lock()
		l.ifindex["eth0"] = 9
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("anew", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "the only one goes", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.mu.Lock()
		delete(l.ifindex, "eth0")
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("gone", syncWeb, "speaker.Sync()")
		if v := l.agent.Status().VIPs[0]; v.Announced || v.Reason != NoInterface {
			t.Errorf("VIP %+v", v)
		}
		l.stop()
	})
	run(t, "an update that fails leaves the old program", func(t *testing.T, l *lab) {
		l.attached["eth0"] = true
		l.failing("attach")
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		if i := l.agent.Status().Datapath.Interfaces[0]; !i.Attached || i.Error == "" {
			t.Errorf("interface %+v", i)
		}
		l.stop()
	})
	run(t, "changed in the configuration", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.mu.Lock()
		l.ifindex["eth1"] = 3
		l.mu.Unlock()
		next := *l.cfg
		next.Datapath.Interfaces = []string{"eth1"}
		l.configs.set(&next, nil)
		l.is("reload", syncWeb, "attach(eth1 auto)", "detach(eth0)", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
}

func TestReload(t *testing.T) {
	run(t, "peers, level and what needs a restart", func(t *testing.T, l *lab) {
		l.start()
		l.logged()
		l.took()
		next := *l.cfg
		next.BGP.Peers = append(slices.Clone(next.BGP.Peers), config.Peer{Name: "tor-2", Address: netip.MustParseAddr("10.0.0.253"), ASN: 64513})
		next.Log.Level = slog.LevelDebug
		next.NAT.MaxFlows = 7
		next.Node = "other"
		l.configs.set(&next, nil)
		l.is("reload", "speaker.SetPeers(2)", syncWeb, "speaker.Sync(192.0.2.1)")
		if got := l.agent.deps.Level.Level(); got != slog.LevelDebug {
			t.Errorf("level %s", got)
		}
		if d := cmp.Diff([]string{"node", "nat.maxFlows"}, l.agent.Status().Config.Restart); d != "" {
			t.Errorf("restart keys: want -, got +\n%s", d)
		}
		if log := l.logged(); !strings.Contains(log, "nat.maxFlows") || !strings.Contains(log, "bgp.peers[tor-2]") {
			t.Errorf("logged\n%s", log)
		}
		back := next
		back.Node, back.NAT.MaxFlows = l.cfg.Node, l.cfg.NAT.MaxFlows
		l.configs.set(&back, nil)
		l.is("back", syncWeb, "speaker.Sync(192.0.2.1)")
		if got := l.agent.Status().Config.Restart; len(got) > 0 {
			t.Errorf("restart keys after the change was taken back: %v", got)
		}
		l.stop()
	})
	run(t, "peers that the speaker refuses are tried again", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.failing("speaker.SetPeers")
		next := *l.cfg
		next.BGP.Peers = []config.Peer{{Name: "tor-2", Address: netip.MustParseAddr("10.0.0.253"), ASN: 64513}}
		l.configs.set(&next, nil)
		l.is("reload", "speaker.SetPeers(1)", syncWeb, "speaker.Sync(192.0.2.1)")
		l.failing()
		time.Sleep(firstRetry)
		l.is("again", "speaker.SetPeers(1)", syncWeb, "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "a bad file", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.configs.set(l.cfg, errors.New("penstock.yaml:3: bgp.asn: want a number"))
		l.is("reload", syncWeb, "speaker.Sync(192.0.2.1)")
		if c := l.agent.Status().Config; !strings.Contains(c.Error, "bgp.asn") || c.Failures != 1 {
			t.Errorf("config status %+v", c)
		}
		l.configs.set(l.cfg, nil)
		synctest.Wait()
		if c := l.agent.Status().Config; c.Error != "" || c.Reloads != 1 {
			t.Errorf("config status %+v", c)
		}
		l.stop()
	})
}

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
		l.is("signal", "speaker.Stop(drain)", syncWeb)
		s := l.agent.Status()
		if s.State != api.Draining || s.VIPs[0].Reason != Draining || !slices.Contains(s.NotReady, "draining") {
			t.Errorf("status %+v", s)
		}
		l.change(objects("web", "192.0.2.1", false))
		l.is("an endpoint that goes while draining", syncWeb)
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
		<-stop
		if d := time.Since(began); d < 2900*time.Millisecond || d > 3500*time.Millisecond {
			t.Errorf("drained for %s, want about 3 s", d)
		}
		l.is("end", "tables.Close", "datapath.Close")
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
		if d := time.Since(began); d != 5*time.Second {
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
		l.is("restart", "speaker.Stop(restart)", "tables.Close", "datapath.Close")
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
		l.is("failed", "tables.Close", "datapath.Close")
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
		time.Sleep(stuckAfter)
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

func TestSysctlWarnings(t *testing.T) {
	run(t, "warnings", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv4/ip_forward"] = "0"
		l.sysctls["net/ipv6/conf/all/forwarding"] = "0" // there is no IPv6 VIP
		l.sysctls["net/ipv4/conf/all/rp_filter"] = "0"
		l.sysctls["net/ipv4/conf/eth0/rp_filter"] = "1"
		l.start()
		w := strings.Join(l.agent.Status().Warnings, "\n")
		if strings.Contains(w, "ipv6") {
			t.Errorf("a family without a VIP is warned about:\n%s", w)
		}
		for _, want := range []string{"net.ipv4.ip_forward is 0", "net.ipv4.conf.eth0.rp_filter is strict"} {
			if !strings.Contains(w, want) {
				t.Errorf("%q is not among the warnings:\n%s", want, w)
			}
		}
		l.stop()
	})
}
