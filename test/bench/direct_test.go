package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

const (
	tunnelPort = 6082
	tunnelSize = 48      // bytes that a tunnel adds, IPv4 in IPv4
	displaced  = 1 << 16 // flows that were, in scenarios with learned ones
	tailHop    = 60      // offset of the owner that is asked in a frame, IPv4 in IPv4
	tailFlags  = 61
	hopLearned = 0xff // the owner was not asked for in turn, but known
)

// ingressNode has all backends.
var ingressNode = netip.MustParseAddr("172.16.0.2")

// loadDirect loads what sends through tunnels, and what takes packets out of them.
func (r *rig) loadDirect(pins string) (err error) {
	now := time.Now()
	stable := func(b *maps.Backend) { b.Tunnel = ingressNode }
	young := func(b *maps.Backend) { b.Tunnel, b.EligibleSince = ingressNode, now }
	for name, set := range map[string]struct {
		to      **loaded
		change  func(*maps.Backend)
		sources []netip.Prefix
	}{
		"direct": {&r.direct, stable, nil}, "chained": {&r.chained, young, nil}, "learned": {&r.learned, young, nil},
		"few": {&r.few, stable, sources(1)}, "ranges": {&r.ranges, stable, sources(1000)},
	} {
		want := r.service(set.change)
		want.Services[0].Restricted, want.Services[0].Sources = set.sources != nil, set.sources
		want.Members = []maps.Member{{Addr: node, Self: true}, {Addr: ingressNode, Backend: true}}
		if *set.to, err = r.load(filepath.Join(pins, name), 0, want); err != nil {
			return err
		}
	}
	r.ingress, err = bpf.LoadNode(bpf.NodeConfig{
		Pins: filepath.Join(pins, "ingress"), TunnelPort: tunnelPort, MaxFlows: 1 << 21,
		Timeouts: bpf.Timeouts{SYN: time.Hour, Established: time.Hour, Closing: time.Hour, Closed: time.Hour, UDP: time.Hour},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	r.close = append(r.close, r.ingress.Close)
	errs := []error{
		r.ingress.Map("members").Put(bpf.AddrFrom(ingressNode), bpf.Member{Flags: bpf.MemberSelf}),
		r.ingress.Map("members").Put(bpf.AddrFrom(node), bpf.Member{Flags: bpf.MemberLB}),
	}
	for i := range backends {
		errs = append(errs, r.ingress.Map("pods").Put(bpf.AddrFrom(pod(i)), bpf.Pod{Netns: bpf.PodNetnsUnknown}))
	}
	return errors.Join(errs...)
}

// sources are n ranges: one that has all clients, and others within it and beside it.
func sources(n int) []netip.Prefix {
	list := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for i := 1; i < n; i++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i%3), byte(i), byte(i >> 8), 0}), 24))
	}
	return list
}

// flow is the client of the harness's nth packet.
func flow(n uint64) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(10<<24+n>>12))
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+n&(1<<12-1)))
}

// establish gives the ingress node n flows to the pod.
func (r *rig) establish(n uint64, pod netip.Addr) error {
	put := func(client netip.AddrPort) error {
		key := bpf.Tuple{
			Src: bpf.AddrFrom(client.Addr()), Sport: bpf.Htons(client.Port()),
			Dst: bpf.AddrFrom(pod), Dport: bpf.Htons(8080), Proto: uint8(maps.TCP),
		}
		value := bpf.NodeFlow{
			Vport: bpf.Htons(vip.Port()), Cport: bpf.Htons(client.Port()),
			State: bpf.FlowEstablished, Overhead: tunnelSize,
		}
		value.Vip.Bytes = vip.Addr().As16()
		return r.ingress.Map("node_flows").Put(key, value)
	}
	if err := put(client); err != nil {
		return err
	}
	for i := range n {
		if err := put(flow(i)); err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
	}
	return nil
}

// displace makes the load balancer learn that n flows are on the second owners of
// their rows, as a bounce by the first one tells it.
func (r *rig) displace(n uint64) error {
	for i := range n {
		ack := frame(packet.TCP(flow(i), vip, packet.ACK, nil))
		_, out, _, err := r.run(r.learned.lb.Program(), stream{ack, 1}, inOrder, 1)
		if err != nil {
			return err
		}
		if _, _, action, err := r.run(r.learned.lb.Program(), stream{bounce(out), 1}, inOrder, 1); err != nil || action != xdpTX {
			return fmt.Errorf("bounce of flow %d: action %d, %w", i, action, err)
		}
	}
	return nil
}

// bounce is a tunnel packet as the ingress node sends it back.
func bounce(frame []byte) []byte {
	back := slices.Clone(frame)
	copy(back[26:30], frame[30:34])
	copy(back[30:34], frame[26:30])
	back[tailFlags] = 2 // TUNNEL_BOUNCE
	return back
}

// directScenarios prepares the flows, and lists what is measured of direct server
// return. label and flows are those of "many".
func (r *rig) directScenarios(label string, flows uint64, hot, cold uint32) ([]scenario, error) {
	syn, ack := frame(packet.TCP(client, vip, packet.SYN, nil)), frame(packet.TCP(client, vip, packet.ACK, nil))
	one, many, endless := stream{ack, 1}, stream{ack, flows}, stream{syn, 16 * flows}
	few := min(flows, displaced)
	if err := r.displace(few); err != nil {
		return nil, err
	}
	_, sent, _, err := r.run(r.direct.lb.Program(), one, inOrder, 1)
	if err != nil {
		return nil, err
	}
	to := netip.AddrFrom4([4]byte(sent[54:58]))
	if err := r.establish(flows, to); err != nil {
		return nil, err
	}
	decap := r.ingress.Program(bpf.NodeXDP)
	if len(sent) != frameSize+tunnelSize {
		return nil, fmt.Errorf("a frame of %d bytes came out, not %d", len(sent), frameSize+tunnelSize)
	}
	floor, prefix := floorEncap+", ", "lb: DSR "
	hit := func(name string, of *loaded, s stream, stride uint64, n uint32, floor string) scenario {
		return scenario{name: name, prog: of.lb.Program(), stream: s, stride: stride, n: n, action: xdpTX, tables: of.tables, verdict: "encap", floor: floor}
	}
	stable := prefix + "stable row, "
	known := hit(prefix+"chained row, displaced, learned, 64k flows", r.learned, stream{ack, few}, elsewhere, cold, stable+label)
	known.asked = hopLearned
	return []scenario{
		{name: floor + "1 flow", prog: r.harness.FloorEncap, stream: one, n: hot, action: xdpTX},
		{name: floor + label, prog: r.harness.FloorEncap, stream: many, stride: elsewhere, n: cold, action: xdpTX},
		hit(stable+"1 flow", r.direct, one, 0, hot, floor+"1 flow"),
		hit(stable+label, r.direct, many, elsewhere, cold, floor+label),
		hit(stable+"SYNs of 16 times as many", r.direct, endless, elsewhere, cold, floor+label),
		hit(prefix+"chained row, "+label+", none displaced", r.chained, many, elsewhere, cold, stable+label),
		known,
		hit(prefix+"stable row, one source range, 1 flow", r.few, one, 0, hot, stable+"1 flow"),
		hit(prefix+"stable row, 1000 source ranges, 1 flow", r.ranges, one, 0, hot, stable+"1 flow"),
		hit(prefix+"stable row, 1000 source ranges, "+label, r.ranges, many, elsewhere, cold, stable+label),
		{name: floorDecap + ", 1 flow", prog: r.harness.FloorDecap, stream: stream{sent, 1}, n: hot, action: xdpPass},
		{name: floorDecap + ", " + label, prog: r.harness.FloorDecap, stream: stream{sent, flows}, stride: elsewhere, n: cold, action: xdpPass},
		{name: "ingress node: known flow, 1 flow", prog: decap, stream: stream{sent, 1}, n: hot, action: xdpPass, floor: floorDecap + ", 1 flow"},
		{name: "ingress node: known flow, " + label, prog: decap, stream: stream{sent, flows}, stride: elsewhere, n: cold, action: xdpPass, floor: floorDecap + ", " + label},
	}, nil
}
