package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// MAC is an Ethernet address.
type MAC [6]byte

// The MACs that frames have unless told otherwise: the router sends, the node
// receives.
var (
	RouterMAC = MAC{0x02, 0, 0, 0, 0, 0x01}
	NodeMAC   = MAC{0x02, 0, 0, 0, 0, 0x02}
)

// Packet describes one IP packet in its Ethernet frame.
type Packet struct {
	SrcMAC, DstMAC MAC
	VLANs          []uint16 // tags (PCP, DEI and ID), outermost first; of several, the first is 802.1ad
	Padding        []byte   // follows the IP packet

	Src, Dst     netip.Addr // of one family, which is the packet's
	TTL          uint8      // or hop limit
	TOS          uint8      // or traffic class
	Label        uint32     // flow label of IPv6
	ID           uint32     // identification of fragments; IPv4 uses the lower 16 bits
	DontFragment bool       // IPv4
	Options      []byte     // IPv4, a multiple of 4 bytes
	Extensions   []Extension

	Transport Transport
	Payload   []byte // what follows the transport header
}

// TCP returns a TCP segment.
func TCP(src, dst netip.AddrPort, flags TCPFlags, payload []byte) Packet {
	p := between(src.Addr(), dst.Addr(), payload)
	p.DontFragment = true
	p.Transport = &TCPHeader{Src: src.Port(), Dst: dst.Port(), Flags: flags, Seq: 1000, Ack: 2000}
	return p
}

// UDP returns a UDP datagram.
func UDP(src, dst netip.AddrPort, payload []byte) Packet {
	p := between(src.Addr(), dst.Addr(), payload)
	p.Transport = &UDPHeader{Src: src.Port(), Dst: dst.Port()}
	return p
}

// Echo returns a ping of the addresses' family.
func Echo(src, dst netip.Addr, id, seq uint16, payload []byte) Packet {
	p := between(src, dst, payload)
	p.Transport = &ICMPHeader{Type: 8, Rest: uint32(id)<<16 | uint32(seq)}
	if src.Is6() {
		p.Transport.(*ICMPHeader).Type = 128
	}
	return p
}

// Error returns an ICMP error of the addresses' family. rest is the second word
// of its header, where the MTU stands; quoted is the IP packet that it is about,
// as long as it is to be quoted.
func Error(src, dst netip.Addr, icmpType, code uint8, rest uint32, quoted []byte) Packet {
	p := between(src, dst, quoted)
	p.Transport = &ICMPHeader{Type: icmpType, Code: code, Rest: rest}
	return p
}

func between(src, dst netip.Addr, payload []byte) Packet {
	return Packet{SrcMAC: RouterMAC, DstMAC: NodeMAC, Src: src, Dst: dst, TTL: 64, ID: 0x1234, Payload: payload}
}

// Payload is n bytes that count up, so that a shifted or lost byte shows.
func Payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + i>>8)
	}
	return b
}

// Frame is the packet in an Ethernet frame, without the frame check sequence.
// There is no padding to Ethernet's minimum of 60 bytes except p.Padding.
func (p Packet) Frame() []byte { return p.frame(p.IP()) }

// IP is the packet without its Ethernet frame.
func (p Packet) IP() []byte {
	return p.network(p.Extensions, p.transport(), 0, false)
}

// Fragments are the frames of the packet cut into fragments that carry size
// bytes, a multiple of 8, of what can be cut: all that follows the IP header and
// the extensions.
func (p Packet) Fragments(size int) (frames [][]byte) {
	whole := p.transport()
	for offset := 0; offset < len(whole); offset += size {
		end := min(offset+size, len(whole))
		more := end < len(whole)
		extensions := p.Extensions
		if p.Src.Is6() {
			extensions = append(slices.Clone(extensions), fragmentHeader(p.ID, offset, more))
		}
		frames = append(frames, p.frame(p.network(extensions, whole[offset:end], offset, more)))
	}
	return frames
}

func (p Packet) frame(ip []byte) []byte {
	b := slices.Concat(p.DstMAC[:], p.SrcMAC[:])
	for i, tag := range p.VLANs {
		tpid := layers.EthernetTypeDot1Q
		if i == 0 && len(p.VLANs) > 1 {
			tpid = layers.EthernetTypeQinQ
		}
		b = binary.BigEndian.AppendUint16(b, uint16(tpid))
		b = binary.BigEndian.AppendUint16(b, tag)
	}
	proto := layers.EthernetTypeIPv4
	if p.Src.Is6() {
		proto = layers.EthernetTypeIPv6
	}
	b = binary.BigEndian.AppendUint16(b, uint16(proto))
	return slices.Concat(b, ip, p.Padding)
}

// transport is the packet's part that fragmentation cuts, with a checksum over
// the whole.
func (p Packet) transport() []byte {
	pseudo := p.header4(0)
	if p.Src.Is6() {
		return serialize(p.Transport.layers(p.header6(0), p.Payload)...)
	}
	return serialize(p.Transport.layers(pseudo, p.Payload)...)
}

func (p Packet) network(extensions []Extension, payload []byte, offset int, more bool) []byte {
	if p.Src.Is6() {
		next, chain := chain(extensions, p.Transport.proto(true))
		return serialize(p.header6(layers.IPProtocol(next)), gopacket.Payload(slices.Concat(chain, payload)))
	}
	ip := p.header4(layers.IPProtocol(p.Transport.proto(false)))
	ip.FragOffset = uint16(offset / 8)
	if more {
		ip.Flags |= layers.IPv4MoreFragments
	}
	// gopacket pads options and lays them out anew, and these are bytes.
	ip.IHL = uint8(5 + len(p.Options)/4)
	ip.Length = uint16(20 + len(p.Options) + len(payload))
	header := slices.Concat(serializeAsIs(ip), p.Options)
	sum := gopacket.FoldChecksum(gopacket.ComputeChecksum(header, 0))
	binary.BigEndian.PutUint16(header[10:], sum)
	return slices.Concat(header, payload)
}

func (p Packet) header4(proto layers.IPProtocol) *layers.IPv4 {
	ip := &layers.IPv4{Version: 4, TOS: p.TOS, Id: uint16(p.ID), TTL: p.TTL, Protocol: proto,
		SrcIP: p.Src.AsSlice(), DstIP: p.Dst.AsSlice()}
	if p.DontFragment {
		ip.Flags = layers.IPv4DontFragment
	}
	return ip
}

func (p Packet) header6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, TrafficClass: p.TOS, FlowLabel: p.Label, HopLimit: p.TTL, NextHeader: next,
		SrcIP: p.Src.AsSlice(), DstIP: p.Dst.AsSlice()}
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	return serializeWith(gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...)
}

func serializeAsIs(ls ...gopacket.SerializableLayer) []byte {
	return serializeWith(gopacket.SerializeOptions{}, ls...)
}

// serializeWith panics on what no packet can be: only a test's mistake leads there.
func serializeWith(opts gopacket.SerializeOptions, ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}
