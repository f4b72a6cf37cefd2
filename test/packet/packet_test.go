package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

var (
	client4, vip4 = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.10:8080")
	client6, vip6 = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:f::10]:8080")
)

func with(p Packet, change func(*Packet)) Packet {
	change(&p)
	return p
}

// The frames are what they should be: the bytes that matter are spelled out, the
// lengths and checksums are verified by sums of our own and by gopacket.
func TestFrames(t *testing.T) {
	options := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionData: []byte{5, 0xb4}}}
	tests := []struct {
		name   string
		packet Packet
		at     int
		bytes  string // found at offset at
	}{
		{"tcp4", TCP(client4, vip4, SYN, nil), 0,
			"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x28\x12\x34\x40\x00\x40\x06"},
		{"tcp4 flags", TCP(client4, vip4, FIN|ACK|PSH, Payload(5)), 14 + 20 + 12, "\x50\x19"},
		{"tcp4 options", with(TCP(client4, vip4, SYN, nil), func(p *Packet) { p.Transport.(*TCPHeader).Options = options }),
			14 + 20 + 12, "\x60\x02\xfa\xf0"},
		{"udp4", UDP(client4, vip4, Payload(3)), 14 + 20, "\x9c\x40\x1f\x90\x00\x0b"},
		{"udp4 without checksum", with(UDP(client4, vip4, Payload(3)), func(p *Packet) { p.Transport.(*UDPHeader).NoChecksum = true }),
			14 + 20 + 4, "\x00\x0b\x00\x00\x00\x01\x02"},
		{"udp4 options", with(UDP(client4, vip4, nil), func(p *Packet) { p.Options = []byte{1, 1, 1, 0} }), 14, "\x46\x00\x00\x20"},
		{"udp4 vlan", with(UDP(client4, vip4, nil), func(p *Packet) { p.VLANs = []uint16{5} }), 12, "\x81\x00\x00\x05\x08\x00\x45"},
		{"udp4 two vlans", with(UDP(client4, vip4, nil), func(p *Packet) { p.VLANs = []uint16{5, 0xe006} }), 12,
			"\x88\xa8\x00\x05\x81\x00\xe0\x06\x08\x00\x45"},
		{"udp4 padding", with(UDP(client4, vip4, nil), func(p *Packet) { p.Padding = make([]byte, 18) }), 14 + 20 + 8,
			strings.Repeat("\x00", 18)},
		{"echo4", Echo(client4.Addr(), vip4.Addr(), 0x0102, 0x0304, Payload(9)), 14 + 20 + 4, "\x01\x02\x03\x04\x00\x01"},
		{"error4", Error(client4.Addr(), vip4.Addr(), 3, 4, 1400, TCP(vip4, client4, ACK, nil).IP()[:28]), 14 + 20 + 4,
			"\x00\x00\x05\x78\x45\x00\x00\x28"},
		{"raw4", with(UDP(client4, vip4, Payload(4)), func(p *Packet) { p.Transport = Raw(47) }), 14 + 9, "\x2f"},
		{"tcp6", TCP(client6, vip6, SYN, nil), 12, "\x86\xdd\x60\x00\x00\x00\x00\x14\x06\x40"},
		{"udp6", UDP(client6, vip6, Payload(4)), 14 + 40, "\x9c\x40\x1f\x90\x00\x0c"},
		{"udp6 extensions", with(UDP(client6, vip6, nil), func(p *Packet) {
			p.Extensions = []Extension{HopByHop(1), Destination(40), Routing(2), Atomic(7)}
		}), 14 + 40, "\x3c\x00\x01\x04\x00\x00\x00\x00\x2b\x27\x01\xff"},
		{"udp6 atomic fragment", with(UDP(client6, vip6, nil), func(p *Packet) { p.Extensions = []Extension{Atomic(7)} }), 14 + 40,
			"\x11\x00\x00\x00\x00\x00\x00\x07\x9c\x40"},
		{"echo6", Echo(client6.Addr(), vip6.Addr(), 1, 2, Payload(8)), 14 + 40, "\x80\x00"},
		{"error6", Error(client6.Addr(), vip6.Addr(), 2, 0, 1400, UDP(vip6, client6, nil).IP()), 14 + 40 + 4,
			"\x00\x00\x05\x78\x60\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := tt.packet.Frame()
			if got := string(frame[tt.at:min(len(frame), tt.at+len(tt.bytes))]); got != tt.bytes {
				t.Errorf("offset %d holds %x, want %x", tt.at, got, tt.bytes)
			}
			if err := Verify(frame); err != nil {
				t.Error(err)
			}
			checkSums(t, tt.packet)
		})
	}
}

// checkSums sums by RFC 1071 what a checksum covers.
func checkSums(t *testing.T, p Packet) {
	t.Helper()
	ip := p.IP()
	transport := p.transport()
	if !bytes.HasSuffix(ip, transport) {
		t.Errorf("the packet does not end with its transport")
	}
	var pseudo []byte
	if p.Src.Is4() {
		if s := sum(ip[:20+len(p.Options)]); s != 0xffff {
			t.Errorf("IPv4 header sums to %#x", s)
		}
		if int(binary.BigEndian.Uint16(ip[2:])) != len(ip) {
			t.Errorf("IPv4 length is %d of %d", binary.BigEndian.Uint16(ip[2:]), len(ip))
		}
	} else if int(binary.BigEndian.Uint16(ip[4:]))+40 != len(ip) {
		t.Errorf("IPv6 payload length is %d of %d", binary.BigEndian.Uint16(ip[4:]), len(ip)-40)
	}
	proto := p.Transport.proto(p.Src.Is6())
	switch h := p.Transport.(type) {
	case Raw:
		return
	case *UDPHeader:
		if h.NoChecksum {
			return
		}
	}
	if proto != 1 {
		pseudo = append(p.Src.AsSlice(), p.Dst.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(transport)))
		pseudo = append(pseudo, 0, proto)
	}
	if s := sum(append(pseudo, transport...)); s != 0xffff {
		t.Errorf("transport sums to %#x", s)
	}
}

func sum(b []byte) uint16 {
	var s uint32
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestFragmentsMakeThePacket(t *testing.T) {
	for _, p := range []Packet{
		UDP(client4, vip4, Payload(3000)), UDP(client6, vip6, Payload(3000)), Echo(client4.Addr(), vip4.Addr(), 1, 1, Payload(80)),
		with(UDP(client4, vip4, Payload(100)), func(p *Packet) { p.Options = []byte{1, 1, 1, 1} }),
		with(UDP(client6, vip6, Payload(100)), func(p *Packet) { p.Extensions = []Extension{HopByHop(2)} }),
	} {
		p.VLANs = []uint16{7}
		const size = 48
		whole := p.transport()
		var got []byte
		frames := p.Fragments(size)
		for i, frame := range frames {
			ip := frame[18:]
			var header, offset int
			var more bool
			if p.Src.Is4() {
				header = int(ip[0]&15) * 4
				field := binary.BigEndian.Uint16(ip[6:])
				offset, more = int(field&0x1fff)*8, field&0x2000 != 0
			} else {
				header = len(ip) - min(size, len(whole)-i*size)
				field := binary.BigEndian.Uint16(ip[header-6:])
				offset, more = int(field&^7), field&1 != 0
				if id := binary.BigEndian.Uint32(ip[header-4:]); id != p.ID {
					t.Errorf("fragment %d has identification %#x, want %#x", i, id, p.ID)
				}
			}
			if offset != len(got) || more != (i < len(frames)-1) {
				t.Errorf("fragment %d of %d: offset %d, more %t after %d bytes", i, len(frames), offset, more, len(got))
			}
			got = append(got, ip[header:]...)
		}
		if !bytes.Equal(got, whole) {
			t.Errorf("fragments of %s make %d bytes, want %d", p.Dst, len(got), len(whole))
		}
	}
}

func TestDiffNamesTheField(t *testing.T) {
	a, b := UDP(client4, vip4, Payload(3)), UDP(client4, vip4, Payload(3))
	if diff := Diff(a.Frame(), b.Frame()); diff != "" {
		t.Errorf("equal frames differ:\n%s", diff)
	}
	b.TTL = 63
	diff := Diff(a.Frame(), b.Frame())
	for _, want := range []string{"TTL=64", "TTL=63", "Checksum="} {
		if !strings.Contains(diff, want) {
			t.Errorf("no %q in:\n%s", want, diff)
		}
	}
	if diff := Diff(a.Frame(), append(a.Frame(), 0)); diff == "" {
		t.Error("a byte of padding makes no difference")
	}
	if diff := Diff(nil, a.Frame()); diff == "" {
		t.Error("no frame is as good as one")
	}
}

func TestVerifyFindsWrongChecksums(t *testing.T) {
	for name, tt := range map[string]struct {
		packet Packet
		at     int
	}{
		"IPv4":   {UDP(client4, vip4, nil), 14 + 8},
		"TCP":    {TCP(client4, vip4, ACK, Payload(3)), 14 + 20 + 21},
		"TCP6":   {TCP(client6, vip6, ACK, Payload(3)), 14 + 40 + 21},
		"UDP":    {UDP(client6, vip6, Payload(3)), 14 + 40 + 9},
		"ICMPv4": {Echo(client4.Addr(), vip4.Addr(), 1, 2, nil), 14 + 20 + 5},
		"ICMPv6": {Echo(client6.Addr(), vip6.Addr(), 1, 2, nil), 14 + 40 + 5},
	} {
		frame := tt.packet.Frame()
		if err := Verify(frame); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		frame[tt.at] ^= 0x10
		if Verify(frame) == nil {
			t.Errorf("%s: a flipped bit passes", name)
		}
	}
}
