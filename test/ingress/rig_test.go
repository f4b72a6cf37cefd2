package ingress

import (
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet"
)

const tunnelPort = 6082

var timeouts = bpf.Timeouts{SYN: 30 * time.Second, Established: 3 * time.Hour, Closing: time.Minute,
	Closed: 5 * time.Second, UDP: 3 * time.Minute}

// load loads the programs in a namespace of its own; where says how to get there.
func load(t testing.TB, where *fixture.Netns, change ...func(*bpf.NodeConfig)) *bpf.Node {
	t.Helper()
	cfg := bpf.NodeConfig{Pins: filepath.Join(fixture.MountBPFFS(t), "penstock"), TunnelPort: tunnelPort,
		Timeouts: timeouts, MaxFlows: 1 << 10, MaxYoungFlows: 1 << 10, MaxPods: 64}
	for _, c := range change {
		c(&cfg)
	}
	var node *bpf.Node
	err := where.Do(func() (err error) {
		node, err = bpf.LoadNode(cfg, slog.New(slog.DiscardHandler))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return node
}

// rig runs the programs on frames. Ingress is run in XDP or in tc.
type rig struct {
	t       testing.TB
	host    *fixture.Netns
	node    *bpf.Node
	ingress string
}

// ways are the programs that take packets in.
var ways = []string{bpf.NodeXDP, bpf.NodeIngress}

func newRig(t testing.TB, change ...func(*bpf.NodeConfig)) *rig {
	t.Helper()
	host := fixture.NewNetns(t, "node")
	r := &rig{t: t, host: host, node: load(t, host, change...), ingress: bpf.NodeXDP}
	r.reset()
	return r
}

// reset empties the tables and lets the cast in.
func (r *rig) reset() {
	r.t.Helper()
	for _, name := range []string{"members", "pods", "node_flows", "young_flows", "collisions", "fragments"} {
		r.empty(name)
	}
	r.mtu(0)
	for _, c := range casts {
		r.member(c.lb, bpf.MemberLB)
		r.member(c.node, bpf.MemberSelf|bpf.MemberBackend)
		r.pod(c.pod.Addr(), bpf.PodNetnsUnknown)
	}
}

// empty removes what is in a map.
func (r *rig) empty(name string) {
	r.t.Helper()
	m := r.node.Map(name)
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	var keys [][]byte
	for it := m.Iterate(); it.Next(&key, &value); {
		keys = append(keys, slices.Clone(key))
	}
	for _, k := range keys {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) put(name string, key, value any) {
	r.t.Helper()
	if err := r.node.Map(name).Put(key, value); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
}

func (r *rig) member(a netip.Addr, flags bpf.MemberFlags) {
	r.t.Helper()
	r.put("members", bpf.AddrFrom(a), bpf.Member{Flags: flags})
}

func (r *rig) pod(a netip.Addr, netns int32) {
	r.t.Helper()
	r.put("pods", bpf.AddrFrom(a), bpf.Pod{Netns: netns})
}

func (r *rig) mtu(mtu uint32) {
	r.t.Helper()
	r.put("node_settings", uint32(0), bpf.Settings{Mtu: mtu})
}

// The actions that both kinds of program have.
const (
	next = "next" // on to the stack, or the next program
	back = "back" // out by the same device
	drop = "drop"
)

var actions = map[bool]map[uint32]string{
	true:  {1: drop, 2: next, 3: back, 0: drop},
	false: {2: drop, 0xffffffff: next, 7: back},
}

// result is what became of a frame.
type result struct {
	action  string
	verdict string // empty: no counter moved
	frame   []byte
}

// in runs the ingress program on a frame; exactly one counter must move.
func (r *rig) in(frame []byte) result {
	r.t.Helper()
	got := r.run(r.ingress, frame)
	if got.verdict == "" {
		r.t.Fatalf("no counter moved for\n%s", packet.String(frame))
	}
	return got
}

// out runs the egress program.
func (r *rig) out(frame []byte) result {
	r.t.Helper()
	return r.run(bpf.NodeEgress, frame)
}

func (r *rig) run(program string, frame []byte) result {
	r.t.Helper()
	before := counters(r.t, r.node)
	opts := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	var ret uint32
	err := r.host.Do(func() (err error) {
		ret, err = r.node.Program(program).Run(opts)
		return err
	})
	if err != nil {
		r.t.Fatalf("run %s on %d bytes: %v", program, len(frame), err)
	}
	got := result{action: actions[program == bpf.NodeXDP][ret], frame: opts.DataOut}
	for name, c := range counters(r.t, r.node) {
		switch c.Packets - before[name].Packets {
		case 0:
		case 1:
			if got.verdict != "" {
				r.t.Fatalf("a packet moved the counters of %s and %s", got.verdict, name)
			}
			got.verdict = name
		default:
			r.t.Fatalf("a packet counted %d times as %s", c.Packets-before[name].Packets, name)
		}
	}
	return got
}

// counters reads the verdicts.
func counters(t testing.TB, node *bpf.Node) map[string]bpf.Counter {
	t.Helper()
	names, err := bpf.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]bpf.Counter, len(names))
	for i, n := range names {
		var perCPU []bpf.Counter
		if err := node.Map("verdicts").Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		var sum bpf.Counter
		for _, c := range perCPU {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
		}
		all[n.Name] = sum
	}
	return all
}

func events(t testing.TB, node *bpf.Node, event bpf.NodeEvent) (sum uint64) {
	t.Helper()
	var perCPU []uint64
	if err := node.Map("node_events").Lookup(uint32(event), &perCPU); err != nil {
		t.Fatal(err)
	}
	for _, n := range perCPU {
		sum += n
	}
	return sum
}

// is runs a frame from the tunnel whose verdict is known.
func (r *rig) is(verdict string, frame []byte) result {
	r.t.Helper()
	got := r.in(frame)
	if got.verdict != verdict {
		r.t.Fatalf("verdict %s, want %s, for\n%s", got.verdict, verdict, packet.String(frame))
	}
	return got
}

// flow finds a flow by the pod's tuple and says in which table it is.
func (r *rig) flow(client, pod netip.AddrPort, proto uint8) (bpf.NodeFlow, string) {
	r.t.Helper()
	for _, table := range []string{"node_flows", "young_flows"} {
		var f bpf.NodeFlow
		err := r.node.Map(table).Lookup(tuple(client, pod, proto), &f)
		if err == nil {
			return f, table
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			r.t.Fatal(err)
		}
	}
	return bpf.NodeFlow{}, ""
}

// forget removes flows as eviction does, or a sweep.
func (r *rig) forget(client, pod netip.AddrPort, proto uint8) {
	r.t.Helper()
	_, table := r.flow(client, pod, proto)
	if table == "" {
		r.t.Fatalf("no flow from %s to %s", client, pod)
	}
	if err := r.node.Map(table).Delete(tuple(client, pod, proto)); err != nil {
		r.t.Fatal(err)
	}
}

func tuple(client, pod netip.AddrPort, proto uint8) bpf.Tuple {
	return bpf.Tuple{Src: bpf.AddrFrom(client.Addr()), Dst: bpf.AddrFrom(pod.Addr()),
		Sport: bpf.Htons(client.Port()), Dport: bpf.Htons(pod.Port()), Proto: proto}
}

// each runs a test for both programs, both families of the packet and of the tunnel,
// each time with empty tables.
func each(t *testing.T, test func(t *testing.T, r *rig, c cast)) {
	r := newRig(t)
	for _, way := range ways {
		for _, name := range slices.Sorted(maps.Keys(casts)) {
			t.Run(way+" "+name, func(t *testing.T) {
				run := &rig{t: t, host: r.host, node: r.node, ingress: way}
				run.reset()
				test(t, run, casts[name])
			})
		}
	}
}
