package maps

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bpf"
)

func openNode(t *testing.T, dir string) (*NodeTables, func()) {
	t.Helper()
	n, err := bpf.LoadNode(bpf.NodeConfig{
		Pins: dir, TunnelPort: 6082, Timeouts: timeouts, MaxFlows: 64, MaxYoungFlows: 256, MaxPods: 3,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	tables, err := OpenNode(n, NodeOptions{Timeouts: timeouts}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return tables, func() {
		t.Helper()
		if err := tables.Close(); err != nil {
			t.Errorf("close tables: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close programs: %v", err)
		}
	}
}

var (
	pod4 = netip.MustParseAddr("10.1.0.1")
	pod6 = netip.MustParseAddr("2001:db8:1::1")
	host = netip.MustParseAddr("192.0.2.11")
)

func TestNodeSync(t *testing.T) {
	dir := pins(t)
	d, done := openNode(t, dir)
	defer func() { done() }()
	lb := Member{Addr: netip.MustParseAddr("192.0.2.1"), LB: true}
	self := Member{Addr: host, Self: true, Backend: true}
	for _, step := range []struct {
		name    string
		restart bool
		want    NodeWant
		pods    []Pod
		err     bool
	}{
		{"nothing", false, NodeWant{}, nil, false},
		{"two families", false, NodeWant{
			Members: []Member{lb, self}, Pods: []Pod{{netip.AddrFrom16(pod4.As16()), 3}, {pod6, bpf.PodNetnsUnknown}}, MTU: 1500,
		}, []Pod{{pod4, 3}, {pod6, bpf.PodNetnsUnknown}}, false},
		{"the other namespace is known after a restart", true, NodeWant{
			Members: []Member{lb, self}, Pods: []Pod{{pod4, 3}, {pod6, 4}}, MTU: 9000,
		}, []Pod{{pod4, 3}, {pod6, 4}}, false},
		{"one is gone, one is the node's own", false, NodeWant{
			Members: []Member{self}, Pods: []Pod{{host, bpf.PodNetnsOwn}, {pod6, 4}}, MTU: 9000,
		}, []Pod{{host, bpf.PodNetnsOwn}, {pod6, 4}}, false},
		{"too many", false, NodeWant{
			Pods: []Pod{{host, bpf.PodNetnsOwn}, {pod6, 4}, {pod4, 5}, {netip.MustParseAddr("10.1.0.9"), 6}}, MTU: 9000,
		}, []Pod{{pod4, 5}, {host, bpf.PodNetnsOwn}, {pod6, 4}}, true},
		{"gone while no agent ran", true, NodeWant{}, nil, false},
	} {
		if step.restart {
			done()
			d, done = openNode(t, dir)
		}
		for range 2 {
			if err := d.Sync(t.Context(), step.want); (err != nil) != step.err {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		view, err := OpenNodeView(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := view.Pods()
		if diff := cmp.Diff(step.pods, got, sameAddrs); diff != "" || err != nil {
			t.Errorf("%s: pods, %v (-want +got):\n%s", step.name, err, diff)
		}
		slices.SortFunc(step.want.Members, func(a, b Member) int { return a.Addr.Compare(b.Addr) })
		members, err := view.Members()
		if diff := cmp.Diff(step.want.Members, members, sameAddrs); diff != "" || err != nil {
			t.Errorf("%s: members, %v (-want +got):\n%s", step.name, err, diff)
		}
		if mtu, err := view.MTU(); mtu != step.want.MTU || err != nil {
			t.Errorf("%s: MTU %d, %v", step.name, mtu, err)
		}
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// nodeFlow is a flow's key, by the port of its client.
func nodeFlow(pod netip.Addr, port uint16) bpf.Tuple {
	client := netip.MustParseAddr("198.51.100.1")
	if pod.Is6() {
		client = netip.MustParseAddr("2001:db8:99::1")
	}
	return bpf.Tuple{
		Src: bpf.AddrFrom(client), Sport: bpf.Htons(port), Dst: bpf.AddrFrom(pod), Dport: bpf.Htons(80), Proto: uint8(TCP),
	}
}

func TestNodeSweep(t *testing.T) {
	const hour, minute = 3600, 60 // in ticks, which are a little longer than seconds
	d, done := openNode(t, pins(t))
	defer done()
	both := NodeWant{Pods: []Pod{{pod4, 1}, {pod6, 2}}}
	if err := d.Sync(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	now, err := tick()
	if err != nil {
		t.Fatal(err)
	}
	put := func(pod netip.Addr, port uint16, young bool, state uint8, idle uint32) {
		t.Helper()
		m := d.m.flows
		if young {
			m = d.m.young
		}
		if err := m.Put(nodeFlow(pod, port), bpf.NodeFlow{State: state, Seen: now - idle}); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(what string, deleted int) {
		t.Helper()
		stats, err := d.Sweep(t.Context())
		if err != nil || stats.Deleted != deleted {
			t.Errorf("%s: swept %+v, %v, want %d deleted", what, stats, err, deleted)
		}
	}
	const isNew, open, closing, closed, udp = 0, 1, 2, 3, 4 // enum flow_state
	for _, pod := range []netip.Addr{pod4, pod6} {
		put(pod, 1, true, isNew, 10)
		put(pod, 2, true, isNew, minute)
		put(pod, 3, false, open, 2*hour)
		put(pod, 4, false, open, 4*hour)
		put(pod, 5, true, closing, 30)
		put(pod, 6, true, closing, 3*minute)
		put(pod, 7, true, closed, 1)
		put(pod, 8, true, closed, 20)
		put(pod, 9, false, udp, 2*minute)
		put(pod, 10, false, udp, 4*minute)
		put(pod, 11, false, 99, 20) // no state at all
	}
	sweep("every state", 12)
	sweep("once more", 0)
	stats, err := d.Flows()
	if want := (FlowStats{Entries: 4, Capacity: 64, Young: 6, YoungCapacity: 256}); stats != want || err != nil {
		t.Errorf("left are %+v, %v, want %+v", stats, err, want)
	}

	// After the pod's FIN a vanished client's flow goes sooner.
	for port, idle := range map[uint16]uint32{20: 9 * minute, 21: 12 * minute} {
		half := bpf.NodeFlow{State: open, Flags: bpf.FlowFinBackend, Seen: now - idle}
		if err := d.m.flows.Put(nodeFlow(pod4, port), half); err != nil {
			t.Fatal(err)
		}
	}
	sweep("half closed", 1)

	// The flows of a pod that went are gone at once, before another has its address.
	if err := d.Sync(t.Context(), NodeWant{Pods: both.Pods[1:]}); err != nil {
		t.Fatal(err)
	}
	stats, err = d.Flows()
	if want := (FlowStats{Entries: 2, Capacity: 64, Young: 3, YoungCapacity: 256}); stats != want || err != nil {
		t.Errorf("left of one pod are %+v, %v, want %+v", stats, err, want)
	}
	// A packet that was on its way as the pod went may have made one more.
	put(pod4, 12, true, isNew, 0)
	sweep("of no pod", 1)
}

func TestNodeCounters(t *testing.T) {
	d, done := openNode(t, pins(t))
	defer done()
	cpus := make([]uint64, 0, 8)
	if err := d.m.events.Lookup(uint32(bpf.EventWitness), &cpus); err != nil {
		t.Fatal(err)
	}
	for i := range cpus {
		cpus[i] = uint64(i + 1)
	}
	if err := d.m.events.Put(uint32(bpf.EventWitness), cpus); err != nil {
		t.Fatal(err)
	}
	n := uint64(len(cpus))
	if got, err := d.Events(); got != (NodeEvents{Witnessed: n * (n + 1) / 2}) || err != nil {
		t.Errorf("events %+v, %v", got, err)
	}
	verdicts, err := d.Verdicts()
	names, _ := bpf.Verdicts()
	if err != nil || len(verdicts) != len(names) {
		t.Errorf("%d verdicts of %d, %v", len(verdicts), len(names), err)
	}
}
