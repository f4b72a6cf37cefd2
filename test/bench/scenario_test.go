package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

const (
	xdpPass = 2
	xdpTX   = 3
)

// inOrder and elsewhere are strides: flows are inserted one after the other, and
// visited far from each other.
const (
	inOrder   = 1
	elsewhere = 0x9e3779b1
)

// scenario is a program with the packets that it gets.
type scenario struct {
	name    string
	prog    *ebpf.Program
	stream  stream
	stride  uint64
	n       uint32       // packets in a measurement
	action  uint32       // what becomes of each
	tables  *maps.Tables // where to find verdict, nil for floors
	verdict string
	floor   string // name of the scenario that this one is compared to
	asked   byte   // through a tunnel: the position of the owner that is asked
}

const (
	baseline       = "harness + XDP_TX"
	floorStateless = "floor: hash, row, backend, rewrite"
	floorNAT       = "floor: LRU hit, NAT both ends"
	floorEncap     = "floor: hash, row, backend, 48 bytes before"
	floorDecap     = "floor: 48 bytes off, LRU hit, rewrite"
)

func frame(p packet.Packet) []byte {
	p.Padding = make([]byte, max(0, frameSize-len(p.Frame())))
	return p.Frame()
}

// scenarios prepares the flows that are hit, and lists what is measured. flows is
// the number for "many".
func (r *rig) scenarios(flows uint64, hot, cold uint32) ([]scenario, error) {
	syn, ack := frame(packet.TCP(client, vip, packet.SYN, nil)), frame(packet.TCP(client, vip, packet.ACK, nil))
	one, many, endless := stream{ack, 1}, stream{ack, flows}, stream{syn, 0}
	hits, fresh := r.hits.lb.Program(), r.fresh.lb.Program()
	floors := r.harness
	for _, flows := range []uint64{1, flows} {
		for _, warm := range []struct {
			prog  *ebpf.Program
			frame []byte
		}{{hits, syn}, {hits, ack}, {floors.FloorNat, ack}} {
			if _, _, _, err := r.run(warm.prog, stream{warm.frame, flows}, inOrder, uint32(flows)); err != nil {
				return nil, fmt.Errorf("make %d flows: %w", flows, err)
			}
		}
	}
	// Until the table is full and each new flow evicts an old one.
	if _, _, _, err := r.run(fresh, endless, inOrder, r.fresh.lb.Map("flows").MaxEntries()); err != nil {
		return nil, fmt.Errorf("fill the table of new flows: %w", err)
	}
	_, sent, _, err := r.run(hits, one, inOrder, 1)
	if err != nil {
		return nil, err
	}
	replies := stream{frame(answer(sent)), 1}
	elsewherePass := stream{frame(packet.TCP(client, netip.MustParseAddrPort("203.0.113.1:80"), packet.ACK, nil)), 1}

	label := fmt.Sprintf("%d flows", flows)
	if flows == 1<<20 {
		label = "1M flows"
	}
	direct, err := r.directScenarios(label, flows, hot, cold)
	if err != nil {
		return nil, err
	}
	return append([]scenario{
		{name: baseline, prog: floors.FloorTx, stream: one, n: hot, action: xdpTX},
		{name: floorStateless + ", 1 flow", prog: floors.FloorStateless, stream: one, n: hot, action: xdpTX},
		{name: floorStateless + ", " + label, prog: floors.FloorStateless, stream: many, n: cold, action: xdpTX},
		{name: floorNAT + ", 1 flow", prog: floors.FloorNat, stream: one, n: hot, action: xdpTX},
		{name: floorNAT + ", " + label, prog: floors.FloorNat, stream: many, stride: elsewhere, n: cold, action: xdpTX},
		{name: "lb: not for a VIP", prog: hits, stream: elsewherePass, n: hot, action: xdpPass, tables: r.hits.tables, verdict: "pass_not_vip",
			floor: floorStateless + ", 1 flow"},
		{name: "lb: NAT forward hit, 1 flow", prog: hits, stream: one, n: hot, action: xdpTX, tables: r.hits.tables, verdict: "forward",
			floor: floorNAT + ", 1 flow"},
		{name: "lb: NAT forward hit, 1 flow, once more", prog: hits, stream: one, n: hot, action: xdpTX, tables: r.hits.tables, verdict: "forward",
			floor: floorNAT + ", 1 flow"},
		{name: "lb: NAT forward hit, " + label, prog: hits, stream: many, stride: elsewhere, n: cold, action: xdpTX, tables: r.hits.tables,
			verdict: "forward", floor: floorNAT + ", " + label},
		{name: "lb: NAT reply hit, 1 flow", prog: hits, stream: replies, n: hot, action: xdpTX, tables: r.hits.tables, verdict: "reply",
			floor: floorNAT + ", 1 flow"},
		{name: "lb: NAT new flow, ever-new", prog: fresh, stream: endless, n: cold, action: xdpTX, tables: r.fresh.tables, verdict: "forward",
			floor: floorNAT + ", " + label},
	}, direct...), nil
}

// answer is the backend's answer to a frame without VLAN tag or IP options.
func answer(frame []byte) packet.Packet {
	ip, tcp := frame[14:], frame[34:]
	end := func(addr, port []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), binary.BigEndian.Uint16(port))
	}
	return packet.TCP(end(ip[16:20], tcp[2:]), end(ip[12:16], tcp), packet.ACK, nil)
}

// measure runs a scenario once and checks that it was what it says.
func (r *rig) measure(s scenario) (float64, error) {
	const warmUp = 2048
	stride := max(s.stride, inOrder)
	if _, _, _, err := r.run(s.prog, s.stream, stride, warmUp); err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	before, err := s.count()
	if err != nil {
		return 0, err
	}
	ns, out, action, err := r.run(s.prog, s.stream, stride, s.n)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := s.count()
	if err != nil {
		return 0, err
	}
	// A signal may end a run early, and it then begins anew.
	if got := after - before; action != s.action || s.tables != nil && got < uint64(s.n)*99/100 {
		return 0, fmt.Errorf("%s: action %d, want %d; %d of %d packets had verdict %s", s.name, action, s.action, got, s.n, s.verdict)
	}
	if s.verdict == "encap" && out[tailHop] != s.asked {
		return 0, fmt.Errorf("%s: owner %d was asked, not %d", s.name, out[tailHop], s.asked)
	}
	return ns, nil
}

func (s scenario) count() (uint64, error) {
	if s.tables == nil {
		return 0, nil
	}
	verdicts, err := s.tables.Verdicts()
	for _, v := range verdicts {
		if v.Name == s.verdict {
			return v.Packets, nil
		}
	}
	return 0, fmt.Errorf("verdict %s: %w", s.verdict, err)
}
