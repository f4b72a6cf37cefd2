package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
)

// TunnelFlags are the last byte of a tunnel packet's option.
type TunnelFlags uint8

// What a tunnel packet can be besides an ordinary request, which has none of these.
const (
	Accept TunnelFlags = 1 << iota // the pod is to take the flow even if it is unknown
	Bounce                         // from an ingress node: its pod does not have the flow
	Probe                          // without an inner packet
)

// HopLearned is the hop of a request whose owner was not searched for.
const HopLearned = 0xff

// Geneve is the payload of a tunnel packet (RFC 8926): a header, its one option,
// and the inner packet.
type Geneve struct {
	Pod   netip.AddrPort // its family is the inner packet's
	Hop   uint8          // position of the owner that is asked
	Flags TunnelFlags
	Inner []byte // an IP packet
}

const (
	geneveHeader   = 8
	optionHeader   = 4
	optionTail     = 4    // port, hop, flags
	geneveCritical = 0x40 // there is an option that must not be ignored
	optionClass    = 0xff50
	optionType     = 0x81
)

// Bytes is the payload as it is on the wire.
func (g Geneve) Bytes() []byte {
	pod, ethertype := g.Pod.Addr().AsSlice(), uint16(0x0800)
	if len(pod) == 16 {
		ethertype = 0x86dd
	}
	data := len(pod) + optionTail
	b := []byte{byte((optionHeader + data) / 4), geneveCritical}
	b = binary.BigEndian.AppendUint16(b, ethertype)
	b = append(b, 0, 0, 0, 0) // VNI, reserved
	b = binary.BigEndian.AppendUint16(b, optionClass)
	b = append(b, optionType, byte(data/4))
	b = append(b, pod...)
	b = binary.BigEndian.AppendUint16(b, g.Pod.Port())
	return slices.Concat(append(b, g.Hop, byte(g.Flags)), g.Inner)
}

// ParseGeneve takes a tunnel packet's payload apart. The error says what is not as
// it has to be. The inner packet is not looked into.
func ParseGeneve(b []byte) (Geneve, error) {
	if len(b) < geneveHeader+optionHeader {
		return Geneve{}, fmt.Errorf("%d bytes are too short for Geneve with an option", len(b))
	}
	family := 0
	switch ethertype := binary.BigEndian.Uint16(b[2:]); ethertype {
	case 0x0800:
		family = 4
	case 0x86dd:
		family = 16
	default:
		return Geneve{}, fmt.Errorf("inner protocol %#04x", ethertype)
	}
	data := family + optionTail
	for _, field := range []struct {
		name       string
		have, want int
	}{
		{"version and options", int(b[0]), (optionHeader + data) / 4},
		{"flags", int(b[1]), geneveCritical},
		{"VNI and reserved", int(binary.BigEndian.Uint32(b[4:])), 0},
		{"option class", int(binary.BigEndian.Uint16(b[8:])), optionClass},
		{"option type", int(b[10]), optionType},
		{"option length", int(b[11]), data / 4},
	} {
		if field.have != field.want {
			return Geneve{}, fmt.Errorf("%s is %#x, not %#x", field.name, field.have, field.want)
		}
	}
	rest := b[geneveHeader+optionHeader:]
	if len(rest) < data {
		return Geneve{}, fmt.Errorf("%d bytes of option data, not %d", len(rest), data)
	}
	pod, _ := netip.AddrFromSlice(rest[:family])
	tail := rest[family:data]
	return Geneve{
		Pod: netip.AddrPortFrom(pod, binary.BigEndian.Uint16(tail)), Hop: tail[2], Flags: TunnelFlags(tail[3]),
		Inner: rest[data:],
	}, nil
}

// Tunnel returns a tunnel packet between two nodes. It is not to be fragmented and
// has no UDP checksum; a probe has one, as a socket sends it.
func Tunnel(src, dst netip.AddrPort, g Geneve) Packet {
	p := UDP(src, dst, g.Bytes())
	p.ID, p.DontFragment = 0, true
	p.Transport.(*UDPHeader).NoChecksum = g.Flags&Probe == 0
	return p
}

// TunnelOverhead is what a tunnel adds to a packet, in bytes.
func TunnelOverhead(outer, inner netip.Addr) int {
	return len(Tunnel(netip.AddrPortFrom(outer, 1), netip.AddrPortFrom(outer, 1), Geneve{Pod: netip.AddrPortFrom(inner, 1)}).IP())
}

// Opened is a tunnel packet taken apart.
type Opened struct {
	Src, Dst netip.AddrPort // of the outer packet
	TTL, TOS uint8
	Label    uint32 // flow label of IPv6
	Checksum uint16 // of UDP
	Geneve
}

// OpenTunnel takes a frame with a tunnel packet apart. Padding may follow the
// packet; all else is as it has to be, or there is an error.
func OpenTunnel(frame []byte) (o Opened, err error) {
	if len(frame) < 14 {
		return o, errors.New("no frame")
	}
	at := 12
	for at+6 < len(frame) && (frame[at] == 0x81 && frame[at+1] == 0 || frame[at] == 0x88 && frame[at+1] == 0xa8) {
		at += 4
	}
	ip := frame[at+2:]
	var src, dst netip.Addr
	switch ethertype := binary.BigEndian.Uint16(frame[at:]); {
	case ethertype == 0x0800 && len(ip) >= 28:
		src, dst = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		o.TOS, o.TTL = ip[1], ip[8]
		if ip[0] != 0x45 || binary.BigEndian.Uint16(ip[6:]) != 0x4000 || ip[9] != 17 {
			return o, fmt.Errorf("outer IPv4 header % x has options, is a fragment, may be one, or holds no UDP", ip[:20])
		}
		if sum := gopacket.FoldChecksum(gopacket.ComputeChecksum(ip[:20], 0)); sum != 0 {
			return o, fmt.Errorf("outer IPv4 checksum is off by %#04x", sum)
		}
		ip, err = exactly(ip, int(binary.BigEndian.Uint16(ip[2:])), 20)
	case ethertype == 0x86dd && len(ip) >= 48:
		src, dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		word := binary.BigEndian.Uint32(ip)
		o.TOS, o.TTL, o.Label = uint8(word>>20), ip[7], word&0xfffff
		if word>>28 != 6 || ip[6] != 17 {
			return o, fmt.Errorf("outer IPv6 header % x holds no UDP", ip[:40])
		}
		ip, err = exactly(ip, 40+int(binary.BigEndian.Uint16(ip[4:])), 40)
	default:
		return o, fmt.Errorf("ethertype %#04x with %d bytes is no outer IP packet", ethertype, len(ip))
	}
	if err == nil && len(ip) < 8 {
		err = fmt.Errorf("%d bytes are no UDP datagram", len(ip))
	}
	if err != nil {
		return o, fmt.Errorf("outer IP packet: %w", err)
	}
	udp, err := exactly(ip, int(binary.BigEndian.Uint16(ip[4:])), 8)
	if err == nil && len(udp) != len(ip)-8 {
		err = fmt.Errorf("%d bytes follow it", len(ip)-8-len(udp))
	}
	if err != nil {
		return o, fmt.Errorf("outer UDP datagram: %w", err)
	}
	o.Src, o.Dst = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ip)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ip[2:]))
	o.Checksum = binary.BigEndian.Uint16(ip[6:])
	o.Geneve, err = ParseGeneve(udp)
	return o, err
}

// exactly returns what follows the header in the packet of so many bytes.
func exactly(b []byte, length, header int) ([]byte, error) {
	if length < header || length > len(b) {
		return nil, fmt.Errorf("its length is %d, of %d to %d bytes", length, header, len(b))
	}
	return b[header:length], nil
}
