package hostile

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// Tags, of whatever priority, are on the answer that goes back the way it came.
func TestAnswersKeepTheirTags(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4), service("web6", maps.TCP, vip6, pod6))
	for _, tags := range [][]uint16{nil, {5}, {0xe000}, {0xe005}, {5, 0x6007}} {
		for _, p := range []packet.Packet{
			packet.Echo(client4.Addr(), vip4.Addr(), 7, 9, packet.Payload(33)),
			packet.Echo(client6.Addr(), vip6.Addr(), 7, 9, packet.Payload(33)),
		} {
			p.VLANs, p.TTL = tags, 3
			answer := packet.Error(p.Dst, p.Src, 0, 0, 7<<16|9, p.Payload)
			if p.Src.Is6() {
				answer = packet.Error(p.Dst, p.Src, 129, 0, 7<<16|9, p.Payload)
			}
			answer.VLANs, answer.SrcMAC, answer.DstMAC = tags, p.DstMAC, p.SrcMAC
			if diff := packet.Diff(answer.Frame(), r.is("icmp_echo", p.Frame())); diff != "" {
				t.Errorf("tags %v: %s", tags, diff)
			}
		}
		for _, p := range []packet.Packet{
			packet.TCP(client4, addr("198.51.100.1", 9), packet.SYN, packet.Payload(3)),
			packet.TCP(client6, netip.AddrPortFrom(vip6.Addr(), 9), packet.SYN, packet.Payload(200)),
		} {
			p.VLANs = tags
			if diff := packet.Diff(unreachable(p), r.is("reject_port", p.Frame())); diff != "" {
				t.Errorf("tags %v: %s", tags, diff)
			}
		}
		p := packet.TCP(client4, vip4, packet.SYN, nil)
		p.VLANs = tags
		out := r.is("forward", p.Frame())
		if err := packet.Verify(out); err != nil || !bytes.Equal(out[:14], slices.Concat(hopDst[:], hopSrc[:], []byte{8, 0})) {
			t.Errorf("tags %v: forwarded as % x: %v", tags, out[:14], err)
		}
	}
}

// unreachable is the answer to a packet for a port that is closed.
func unreachable(p packet.Packet) []byte {
	icmpType, code := uint8(3), uint8(3)
	if p.Src.Is6() {
		icmpType, code = 1, 4
	}
	quoted := p.IP()
	answer := packet.Error(p.Dst, p.Src, icmpType, code, 0, quoted[:min(len(quoted), 128)])
	answer.VLANs, answer.SrcMAC, answer.DstMAC, answer.ID, answer.DontFragment = p.VLANs, p.DstMAC, p.SrcMAC, 0, true
	return answer.Frame()
}

// VIPs, and a VIP to itself, are no clients: two services could answer each other
// for ever.
func TestFromVIPs(t *testing.T) {
	r := newRig(t)
	second := addr("198.51.100.2", 80)
	r.sync(service("a", maps.UDP, vip4, pod4), service("b", maps.UDP, second, pod4), service("six", maps.UDP, vip6, pod6),
		service("empty", maps.UDP, addr("198.51.100.3", 80)))
	for _, c := range []netip.AddrPort{vip4, second, addr("198.51.100.1", 0), addr("127.0.0.1", 80), addr("0.0.0.0", 0), addr("255.255.255.255", 1), addr("224.0.0.1", 1)} {
		r.is("drop_source", packet.UDP(c, vip4, nil).Frame())
	}
	for _, c := range []netip.AddrPort{vip6, addr("::1", 80), addr("::", 0), addr("ff02::1", 1), addr("::ffff:192.0.2.1", 1)} {
		r.is("drop_source", packet.UDP(c, vip6, nil).Frame())
	}
	for _, src := range []netip.Addr{vip4.Addr(), second.Addr()} { // an answer to a VIP must end there
		out := r.run(packet.Echo(src, vip4.Addr(), 1, 1, nil).Frame())
		if out.action == xdpTX {
			r.is("drop_icmp", out.frame)
		}
	}
	for _, dst := range []netip.AddrPort{addr("198.51.100.1", 9), addr("198.51.100.3", 80)} {
		out := r.run(packet.UDP(second, dst, nil).Frame())
		if out.action == xdpTX {
			r.is("drop_icmp", out.frame)
		}
	}
}

// Ports of 0 are as good as others to us; port 0 of a VIP is nobody's, though the
// VIP's own entry looks alike.
func TestPortsOfZero(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.UDP, vip4, pod4))
	r.is("forward", packet.UDP(netip.AddrPortFrom(client4.Addr(), 0), vip4, nil).Frame())
	r.is("reject_port", packet.UDP(client4, netip.AddrPortFrom(vip4.Addr(), 0), nil).Frame())
	zero := packet.UDP(client4, netip.AddrPortFrom(vip4.Addr(), 0), nil)
	zero.Transport = packet.Raw(0) // protocol 0 and no ports: the VIP's own key
	r.is("drop_protocol", zero.Frame())
}

// Frames whose payload is not in one piece.
func TestJumboFrames(t *testing.T) {
	r := newRig(t)
	web, web6 := service("web", maps.UDP, vip4, pod4), service("web6", maps.TCP, vip6, pod6)
	want := r.want(web, web6)
	for a, hop := range want.NextHops {
		hop.MTU = 9000
		want.NextHops[a] = hop
	}
	r.must(r.tables.Sync(t.Context(), want))
	for _, p := range []packet.Packet{
		packet.UDP(client4, vip4, packet.Payload(8900)), packet.TCP(client6, vip6, packet.SYN, packet.Payload(8900)),
	} {
		out := r.is("forward", p.Frame())
		if err := packet.Verify(out); err != nil || len(out) != len(p.Frame()) {
			t.Errorf("%d bytes became %d: %v", len(p.Frame()), len(out), err)
		}
	}
	closed := packet.UDP(client4, addr("198.51.100.1", 9), packet.Payload(8900))
	if diff := packet.Diff(unreachable(closed), r.is("reject_port", closed.Frame())); diff != "" {
		t.Error(diff)
	}
	big := packet.UDP(client4, vip4, packet.Payload(9100))
	big.DontFragment = true
	r.is("reject_too_big", big.Frame())
	echo := packet.Echo(client6.Addr(), vip6.Addr(), 1, 2, packet.Payload(8000))
	if err := packet.Verify(r.is("icmp_echo", echo.Frame())); err != nil {
		t.Error(err)
	}
}

// A frame that Ethernet gave to everybody is nobody's to forward or to answer:
// all load balancers of the segment would (RFC 1122, 3.2.2 and 3.3.6).
func TestFramesForEverybody(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.UDP, vip4, pod4), service("web6", maps.UDP, vip6, pod6))
	for _, mac := range []packet.MAC{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x01, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}} {
		for name, p := range map[string]packet.Packet{
			"request": packet.UDP(client4, vip4, nil),
			"closed":  packet.UDP(client4, addr("198.51.100.1", 9), nil),
			"echo":    packet.Echo(client4.Addr(), vip4.Addr(), 1, 1, nil),
			"six":     packet.UDP(client6, vip6, nil),
		} {
			p.DstMAC = mac
			got := r.run(p.Frame())
			if got.action == xdpTX || got.action == xdpRedirect {
				t.Errorf("%s to %x: %s", name, mac, got.verdict)
			}
			if len(got.frame) > 12 && got.action == xdpTX && got.frame[6]&1 != 0 {
				t.Errorf("%s to %x: answered from the group address %x", name, mac, got.frame[6:12])
			}
		}
	}
}

// The fragment header names what follows it in the whole packet, extension headers
// included, and the later fragments say the same.
func TestFragmentHeaderBeforeExtensions(t *testing.T) {
	r := newRig(t)
	r.sync(service("web6", maps.UDP, vip6, pod6))
	udp := packet.UDP(client6, vip6, packet.Payload(96))
	whole := udp.IP()[40:]
	options := []byte{17, 0, 1, 4, 0, 0, 0, 0}
	part := func(offset byte, more byte, data []byte) []byte {
		p := packet.UDP(client6, vip6, nil)
		ip := p.IP()[:40]
		header := []byte{60, 0, 0, offset | more, 0, 0, 0, 9}
		body := slices.Concat(header, data)
		ip[6], ip[5] = 44, byte(len(body))
		return slices.Concat(p.Frame()[:14], ip, body)
	}
	all := slices.Concat(options, whole)
	r.is("forward", part(0, 1, all[:56]))
	r.is("forward", part(56, 0, all[56:]))
}

// The kernel takes one hop off what it forwards.
func TestKernelPathTakesOneHop(t *testing.T) {
	r := newRig(t)
	web := service("web", maps.UDP, vip4, pod4)
	want := r.want(web)
	hop := want.NextHops[pod4.Addr()]
	hop.Ifindex = 4095 // a device that we may not send through
	want.NextHops[pod4.Addr()] = hop
	r.must(r.tables.Sync(t.Context(), want))
	p := packet.UDP(client4, vip4, nil)
	p.TTL = 9
	out := r.is("forward_kernel", p.Frame())
	if err := packet.Verify(out); err != nil {
		t.Error(err)
	}
	if out[14+8] != 9 {
		t.Errorf("TTL 9 became %d before the kernel takes off another one", out[14+8])
	}
}

// Addresses that mean something on one link only can't be answered over another.
func TestLinkLocalClients(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.UDP, vip4, pod4), service("web6", maps.UDP, vip6, pod6))
	for _, c := range []string{"169.254.1.1", "fe80::1"} {
		vip := vip4
		if c[0] == 'f' {
			vip = vip6
		}
		r.is("drop_source", packet.UDP(addr(c, 40000), vip, nil).Frame())
	}
}

// A later fragment alone opens no flow: the first one went elsewhere.
func TestLaterFragmentOpensNoFlow(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.UDP, vip4, pod4))
	frames := packet.UDP(client4, vip4, packet.Payload(100)).Fragments(64)
	r.is("forward", frames[0])
	r.sync(service("web", maps.UDP, vip4, addr("10.1.0.2", 8080)))
	r.is("drop_fragment", frames[1])
}

// A frame that is no IP packet counts with all its bytes, in however many pieces.
func TestBytesOfJumboFrames(t *testing.T) {
	r := newRig(t)
	arp := packet.UDP(client4, vip4, packet.Payload(8900)).Frame()
	arp[12], arp[13] = 0x88, 0xcc
	before := r.verdicts()
	r.is("pass_not_ip", arp)
	if n := r.verdicts()[0].Bytes - before[0].Bytes; n != uint64(len(arp)) {
		t.Errorf("pass_not_ip counted %d bytes of %d", n, len(arp))
	}
}
