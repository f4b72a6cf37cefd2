package agent

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
)

// lab runs an agent in a world of its own, on synctest's clock.
type lab struct {
	cluster  Cluster  // nil: none
	gateways Gateways // nil: none
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

// set replaces the configuration, and waits until the agent has done what follows of it.
func (f *fakeConfigs) set(cfg *config.Config, err error) {
	f.mu.Lock()
	f.cfg, f.err = cfg, err
	f.mu.Unlock()
	f.changed <- struct{}{}
	synctest.Wait()
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
	l.cfg.Source.History = filepath.Join(t.TempDir(), "history.json") // the drain's file is beside it
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
		Version: "test", Source: fakeSource{l.world}, Resolver: fakeResolver{l.world}, System: fakeSystem{l.world}, Martians: fakeMartians{l.world},
		Gateways: l.gateways,
		Prober:   fakeProber{l.world}, History: func(*config.Config) History { return fakeHistory{l.world} },
		Configs: l.configs, Level: new(slog.LevelVar), Cluster: l.cluster,
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

// edit changes the first endpoint of the first slice of what the source knows, which the agent may be reading.
func (l *lab) edit(do func(*discoveryv1.Endpoint)) {
	next := l.snapshot
	next.Slices = slices.Clone(next.Slices)
	next.Slices[0] = next.Slices[0].DeepCopy()
	do(&next.Slices[0].Endpoints[0])
	l.change(next)
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
