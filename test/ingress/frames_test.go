package ingress

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/test/packet"
)

// cast is who talks: the packet's family and the tunnel's may differ.
type cast struct {
	client, vip, pod netip.AddrPort
	router           netip.Addr // somewhere between client and VIP
	lb, node         netip.Addr
}

var (
	inner4 = cast{client: addr("192.0.2.1:40000"), vip: addr("198.51.100.1:80"), pod: addr("10.1.0.1:8080"), router: ip("203.0.113.9")}
	inner6 = cast{client: addr("[2001:db8:a::1]:40000"), vip: addr("[2001:db8:f::1]:80"), pod: addr("[2001:db8:2::1]:8080"), router: ip("2001:db8:9::9")}
	casts  = map[string]cast{
		"v4 in v4": inner4.over("10.0.0.1", "10.0.0.2"),
		"v6 in v6": inner6.over("2001:db8:1::1", "2001:db8:1::2"),
		"v4 in v6": inner4.over("2001:db8:1::1", "2001:db8:1::2"),
		"v6 in v4": inner6.over("10.0.0.1", "10.0.0.2"),
	}
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

func (c cast) over(lb, node string) cast {
	c.lb, c.node = ip(lb), ip(node)
	return c
}

// port returns the address with another port.
func port(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// The flags of the tunnel's option, see enum tunnel_tail_flags.
const (
	accept = 1
	bounce = 2
	probe  = 4
)

// option is the tunnel's, with all that the tests spoil.
type option struct {
	version, flags uint8
	length         int // of the options in words, -1 for the right one
	proto          uint16
	vni            uint32
	class          uint16
	kind           uint8
	words          int // of the option's data, -1 for the right one
	pod            netip.AddrPort
	hop, tail      uint8
	more           []byte // options behind ours
}

func to(pod netip.AddrPort, hop, tail uint8) option {
	o := option{flags: 0x40, length: -1, class: 0xff50, kind: 0x81, words: -1, pod: pod, hop: hop, tail: tail, proto: 0x0800}
	if pod.Addr().Is6() {
		o.proto = 0x86dd
	}
	return o
}

func (o option) bytes() []byte {
	data := append(o.pod.Addr().AsSlice(), byte(o.pod.Port()>>8), byte(o.pod.Port()), o.hop, o.tail)
	if o.words < 0 {
		o.words = len(data) / 4
	}
	if o.length < 0 {
		o.length = 1 + len(data)/4 + len(o.more)/4
	}
	b := []byte{o.version<<6 | byte(o.length), o.flags}
	b = binary.BigEndian.AppendUint16(b, o.proto)
	b = binary.BigEndian.AppendUint32(b, o.vni<<8)
	b = binary.BigEndian.AppendUint16(b, o.class)
	return slices.Concat(b, []byte{o.kind, byte(o.words)}, data, o.more)
}

// wrapped is the packet in a tunnel as the option says.
func (c cast) wrapped(o option, inner []byte) packet.Packet {
	p := packet.UDP(netip.AddrPortFrom(c.lb, 50123), netip.AddrPortFrom(c.node, tunnelPort), slices.Concat(o.bytes(), inner))
	p.DontFragment = true
	p.Transport.(*packet.UDPHeader).NoChecksum = true
	return p
}

// request is what an LB node sends for a packet of the client's.
func (c cast) request(p packet.Packet, flags uint8) []byte {
	return c.wrapped(to(c.pod, 0, flags), p.IP()).Frame()
}

// returned is the tunnel packet as it goes back to the LB node.
func returned(p packet.Packet, o option) []byte {
	p.Src, p.Dst, p.SrcMAC, p.DstMAC, p.TTL = p.Dst, p.Src, p.DstMAC, p.SrcMAC, 64
	p.Payload = slices.Concat(o.bytes(), p.Payload[len(o.bytes()):])
	return p.Frame()
}

// between is the packet with other ends.
func between(p packet.Packet, src, dst netip.AddrPort) packet.Packet {
	p.Src, p.Dst = src.Addr(), dst.Addr()
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
	return p
}

// reply is a packet as a node sends it.
func reply(p packet.Packet) packet.Packet {
	p.SrcMAC, p.DstMAC = packet.NodeMAC, packet.RouterMAC
	return p
}

// tcp returns a segment with these numbers.
func tcp(src, dst netip.AddrPort, flags packet.TCPFlags, seq, ack uint32) packet.Packet {
	p := packet.TCP(src, dst, flags, nil)
	h := p.Transport.(*packet.TCPHeader)
	h.Seq, h.Ack = seq, ack
	return p
}

// The numbers of a handshake: the client begins with clientSeq, the pod with podSeq.
const clientSeq, podSeq = 1000, 5000

// handshake opens a flow through the programs.
func (r *rig) handshake(c cast) {
	r.t.Helper()
	r.is("deliver", c.request(tcp(c.client, c.vip, packet.SYN, clientSeq, 0), 0))
	if got := r.out(reply(tcp(c.pod, c.client, packet.SYN|packet.ACK, podSeq, clientSeq+1)).Frame()); got.verdict != "return" {
		r.t.Fatalf("SYN-ACK: verdict %q", got.verdict)
	}
	r.is("deliver", c.request(tcp(c.client, c.vip, packet.ACK, clientSeq+1, podSeq+1), 0))
	if _, table := r.flow(c.client, c.pod, 6); table != "node_flows" {
		r.t.Fatalf("after the handshake the flow is in %q", table)
	}
}
