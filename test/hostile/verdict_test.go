package hostile

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	tables "github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// family is one address family's cast.
type family struct {
	client, vip, pod netip.AddrPort
	source           netip.Addr
	unreachable      [2]uint8 // ICMP type and code: port, too big, time exceeded
	tooBig           [2]uint8
	timeExceeded     [2]uint8
}

var families = map[string]family{
	"ipv4": {client4, vip4, pod4, source4, [2]uint8{3, 3}, [2]uint8{3, 4}, [2]uint8{11, 0}},
	"ipv6": {client6, vip6, pod6, source6, [2]uint8{1, 4}, [2]uint8{2, 0}, [2]uint8{3, 0}},
}

// port returns the VIP with another port.
func port(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// answer is the ICMP error that the program makes about p.
func answer(p packet.Packet, from netip.Addr, message [2]uint8, rest uint32) []byte {
	quoted := p.IP()
	a := packet.Error(from, p.Src, message[0], message[1], rest, quoted[:min(len(quoted), 128)])
	a.SrcMAC, a.DstMAC, a.ID, a.DontFragment = p.DstMAC, p.SrcMAC, 0, true
	return a.Frame()
}

// leaving is p as it leaves through a next hop.
func leaving(p packet.Packet, src, dst netip.AddrPort, srcMAC, dstMAC tables.MAC) []byte {
	p.Src, p.Dst, p.SrcMAC, p.DstMAC, p.TTL = src.Addr(), dst.Addr(), packet.MAC(srcMAC), packet.MAC(dstMAC), p.TTL-1
	switch h := p.Transport.(type) {
	case *packet.TCPHeader:
		moved := *h
		moved.Src, moved.Dst = src.Port(), dst.Port()
		p.Transport = &moved
	case *packet.UDPHeader:
		moved := *h
		moved.Src, moved.Dst = src.Port(), dst.Port()
		p.Transport = &moved
	}
	return p.Frame()
}

// TestEveryVerdict makes each verdict by one packet: the action, the counters (one
// moves, by the packet's bytes) and, where a frame leaves, all its bytes.
func TestEveryVerdict(t *testing.T) {
	seen := map[string]bool{}
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			v := &verdicts{rig: newRig(t), family: f, seen: seen}
			v.setUp()
			v.passed()
			v.translated()
			v.errors()
			v.rejected()
			v.dropped()
			v.forced()
		})
		t.Run(name+" with other settings", func(t *testing.T) {
			v := &verdicts{family: f, seen: seen}
			v.rig = newRig(t, func(c *bpf.Config) { c.UnmatchedReject = false; c.ICMPRate = 0 })
			v.setUp()
			v.want("drop_port", xdpDrop, packet.TCP(f.client, port(f.vip, 9), packet.SYN, nil), nil)
			v.want("drop_no_backend", xdpDrop, packet.TCP(f.client, port(f.vip, 82), packet.SYN, nil), nil)
			over := packet.TCP(f.client, f.vip, packet.SYN, nil)
			over.TTL = 1
			v.want("drop_rate_limited", xdpDrop, over, nil)
		})
		t.Run(name+" with one port", func(t *testing.T) {
			v := &verdicts{family: f, seen: seen}
			v.rig = newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000} })
			v.setUp()
			v.is("forward", packet.TCP(f.client, f.vip, packet.SYN, nil).Frame())
			v.want("drop_ports_exhausted", xdpDrop, packet.TCP(port(f.client, 2), f.vip, packet.SYN, nil), nil)
			v.is("forward", packet.UDP(port(f.client, 2), f.vip, nil).Frame()) // another protocol's ports are its own
		})
	}
	t.Run("tunnels", func(t *testing.T) { tunnelVerdicts(t, seen) })
	t.Run("flow table", func(t *testing.T) { flowTable(t, seen) })
	names, err := bpf.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !seen[n.Name] && !ingressOnly[n.Name] && !t.Failed() {
			t.Errorf("no packet had verdict %s", n.Name)
		}
	}
}

// ingressOnly are the verdicts of an ingress node's programs, which package
// test/ingress makes.
var ingressOnly = map[string]bool{
	"deliver": true, "bounce": true, "return": true, "probe_answered": true,
	"drop_not_local": true, "drop_unknown_flow": true, "drop_collision": true, "drop_ecn": true,
}

type verdicts struct {
	*rig
	family
	seen map[string]bool
}

func (v *verdicts) setUp() {
	web, dns := service("web", tables.TCP, v.vip, v.pod), service("dns", tables.UDP, v.vip, v.pod)
	empty := service("empty", tables.TCP, port(v.vip, 82))
	far, lost, foreign := v.pod.Addr().Next(), v.pod.Addr().Next().Next(), v.pod.Addr().Prev()
	small := service("small", tables.TCP, port(v.vip, 83), netip.AddrPortFrom(far, 8080))
	way := service("way", tables.TCP, port(v.vip, 84), netip.AddrPortFrom(lost, 8080))
	kernel := service("kernel", tables.TCP, port(v.vip, 85), netip.AddrPortFrom(foreign, 8080))
	others := service("others", tables.TCP, port(v.vip, 86), v.pod)
	others.Restricted = true
	w := v.rig.want(web, dns, empty, small, way, kernel, others)
	change := func(a netip.Addr, c func(*tables.NextHop)) { h := w.NextHops[a]; c(&h); w.NextHops[a] = h }
	change(far, func(h *tables.NextHop) { h.MTU = 1280 })
	change(foreign, func(h *tables.NextHop) { h.Ifindex = 4095 })
	delete(w.NextHops, lost)
	v.must(v.tables.Sync(v.t.Context(), w))
}

// want runs p. frame is what must come out; nil where nothing leaves.
func (v *verdicts) want(verdict string, action uint32, p packet.Packet, frame []byte) result {
	v.t.Helper()
	return v.wantRaw(verdict, action, p.Frame(), len(p.IP()), frame)
}

func (v *verdicts) wantRaw(verdict string, action uint32, in []byte, length int, frame []byte) result {
	v.t.Helper()
	before := v.verdicts()
	got := v.run(in)
	if got.verdict != verdict || got.action != action {
		v.t.Fatalf("verdict %s, action %d; want %s, %d, for\n%s", got.verdict, got.action, verdict, action, packet.String(in))
	}
	if frame != nil {
		if diff := packet.Diff(frame, got.frame); diff != "" {
			v.t.Errorf("%s: %s", verdict, diff)
		}
	}
	for i, c := range v.verdicts() {
		if c.Name == verdict && c.Bytes-before[i].Bytes != uint64(length) {
			v.t.Errorf("%s counted %d bytes of %d", verdict, c.Bytes-before[i].Bytes, length)
		}
	}
	v.seen[verdict] = true
	return got
}

func (v *verdicts) passed() {
	arp := packet.UDP(v.client, v.vip, nil).Frame()
	arp[12], arp[13] = 8, 6
	v.wantRaw("pass_not_ip", xdpPass, arp, len(arp), arp)
	other := packet.TCP(v.client, port(v.pod, 443), packet.SYN, nil)
	other.TTL = 1
	v.want("pass_not_vip", xdpPass, other, other.Frame())
}

// translated runs requests and answers, directly and through the kernel.
func (v *verdicts) translated() {
	for _, p := range []packet.Packet{packet.TCP(v.client, v.vip, packet.SYN, packet.Payload(5)), packet.UDP(v.client, v.vip, packet.Payload(5))} {
		got := v.want("forward", xdpTX, p, nil)
		node, backend := ends(got.frame)
		if node.Addr() != v.source || backend != v.pod || node.Port() < v.cfg.Ports.First || node.Port() > v.cfg.Ports.Last {
			v.t.Fatalf("forwarded from %s to %s", node, backend)
		}
		v.want("forward", xdpTX, p, leaving(p, node, backend, hopSrc, hopDst))
		reply := packet.TCP(backend, node, packet.SYN|packet.ACK, packet.Payload(7))
		if _, udp := p.Transport.(*packet.UDPHeader); udp {
			reply = packet.UDP(backend, node, packet.Payload(7))
		}
		v.want("reply", xdpTX, reply, leaving(reply, v.vip, v.client, tables.MAC(v.up0.HardwareAddr), gatewayMAC))
	}
	out := v.want("forward_kernel", xdpPass, packet.TCP(v.client, port(v.vip, 85), packet.SYN, nil), nil).frame
	if err := packet.Verify(out); err != nil {
		v.t.Error(err)
	}
	// A client on the node's own link whose MAC nobody knows yet.
	neighbour := netip.AddrPortFrom(v.source.Next(), 777)
	node, backend := ends(v.is("forward", packet.TCP(neighbour, v.vip, packet.SYN, nil).Frame()))
	out = v.want("reply_kernel", xdpPass, packet.TCP(backend, node, packet.ACK, nil), nil).frame
	if src, dst := ends(out); src != v.vip || dst != neighbour {
		v.t.Errorf("the kernel gets an answer from %s to %s", src, dst)
	}
}

// errors runs a ping and ICMP errors both ways.
func (v *verdicts) errors() {
	ping := packet.Echo(v.client.Addr(), v.vip.Addr(), 1, 2, packet.Payload(3))
	pong := packet.Error(v.vip.Addr(), v.client.Addr(), 0, 0, 1<<16|2, ping.Payload)
	if v.vip.Addr().Is6() {
		pong = packet.Error(v.vip.Addr(), v.client.Addr(), 129, 0, 1<<16|2, ping.Payload)
	}
	pong.SrcMAC, pong.DstMAC = ping.DstMAC, ping.SrcMAC
	v.want("icmp_echo", xdpTX, ping, pong.Frame())

	router := v.client.Addr().Next()
	node, backend := ends(v.is("forward", packet.TCP(v.client, v.vip, packet.SYN, nil).Frame()))
	about := packet.TCP(v.vip, v.client, packet.ACK, packet.Payload(20))
	within := packet.TCP(backend, node, packet.ACK, packet.Payload(20))
	v.want("icmp_forward", xdpTX, packet.Error(router, v.vip.Addr(), v.tooBig[0], v.tooBig[1], 1400, about.IP()),
		v.translatedError(packet.Error(v.source, v.pod.Addr(), v.tooBig[0], v.tooBig[1], 1400, within.IP())))
	about, within = packet.TCP(node, backend, packet.ACK, nil), packet.TCP(v.client, v.vip, packet.ACK, nil)
	v.want("icmp_reply", xdpTX, packet.Error(router, v.source, v.timeExceeded[0], v.timeExceeded[1], 0, about.IP()),
		v.translatedError(packet.Error(v.vip.Addr(), v.client.Addr(), v.timeExceeded[0], v.timeExceeded[1], 0, within.IP())))
}

// translatedError leaves by the default route.
func (v *verdicts) translatedError(p packet.Packet) []byte {
	p.SrcMAC, p.DstMAC, p.TTL = packet.MAC(v.up0.HardwareAddr), packet.MAC(gatewayMAC), p.TTL-1
	return p.Frame()
}

func (v *verdicts) rejected() {
	closed := packet.TCP(v.client, port(v.vip, 9), packet.SYN, packet.Payload(300))
	v.want("reject_port", xdpTX, closed, answer(closed, v.vip.Addr(), v.unreachable, 0))
	empty := packet.TCP(v.client, port(v.vip, 82), packet.SYN, packet.Payload(3))
	v.want("reject_no_backend", xdpTX, empty, answer(empty, v.vip.Addr(), v.unreachable, 0))
	for _, ttl := range []uint8{1, 0} {
		over := packet.TCP(v.client, v.vip, packet.SYN, nil)
		over.TTL = ttl
		v.want("reject_ttl", xdpTX, over, answer(over, v.source, v.timeExceeded, 0))
	}
	fits := packet.TCP(v.client, port(v.vip, 83), packet.SYN, nil)
	fits.Payload = packet.Payload(1280 - len(fits.IP()))
	v.want("forward", xdpTX, fits, nil)
	big := fits
	big.Payload = append(slices.Clone(fits.Payload), 0)
	v.want("reject_too_big", xdpTX, big, answer(big, v.vip.Addr(), v.tooBig, 1280))
}

func (v *verdicts) dropped() {
	short := packet.TCP(v.client, v.vip, packet.SYN, nil)
	frame := short.Frame()
	v.wantRaw("drop_malformed", xdpDrop, frame[:len(frame)-1], len(short.IP()), nil)
	later := packet.UDP(v.client, v.vip, packet.Payload(100)).Fragments(64)[1]
	v.wantRaw("drop_fragment", xdpDrop, later, len(later)-14, nil)
	other := packet.TCP(v.client, v.vip, packet.SYN, nil)
	other.Transport = packet.Raw(132)
	v.want("drop_protocol", xdpDrop, other, nil)
	v.want("drop_icmp", xdpDrop, packet.Error(v.client.Addr(), v.vip.Addr(), v.unreachable[0], v.unreachable[1], 0,
		packet.TCP(v.vip, port(v.client, 5), packet.ACK, nil).IP()), nil)
	v.want("drop_source", xdpDrop, packet.TCP(v.vip, v.vip, packet.SYN, nil), nil)
	v.want("drop_source_range", xdpDrop, packet.TCP(v.client, port(v.vip, 86), packet.SYN, nil), nil)
	v.want("drop_no_route", xdpDrop, packet.TCP(v.client, port(v.vip, 84), packet.SYN, nil), nil)
}

// forced are the verdicts of what should not be.
func (v *verdicts) forced() {
	closed := packet.TCP(v.client, port(v.vip, 9), packet.SYN, packet.Payload(30))
	before := v.verdicts()
	got := v.runWith(closed.Frame(), 200) // metadata that takes the room for an ICMP header
	if got.verdict != "abort" || got.action != xdpAborted {
		v.t.Errorf("no headroom: verdict %s, action %d", got.verdict, got.action)
	}
	for i, c := range v.verdicts() {
		if c.Name == "abort" && c.Bytes-before[i].Bytes != uint64(len(closed.IP())) {
			v.t.Errorf("abort counted %d bytes", c.Bytes-before[i].Bytes)
		}
	}
	v.seen["abort"] = true
	slots := v.lb.Map("slots")
	line := make([]byte, slots.ValueSize())
	for i := range bpf.SlotsPerLine {
		binary.NativeEndian.PutUint32(line[4*i:], 63) // a backend that is not there
	}
	for i := range slots.MaxEntries() {
		v.must(slots.Put(i, line))
	}
	v.want("drop_table", xdpDrop, packet.TCP(port(v.client, 55), v.vip, packet.SYN, nil), nil)
	for i := range bpf.SlotsPerLine {
		binary.NativeEndian.PutUint32(line[4*i:], ^uint32(0)) // nor can be
	}
	for i := range slots.MaxEntries() {
		v.must(slots.Put(i, line))
	}
	v.want("drop_table", xdpDrop, packet.TCP(port(v.client, 56), v.vip, packet.SYN, nil), nil)
}

// flowTable compiles a program whose second insertion fails, for the kernel's does
// only if memory runs out. The first one must be undone.
func flowTable(t *testing.T, seen map[string]bool) {
	sources := t.TempDir()
	if err := bpf.ExportSources(sources); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(sources, "port.h")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const insert, fails = "bpf_map_update_elem(&flows, t, f, BPF_ANY)", "bpf_map_update_elem(&flows, t, f, BPF_EXIST)"
	if !strings.Contains(string(b), insert) {
		t.Fatalf("port.h has no %q", insert)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), insert, fails, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		v := &verdicts{family: families[name], seen: seen}
		v.rig = newRig(t, func(c *bpf.Config) { c.Compile, c.Clang, c.Sources = true, "clang-19", sources })
		v.setUp()
		v.want("drop_flow_table", xdpDrop, packet.TCP(v.client, v.vip, packet.SYN, nil), nil)
		stats, err := v.tables.Flows()
		if err != nil || stats.Entries != 0 {
			t.Errorf("%d halves of a flow are left, %v", stats.Entries, err)
		}
	}
}
