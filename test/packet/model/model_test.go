package model

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// The world of the tests: a client behind a router, one backend of each family
// behind the device that frames come in by.
var (
	client4, client6 = ap("192.0.2.1:40000"), ap("[2001:db8:c::1]:40000")
	vip4, vip6       = ap("198.51.100.10:80"), ap("[2001:db8:f::10]:80")
	node4, node6     = ap("10.0.0.1:5000"), ap("[2001:db8:1::1]:5000")
	pod4, pod6       = ap("10.1.0.9:8080"), ap("[2001:db8:2::9]:8080")
	podMAC           = packet.MAC{2, 0, 0, 0, 0, 9}
)

const ingress, uplink = 7, 8

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func world() *Model {
	m := New(Config{
		Rows: 64, PortFirst: 4000, PortLast: 6000, Reject: true, Ingress: ingress, Devices: map[uint32]bool{uplink: true},
		Route: func(_, dst netip.Addr, length int) Route {
			switch {
			case dst == client4.Addr() || dst == client6.Addr():
				if length > 1500 {
					return Route{Kind: RouteTooBig, MTU: 1500}
				}
				return Route{Kind: RouteDirect, NextHop: maps.NextHop{Ifindex: ingress, SrcMAC: maps.MAC(packet.NodeMAC), DstMAC: maps.MAC(packet.RouterMAC)}}
			case strings.HasPrefix(dst.String(), "192.0.2."):
				return Route{Kind: RouteNone}
			}
			return Route{}
		},
	})
	hop := func(source netip.AddrPort) maps.NextHop {
		return maps.NextHop{Ifindex: ingress, SrcMAC: maps.MAC(packet.NodeMAC), DstMAC: maps.MAC(podMAC), MTU: 1400, Source: source.Addr()}
	}
	service := func(name string, fe netip.AddrPort, proto maps.Proto, backends ...maps.Backend) maps.Service {
		return maps.Service{Name: name, Backends: backends,
			Frontends: []maps.Frontend{{VIP: fe.Addr(), Port: fe.Port(), Proto: proto}}}
	}
	var want maps.Want
	want.NextHops = map[netip.Addr]maps.NextHop{pod4.Addr(): hop(node4), pod6.Addr(): hop(node6)}
	for _, proto := range []maps.Proto{maps.TCP, maps.UDP} {
		want.Services = append(want.Services,
			service("a4"+proto.String(), vip4, proto, maps.Backend{Addr: pod4, Weight: 1}),
			service("a6"+proto.String(), vip6, proto, maps.Backend{Addr: pod6, Weight: 1}))
	}
	want.Services = append(want.Services, service("lost", ap("198.51.100.10:82"), maps.TCP, maps.Backend{Addr: ap("10.1.0.8:8080"), Weight: 1}))
	want.Services = append(want.Services, service("empty", ap("198.51.100.10:81"), maps.TCP, maps.Backend{Addr: pod4}))
	m.Sync(want)
	return m
}

// step is one frame through a world; out is what should leave.
type step struct {
	in      packet.Packet
	verdict string
	out     *packet.Packet // nil: the frame as it came if it passes, else nothing
}

// sent is a packet as it leaves towards to, a hop older.
func sent(p packet.Packet, to packet.MAC) *packet.Packet {
	p.SrcMAC, p.DstMAC, p.TTL = packet.NodeMAC, to, 63
	return &p
}

// own is an answer of the load balancer itself to the router.
func own(p packet.Packet) *packet.Packet {
	p.SrcMAC, p.DstMAC = packet.NodeMAC, packet.RouterMAC
	p.TTL, p.ID, p.DontFragment = 64, 0, true
	return &p
}

func changed(p packet.Packet, change func(*packet.Packet)) packet.Packet {
	change(&p)
	return p
}

func ttl(p packet.Packet, ttl uint8) packet.Packet {
	p.TTL = ttl
	return p
}

func TestProcess(t *testing.T) {
	data := packet.Payload(100)
	quote := func(p packet.Packet) []byte { return p.IP()[:min(len(p.IP()), 128)] }
	open4 := step{packet.UDP(client4, vip4, data), "forward", sent(packet.UDP(node4, pod4, data), podMAC)}
	open6 := step{packet.TCP(client6, vip6, packet.SYN, nil), "forward", sent(packet.TCP(node6, pod6, packet.SYN, nil), podMAC)}
	reply4 := step{packet.UDP(pod4, node4, data), "reply", sent(packet.UDP(vip4, client4, data), packet.RouterMAC)}
	reply6 := step{packet.TCP(pod6, node6, packet.SYN|packet.ACK, nil), "reply", sent(packet.TCP(vip6, client6, packet.SYN|packet.ACK, nil), packet.RouterMAC)}
	noSum := func(p packet.Packet) packet.Packet {
		p.Transport.(*packet.UDPHeader).NoChecksum = true
		return p
	}
	closed := packet.TCP(client4, ap("198.51.100.10:9"), packet.SYN, nil)
	big := packet.TCP(client4, vip4, packet.ACK, packet.Payload(1400))
	tests := map[string][]step{
		"udp4":            {open4, reply4, open4},
		"tcp6":            {open6, reply6},
		"no checksum":     {{noSum(packet.UDP(client4, vip4, data)), "forward", sent(noSum(packet.UDP(node4, pod4, data)), podMAC)}},
		"not a vip":       {{packet.UDP(client4, ap("10.9.9.9:80"), nil), "pass_not_vip", nil}},
		"no flow's reply": {{packet.UDP(pod4, node4, nil), "pass_not_vip", nil}},
		"reply's port":    {{packet.UDP(pod4, ap("10.0.0.1:3999"), nil), "pass_not_vip", nil}},
		"vlan tags go": {{changed(open4.in, func(p *packet.Packet) { p.VLANs = []uint16{5, 6} }), "forward",
			open4.out}},
		"padding stays": {{changed(open4.in, func(p *packet.Packet) { p.Padding = make([]byte, 4) }), "forward",
			sent(changed(*open4.out, func(p *packet.Packet) { p.Padding = make([]byte, 4) }), podMAC)}},
		"ipv4 options": {{changed(open4.in, func(p *packet.Packet) { p.Options = []byte{1, 1, 1, 0} }), "forward",
			sent(changed(*open4.out, func(p *packet.Packet) { p.Options = []byte{1, 1, 1, 0} }), podMAC)}},
		"extensions": {{changed(open6.in, func(p *packet.Packet) { p.Extensions = []packet.Extension{packet.HopByHop(2), packet.Atomic(1)} }), "forward",
			sent(changed(*open6.out, func(p *packet.Packet) { p.Extensions = []packet.Extension{packet.HopByHop(2), packet.Atomic(1)} }), podMAC)}},
		"too many extensions": {{changed(open6.in, func(p *packet.Packet) { p.Extensions = make([]packet.Extension, 7); fill(p.Extensions) }), "drop_malformed", nil}},
		"port unreachable":    {{closed, "reject_port", own(packet.Error(vip4.Addr(), client4.Addr(), 3, 3, 0, quote(closed)))}},
		"port unreachable 6": {{packet.UDP(client6, ap("[2001:db8:f::10]:9"), data), "reject_port",
			own(packet.Error(vip6.Addr(), client6.Addr(), 1, 4, 0, quote(packet.UDP(client6, ap("[2001:db8:f::10]:9"), data))))}},
		"no backend": {{packet.TCP(client4, ap("198.51.100.10:81"), packet.SYN, nil), "reject_no_backend",
			own(packet.Error(vip4.Addr(), client4.Addr(), 3, 3, 0, quote(packet.TCP(client4, ap("198.51.100.10:81"), packet.SYN, nil))))}},
		"no way to the backend": {{packet.TCP(client4, ap("198.51.100.10:82"), packet.SYN, nil), "drop_no_route", nil}},
		"client is no host":     {{packet.UDP(ap("127.0.0.1:1"), vip4, nil), "drop_source", nil}},
		"client is multicast":   {{packet.UDP(ap("[ff02::1]:1"), vip6, nil), "drop_source", nil}},
		"client is a vip":       {{packet.UDP(vip4, vip4, nil), "drop_source", nil}},
		"ttl": {{ttl(open4.in, 1), "reject_ttl", own(packet.Error(node4.Addr(), client4.Addr(), 11, 0, 0, quote(ttl(open4.in, 1))))},
			open4, {ttl(reply4.in, 0), "reject_ttl", own(packet.Error(node4.Addr(), pod4.Addr(), 11, 0, 0, quote(ttl(reply4.in, 0))))}},
		"too big": {{big, "reject_too_big", own(packet.Error(vip4.Addr(), client4.Addr(), 3, 4, 1400, quote(big)))},
			{changed(big, func(p *packet.Packet) { p.DontFragment = false }), "forward_kernel",
				func() *packet.Packet {
					p := packet.TCP(node4, pod4, packet.ACK, packet.Payload(1400))
					p.DontFragment, p.TTL = false, 64
					return &p
				}()}},
		"no route back": {{packet.UDP(ap("192.0.2.77:1"), vip4, nil), "forward", sent(packet.UDP(node4, pod4, nil), podMAC)},
			{packet.UDP(pod4, node4, nil), "drop_no_route", nil}},
		"ping":         {{packet.Echo(client4.Addr(), vip4.Addr(), 1, 2, data), "icmp_echo", echoed(packet.Echo(vip4.Addr(), client4.Addr(), 1, 2, data), 0)}},
		"ping 6":       {{packet.Echo(client6.Addr(), vip6.Addr(), 1, 2, data), "icmp_echo", echoed(packet.Echo(vip6.Addr(), client6.Addr(), 1, 2, data), 129)}},
		"ping another": {{packet.Echo(client4.Addr(), node4.Addr(), 1, 2, data), "pass_not_vip", nil}},
		"protocol":     {{changed(open4.in, func(p *packet.Packet) { p.Transport = packet.Raw(47) }), "drop_protocol", nil}},
		"error about a request": {open4, {packet.Error(ap("10.7.7.7:0").Addr(), node4.Addr(), 3, 4, 1300, quote(*open4.out)), "icmp_reply",
			sent(packet.Error(vip4.Addr(), client4.Addr(), 3, 4, 1300, quote(ttl(open4.in, 63))), packet.RouterMAC)}},
		"error about a reply": {open6, {packet.Error(ap("[2001:db8:99::1]:0").Addr(), vip6.Addr(), 2, 0, 1300, quote(packet.TCP(vip6, client6, packet.ACK, data))), "icmp_forward",
			new(packet.Error(node6.Addr(), pod6.Addr(), 2, 0, 1300, quote(packet.TCP(pod6, node6, packet.ACK, data))))}},
		"error about nothing": {{packet.Error(client4.Addr(), vip4.Addr(), 3, 1, 0, quote(reply4.in)), "drop_icmp", nil},
			{packet.Error(client4.Addr(), node4.Addr(), 3, 1, 0, quote(reply4.in)), "pass_not_vip", nil}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			m := world()
			for i, s := range steps {
				run(t, m, i, s)
			}
		})
	}
}

func fill(extensions []packet.Extension) {
	for i := range extensions {
		extensions[i] = packet.Destination(1)
	}
}

// echoed is a ping turned into the answer to it.
func echoed(p packet.Packet, answer uint8) *packet.Packet {
	p.SrcMAC, p.DstMAC = packet.NodeMAC, packet.RouterMAC
	p.Transport.(*packet.ICMPHeader).Type = answer
	return &p
}

func run(t *testing.T, m *Model, i int, s step) {
	t.Helper()
	in := s.in.Frame()
	var want []byte
	switch {
	case s.out != nil:
		want = s.out.Frame()
	case strings.HasPrefix(s.verdict, "pass"):
		want = in
	}
	r, err := m.Process(in, want)
	if err != nil {
		t.Errorf("step %d: %v", i, err)
	}
	if r.Verdict != s.verdict {
		t.Fatalf("step %d: verdict %s, want %s", i, r.Verdict, s.verdict)
	}
	if diff := packet.Diff(want, r.Frame); diff != "" {
		t.Errorf("step %d: %s", i, diff)
	}
}

func TestFragmentsFollowTheFirst(t *testing.T) {
	for _, tt := range []struct{ client, vip, node, pod netip.AddrPort }{{client4, vip4, node4, pod4}, {client6, vip6, node6, pod6}} {
		m := world()
		in := packet.UDP(tt.client, tt.vip, packet.Payload(100)).Fragments(40)
		out := sent(packet.UDP(tt.node, tt.pod, packet.Payload(100)), podMAC).Fragments(40)
		if r, _ := m.Process(in[1], nil); r.Verdict != "drop_fragment" {
			t.Errorf("a later fragment before the first: %s", r.Verdict)
		}
		for i := range in {
			r, err := m.Process(in[i], out[i])
			if err != nil {
				t.Error(err)
			}
			if diff := packet.Diff(out[i], r.Frame); diff != "" {
				t.Errorf("fragment %d: %s", i, diff)
			}
		}
	}
}

func TestPortsAreChecked(t *testing.T) {
	m := world()
	process := func(client, node string) error {
		_, err := m.Process(packet.UDP(ap(client), vip4, nil).Frame(), sent(packet.UDP(ap(node), pod4, nil), podMAC).Frame())
		return err
	}
	if err := process("192.0.2.1:1", "10.0.0.1:3999"); err == nil || !strings.Contains(err.Error(), "outside 4000-6000") {
		t.Errorf("a port below the range: %v", err)
	}
	if err := process("192.0.2.1:2", "10.0.0.1:6001"); err == nil {
		t.Error("a port above the range passes")
	}
	if err := process("192.0.2.1:3", "10.0.0.1:4000"); err != nil {
		t.Error(err)
	}
	if err := process("192.0.2.1:4", "10.0.0.1:4000"); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port twice: %v", err)
	}
}

// A SYN opens a new flow where the old one is over, and only there.
func TestSYNReusesAClosedFlow(t *testing.T) {
	const fin, syn, ack, rst = packet.FIN | packet.ACK, packet.SYN, packet.ACK, packet.RST
	c := func(f packet.TCPFlags) packet.Packet { return packet.TCP(client4, vip4, f, nil) }
	b := func(f packet.TCPFlags) packet.Packet { return packet.TCP(pod4, node4, f, nil) }
	for name, tt := range map[string]struct {
		packets []packet.Packet
		reuse   bool
	}{
		"opening":           {[]packet.Packet{c(syn), b(syn | ack)}, false},
		"established":       {[]packet.Packet{c(syn), b(syn | ack), c(ack)}, false},
		"half closed":       {[]packet.Packet{c(syn), b(syn | ack), c(ack), c(fin), c(fin)}, false},
		"closed":            {[]packet.Packet{c(syn), b(syn | ack), c(ack), c(fin), b(fin), c(ack)}, true},
		"refused":           {[]packet.Packet{c(syn), b(rst | ack)}, true},
		"given up":          {[]packet.Packet{c(syn), b(syn | ack), c(rst)}, true},
		"middle":            {[]packet.Packet{c(ack)}, true},
		"middle, confirmed": {[]packet.Packet{c(ack), b(ack)}, false},
	} {
		m := world()
		for i, p := range tt.packets {
			out := sent(packet.TCP(node4, pod4, 0, nil), podMAC).Frame()
			if r, err := m.Process(p.Frame(), out); err != nil || r.Action != TX {
				t.Fatalf("%s: packet %d: %s, %v", name, i, r.Verdict, err)
			}
		}
		old := m.requests[tuple{client4, vip4, protoTCP}]
		if _, err := m.Process(c(syn).Frame(), sent(packet.TCP(ap("10.0.0.1:5001"), pod4, 0, nil), podMAC).Frame()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if reuse := m.requests[tuple{client4, vip4, protoTCP}] != old; reuse != tt.reuse {
			t.Errorf("%s: a SYN opens a new flow: %t, want %t", name, reuse, tt.reuse)
		}
	}
}
