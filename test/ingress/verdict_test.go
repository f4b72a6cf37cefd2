package ingress

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

// want runs a frame from the tunnel: verdict, action, the bytes counted and, where it
// is not dropped, all that comes out.
func (r *rig) want(verdict, action string, p packet.Packet, frame []byte) {
	r.t.Helper()
	r.wantRaw(verdict, action, p.Frame(), len(p.IP()), frame)
}

func (r *rig) wantRaw(verdict, action string, in []byte, length int, frame []byte) {
	r.t.Helper()
	before := counters(r.t, r.node)[verdict].Bytes
	got := r.in(in)
	if got.verdict != verdict || got.action != action {
		r.t.Fatalf("verdict %s, action %s; want %s, %s, for\n%s", got.verdict, got.action, verdict, action, packet.String(in))
	}
	if frame != nil {
		if diff := packet.Diff(frame, got.frame); diff != "" {
			r.t.Errorf("%s: %s", verdict, diff)
		}
	}
	if n := counters(r.t, r.node)[verdict].Bytes - before; n != uint64(length) {
		r.t.Errorf("%s counted %d bytes of %d", verdict, n, length)
	}
}

// TestEveryVerdict makes each of the ingress node's verdicts by one packet.
func TestEveryVerdict(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		passed(r, c)
		delivered(r, c)
		sentBack(r, c)
		dropped(r, c)
		damaged(r, c)
	})
}

func passed(r *rig, c cast) {
	arp := packet.UDP(c.client, c.vip, nil).Frame()
	arp[12], arp[13] = 8, 6
	r.wantRaw("pass_not_ip", next, arp, len(arp), arp)
	for _, p := range []packet.Packet{
		packet.TCP(netip.AddrPortFrom(c.lb, 1), netip.AddrPortFrom(c.node, tunnelPort), packet.SYN, nil),
		packet.UDP(netip.AddrPortFrom(c.lb, 1), netip.AddrPortFrom(c.node, tunnelPort-1), packet.Payload(60)),
		packet.UDP(netip.AddrPortFrom(c.lb, 1), netip.AddrPortFrom(c.lb, tunnelPort), packet.Payload(60)),
	} {
		r.want("pass_not_vip", next, p, p.Frame())
	}
	group := c.wrapped(to(c.pod, 0, 0), packet.TCP(c.client, c.vip, packet.SYN, nil).IP())
	group.DstMAC[0] |= 1
	r.want("pass_not_vip", next, group, group.Frame())
}

func delivered(r *rig, c cast) {
	for _, inner := range []packet.Packet{
		packet.TCP(c.client, c.vip, packet.SYN, packet.Payload(3)),
		packet.UDP(c.client, c.vip, packet.Payload(7)),
	} {
		p := c.wrapped(to(c.pod, 0, accept), inner.IP())
		r.want("deliver", next, p, between(inner, c.client, c.pod).Frame())
		answer := reply(between(inner, c.pod, c.client))
		if h, ok := answer.Transport.(*packet.TCPHeader); ok {
			h.Flags |= packet.ACK
		}
		got := r.out(answer.Frame())
		if diff := packet.Diff(between(answer, c.vip, c.client).Frame(), got.frame); diff != "" || got.verdict != "return" || got.action != next {
			r.t.Errorf("reply: %q %s %s", got.verdict, got.action, diff)
		}
	}
	if c.client.Addr().Is4() {
		inner := packet.UDP(c.client, c.vip, packet.Payload(7))
		inner.Transport.(*packet.UDPHeader).NoChecksum = true
		r.want("deliver", next, c.wrapped(to(c.pod, 0, accept), inner.IP()), between(inner, c.client, c.pod).Frame())
	}
}

func sentBack(r *rig, c cast) {
	stray := packet.TCP(port(c.client, 7), c.vip, packet.ACK, packet.Payload(100))
	for _, hop := range []uint8{0, 3, 31, 0xff} {
		p := c.wrapped(to(c.pod, hop, 0), stray.IP())
		p.TTL, p.TOS = 9, 2
		r.want("bounce", back, p, returned(p, to(c.pod, hop, bounce)))
	}
	// A pod that came or went is not known to all nodes at the same moment.
	elsewhere := netip.AddrPortFrom(c.pod.Addr().Next(), 8080)
	p := c.wrapped(to(elsewhere, 2, 0), stray.IP())
	r.want("bounce", back, p, returned(p, to(elsewhere, 2, bounce)))
	for _, pod := range []netip.AddrPort{inner4.pod, inner6.pod} {
		o := to(pod, 0, probe)
		for _, checksum := range []bool{true, false} {
			p := c.wrapped(o, nil)
			p.Transport.(*packet.UDPHeader).NoChecksum = !checksum
			h := *p.Transport.(*packet.UDPHeader)
			answer := p
			h.Src, h.Dst = h.Dst, h.Src
			answer.Transport = &h
			r.want("probe_answered", back, p, returned(answer, to(pod, 0, probe|bounce)))
		}
	}
}

func dropped(r *rig, c cast) {
	syn := packet.TCP(c.client, c.vip, packet.SYN, nil)
	from := func(lb netip.Addr) packet.Packet {
		p := c.wrapped(to(c.pod, 0, 0), syn.IP())
		p.Src = lb
		return p
	}
	r.want("drop_tunnel_source", drop, from(c.node.Next().Next()), nil)
	r.want("drop_tunnel_source", drop, from(c.node), nil) // which is a member, but no LB node
	r.want("drop_tunnel", drop, c.wrapped(to(c.pod, 0, bounce), syn.IP()), nil)
	elsewhere := netip.AddrPortFrom(c.pod.Addr().Next(), 8080)
	stray := packet.TCP(c.client, c.vip, packet.ACK, nil)
	r.want("drop_not_local", drop, c.wrapped(to(elsewhere, 0, 0), syn.IP()), nil)
	r.want("drop_not_local", drop, c.wrapped(to(elsewhere, 0, accept), syn.IP()), nil)
	r.want("drop_not_local", drop, c.wrapped(to(elsewhere, 0, accept), stray.IP()), nil)
	other := syn
	other.Transport = packet.Raw(132)
	r.want("drop_protocol", drop, c.wrapped(to(c.pod, 0, accept), other.IP()), nil)
	r.want("drop_protocol", drop, c.wrapped(to(c.pod, 0, accept), packet.Echo(c.client.Addr(), c.vip.Addr(), 1, 1, nil).IP()), nil)
	congested := c.wrapped(to(c.pod, 0, accept), syn.IP())
	congested.TOS = 3
	r.want("drop_ecn", drop, congested, nil)
	later := packet.UDP(c.client, c.vip, packet.Payload(100)).Fragments(64)[1][14:]
	r.want("drop_fragment", drop, c.wrapped(to(c.pod, 0, accept), later), nil)
	unknown := tooBig(c, packet.TCP(c.vip, port(c.client, 9), packet.ACK, packet.Payload(20)))
	r.want("drop_unknown_flow", drop, c.wrapped(to(c.pod, 0, accept), unknown.IP()), nil)
	astray := tooBig(c, packet.TCP(port(c.pod, 80), c.client, packet.ACK, nil)) // to the VIP, about another's packet
	astray.Dst = c.vip.Addr()
	r.want("drop_icmp", drop, c.wrapped(to(c.pod, 0, accept), astray.IP()), nil)
}

// tooBig is a router's error about a packet.
func tooBig(c cast, about packet.Packet) packet.Packet {
	if about.Src.Is6() {
		return packet.Error(c.router, about.Src, 2, 0, 1400, about.IP())
	}
	return packet.Error(c.router, about.Src, 3, 4, 1400, about.IP())
}

// damaged is all that a tunnel packet must not be.
func damaged(r *rig, c cast) {
	syn := packet.TCP(c.client, c.vip, packet.SYN, nil)
	good := func() option { return to(c.pod, 0, accept) }
	spoil := map[string]func(*option){
		"version 1":           func(o *option) { o.version = 1 },
		"control packet":      func(o *option) { o.flags |= 0x80 },
		"not critical":        func(o *option) { o.flags = 0 },
		"VNI":                 func(o *option) { o.vni = 1 },
		"class":               func(o *option) { o.class++ },
		"type":                func(o *option) { o.kind++ },
		"no option":           func(o *option) { o.length = 0 },
		"options too short":   func(o *option) { o.length = 2 },
		"option too short":    func(o *option) { o.words = 1 },
		"option too long":     func(o *option) { o.words = 6 },
		"two options":         func(o *option) { o.more = []byte{0xff, 0x50, 2, 0} },
		"hop out of range":    func(o *option) { o.hop = 32 },
		"unknown flag":        func(o *option) { o.tail = 8 },
		"probe with a packet": func(o *option) { o.tail = probe },
		"bounce and accept":   func(o *option) { o.tail = bounce | accept },
		"Ethernet inside":     func(o *option) { o.proto = 0x6558 },
		"other family":        func(o *option) { o.proto ^= 0x0800 ^ 0x86dd },
	}
	for name, change := range spoil {
		o := good()
		change(&o)
		if got := r.in(c.wrapped(o, syn.IP()).Frame()); got.verdict != "drop_tunnel" || got.action != drop {
			r.t.Errorf("%s: verdict %s", name, got.verdict)
		}
	}
	other := inner4
	if c.client.Addr().Is4() {
		other = inner6
	}
	mapped := packet.UDP(addr("[::ffff:192.0.2.1]:1"), addr("[2001:db8::1]:2"), nil)
	for name, inner := range map[string][]byte{
		"inner packet of the other family": packet.TCP(other.client, other.vip, packet.SYN, nil).IP(),
		"truncated":                        syn.IP()[:len(syn.IP())-1],
		"trailing bytes":                   append(syn.IP(), 0),
		"no packet":                        nil,
		"from a group":                     packet.UDP(netip.AddrPortFrom(group(c), 1), c.vip, nil).IP(),
		"to a group":                       packet.UDP(c.client, netip.AddrPortFrom(group(c), 1), nil).IP(),
		"mapped source":                    mapped.IP(),
	} {
		if got := r.in(c.wrapped(good(), inner).Frame()); got.verdict != "drop_tunnel" {
			r.t.Errorf("%s: verdict %s", name, got.verdict)
		}
	}
	sum := c.wrapped(good(), syn.IP())
	sum.Transport.(*packet.UDPHeader).NoChecksum = false
	r.want("drop_tunnel", drop, sum, nil)
	short := c.wrapped(good(), syn.IP()).Frame()
	udp := len(short) - len(c.wrapped(good(), syn.IP()).Payload) - 8
	binary.BigEndian.PutUint16(short[udp+4:], uint16(len(short)-udp-1))
	r.wantRaw("drop_tunnel", drop, short, len(short)-14, nil)
	if c.lb.Is4() {
		first := c.wrapped(good(), append(slices.Clone(syn.IP()), make([]byte, 64)...)).Fragments(80)[0]
		r.wantRaw("drop_tunnel", drop, first, len(first)-14, nil)
	}
	cut := c.wrapped(good(), syn.IP()).Frame()
	r.wantRaw("drop_tunnel", drop, cut[:len(cut)-1], len(cut)-14, nil)
}

func group(c cast) netip.Addr {
	if c.client.Addr().Is4() {
		return ip("239.0.0.1")
	}
	return ip("ff0e::1")
}

// TestNobody is a node that knows no LB node: nothing comes in.
func TestNobody(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		for _, lb := range []netip.Addr{casts["v4 in v4"].lb, casts["v6 in v6"].lb} {
			if err := r.node.Map("members").Delete(bpf.AddrFrom(lb)); err != nil {
				t.Fatal(err)
			}
		}
		r.is("drop_tunnel_source", c.request(packet.TCP(c.client, c.vip, packet.SYN, nil), accept))
		r.is("drop_tunnel_source", c.wrapped(to(c.pod, 0, probe), nil).Frame())
	})
}
