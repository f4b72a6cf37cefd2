package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	stdmaps "maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errInjected = errors.New("injected")

// world is everything outside the agent, on synctest's clock.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	calls []string
	fail  func(call string) error

	cfg      *config.Config
	configs  chan struct{}
	refused  error // the newest configuration
	snapshot desired.Snapshot
	synced   bool
	changed  chan struct{}

	wants    []maps.NodeWant
	attached map[string]bool
	fallback string
	ifindex  map[string]int
	mtu      map[string]int
	sysctls  map[string]string
	own      map[netip.Addr]string
	netns    map[netip.Addr]int32 // of pods; missing: unknown
	defaults []string
	flows    maps.FlowStats
	probes   uint64

	delivered uint64 // packets that came out of tunnels since the start
	cluster   Cluster

	agent  *Agent
	log    *bytes.Buffer
	signal func()
	ended  chan error
}

func newWorld(t *testing.T) *world {
	cfg := config.Default()
	cfg.Node, cfg.Role, cfg.Datapath.Interfaces = "ing-1", config.RoleBackend, []string{"eth0"}
	return &world{
		t: t, cfg: cfg, fail: func(string) error { return nil }, synced: true, snapshot: objects(),
		configs: make(chan struct{}, 1), changed: make(chan struct{}, 1), ended: make(chan error, 1),
		attached: map[string]bool{}, ifindex: map[string]int{"eth0": 2}, mtu: map[string]int{"eth0": 1500},
		sysctls: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"},
		own:     map[netip.Addr]string{addr("10.3.1.2"): "eth0"},
		netns:   map[netip.Addr]int32{addr("10.2.1.1"): 4, addr("10.3.1.2"): bpf.PodNetnsOwn},
		log:     new(bytes.Buffer),
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// run runs a test on synctest's clock. The world runs after start.
func run(t *testing.T, name string, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
	})
}

func (w *world) start() {
	w.agent = New(w.cfg, Deps{
		Version: "test", Source: fakeSource{w}, System: fakeSystem{w}, Configs: fakeConfigs{w}, Level: new(slog.LevelVar), Cluster: w.cluster,
		Load: func(*config.Config) (Datapath, Tables, error) {
			return fakeDatapath{w}, fakeTables{w}, w.call("load")
		},
	}, slog.New(slog.NewTextHandler(w.log, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	w.signal = cancel
	go func() { w.ended <- w.agent.Run(ctx) }()
	synctest.Wait()
}

// stop ends the agent by signal and waits for it.
func (w *world) stop() {
	w.t.Helper()
	w.signal()
	if err := <-w.ended; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

func (w *world) call(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := fmt.Sprintf(format, args...)
	w.calls = append(w.calls, c)
	return w.fail(c)
}

// is compares the calls since the last time.
func (w *world) is(what string, want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := cmp.Diff(want, w.calls); d != "" {
		w.t.Errorf("%s: want -, got +\n%s", what, d)
	}
	w.calls = nil
}

// failing makes the calls with these beginnings fail; none ends it.
func (w *world) failing(calls ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = func(call string) error {
		if slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(call, c) }) {
			return errInjected
		}
		return nil
	}
}

func (w *world) change(s desired.Snapshot) {
	w.mu.Lock()
	w.snapshot, w.synced = s, true
	w.mu.Unlock()
	w.changed <- struct{}{}
	synctest.Wait()
}

func (w *world) lastWant() maps.NodeWant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wants[len(w.wants)-1]
}

type fakeSource struct{ *world }

func (f fakeSource) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f fakeSource) Changed() <-chan struct{}      { return f.changed }
func (f fakeSource) Delta() (desired.Delta, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.synced {
		return desired.Delta{Problems: f.snapshot.Problems}, false
	}
	return desired.Whole(f.snapshot), true
}

type fakeConfigs struct{ *world }

func (f fakeConfigs) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f fakeConfigs) Config() *config.Config        { f.mu.Lock(); defer f.mu.Unlock(); return f.cfg }
func (f fakeConfigs) Err() error                    { return f.refused }
func (f fakeConfigs) Changed() <-chan struct{}      { return f.configs }

type fakeDatapath struct{ *world }

func (f fakeDatapath) Attach(device string, mode bpf.NodeMode) (bpf.NodeAttachment, error) {
	if err := f.call("attach(%s %s)", device, mode); err != nil {
		return bpf.NodeAttachment{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attached[device] = true
	at := bpf.NodeAttachment{Interface: device, Ifindex: f.ifindex[device], Ingress: bpf.HookXDPNative, Egress: bpf.HookTCX, Fallback: f.fallback}
	if f.fallback != "" {
		at.Ingress = bpf.HookTCX
	}
	return at, nil
}

func (f fakeDatapath) Detach(device string) error {
	err := f.call("detach(%s)", device)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, device)
	return err
}

func (f fakeDatapath) Attached() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(stdmaps.Keys(f.attached))
}
func (f fakeDatapath) Settle() error  { return f.call("settle") }
func (f fakeDatapath) Schema() string { return "node-tables-0 node-state-0" }
func (f fakeDatapath) Close() error   { return f.call("datapath.Close") }
func (f fakeDatapath) Discard() error { return f.call("datapath.Discard") }
func (f fakeDatapath) Remove() ([]string, error) {
	devices := f.Attached()
	err := f.call("datapath.Remove")
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.attached)
	return devices, err
}

type fakeTables struct{ *world }

func (f fakeTables) Sync(_ context.Context, want maps.NodeWant) error {
	if err := f.call("tables.Sync(%d members, %d pods, %d)", len(want.Members), len(want.Pods), want.MTU); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wants = append(f.wants, want)
	return nil
}

func (f fakeTables) Sweep(context.Context) (maps.SweepStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.SweepStats{Scanned: 5, Deleted: 2}, f.fail("sweep")
}
func (f fakeTables) Verdicts() ([]maps.VerdictCount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []maps.VerdictCount{{Name: "deliver", Action: "deliver", Packets: 9 + f.delivered}, {Name: "probe_answered", Packets: f.probes}}, nil
}
func (f fakeTables) Flows() (maps.FlowStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flows, nil
}
func (f fakeTables) Events() (maps.NodeEvents, error) { return maps.NodeEvents{Witnessed: 7}, nil }
func (f fakeTables) Close() error                     { return f.call("tables.Close") }

type fakeSystem struct{ *world }

func (f fakeSystem) DefaultDevices() ([]string, error) { return f.defaults, nil }
func (f fakeSystem) Addresses() (map[netip.Addr]string, error) {
	return f.own, f.fail("addresses")
}

func (f fakeSystem) Ifindex(name string) (int, error) {
	if i, ok := f.ifindex[name]; ok {
		return i, nil
	}
	return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
}

func (f fakeSystem) MTU(name string) (int, error) {
	if m, ok := f.mtu[name]; ok {
		return m, nil
	}
	return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
}

func (f fakeSystem) Sysctl(name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.sysctls[name]; ok {
		return v, nil
	}
	return "", fs.ErrNotExist
}

func (f fakeSystem) PodNetns(pod netip.Addr) int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id, ok := f.netns[pod]; ok {
		return id
	}
	return bpf.PodNetnsUnknown
}

// objects are an LB node, this ingress node, and two pods on it, one of which has the
// node's own address; a third is elsewhere.
func objects() desired.Snapshot {
	node := func(name, role, ip string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{desired.RoleAnnotation: role}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}},
		}
	}
	here, there, ready := "ing-1", "ing-2", true
	endpoint := func(ip string, node *string) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	}
	return desired.Snapshot{
		Nodes: []*corev1.Node{node("lb-1", "lb", "10.0.1.2"), node("ing-1", "backend", "10.3.1.2")},
		Slices: []*discoveryv1.EndpointSlice{{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{endpoint("10.2.1.1", &here), endpoint("10.3.1.2", &here), endpoint("10.2.2.1", &there)},
		}},
	}
}
