package packet

import (
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Transport is a header that follows IP's: *TCPHeader, *UDPHeader, *ICMPHeader or
// Raw.
type Transport interface {
	proto(ipv6 bool) uint8
	layers(ip gopacket.NetworkLayer, payload []byte) []gopacket.SerializableLayer
}

// TCPFlags are the flags' byte of a TCP header.
type TCPFlags uint8

// The flags of RFC 9293, 3.1.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// TCPHeader is a TCP header.
type TCPHeader struct {
	Src, Dst uint16
	Flags    TCPFlags
	Seq, Ack uint32
	Options  []layers.TCPOption // padded to a multiple of 4 bytes
}

func (h *TCPHeader) proto(bool) uint8 { return 6 }

func (h *TCPHeader) layers(ip gopacket.NetworkLayer, payload []byte) []gopacket.SerializableLayer {
	t := &layers.TCP{
		SrcPort: layers.TCPPort(h.Src), DstPort: layers.TCPPort(h.Dst), Seq: h.Seq, Ack: h.Ack, Window: 64240,
		FIN: h.Flags&FIN != 0, SYN: h.Flags&SYN != 0, RST: h.Flags&RST != 0,
		PSH: h.Flags&PSH != 0, ACK: h.Flags&ACK != 0, URG: h.Flags&URG != 0,
		Options: h.Options,
	}
	return []gopacket.SerializableLayer{over(ip, t), gopacket.Payload(payload)}
}

// UDPHeader is a UDP header.
type UDPHeader struct {
	Src, Dst   uint16
	NoChecksum bool // sends 0, which IPv4 allows (RFC 768)
}

func (h *UDPHeader) proto(bool) uint8 { return 17 }

func (h *UDPHeader) layers(ip gopacket.NetworkLayer, payload []byte) []gopacket.SerializableLayer {
	u := &layers.UDP{SrcPort: layers.UDPPort(h.Src), DstPort: layers.UDPPort(h.Dst)}
	if !h.NoChecksum {
		return []gopacket.SerializableLayer{over(ip, u), gopacket.Payload(payload)}
	}
	u.Length = uint16(8 + len(payload))
	return []gopacket.SerializableLayer{gopacket.Payload(serializeAsIs(u)), gopacket.Payload(payload)}
}

// ICMPHeader is the header of an ICMP message, of the packet's family.
type ICMPHeader struct {
	Type, Code uint8
	Rest       uint32 // the header's second word: identifier and sequence number, or MTU
}

func (h *ICMPHeader) proto(ipv6 bool) uint8 {
	if ipv6 {
		return 58
	}
	return 1
}

func (h *ICMPHeader) layers(ip gopacket.NetworkLayer, payload []byte) []gopacket.SerializableLayer {
	rest := []byte{byte(h.Rest >> 24), byte(h.Rest >> 16), byte(h.Rest >> 8), byte(h.Rest)}
	if ip.LayerType() == layers.LayerTypeIPv6 {
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(h.Type, h.Code)}
		return []gopacket.SerializableLayer{over(ip, icmp), gopacket.Payload(rest), gopacket.Payload(payload)}
	}
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(h.Type, h.Code),
		Id: uint16(h.Rest >> 16), Seq: uint16(h.Rest)}
	return []gopacket.SerializableLayer{icmp, gopacket.Payload(payload)}
}

// Raw is an IP protocol number without a header of ours: all is payload.
type Raw uint8

func (r Raw) proto(bool) uint8 { return uint8(r) }

func (r Raw) layers(_ gopacket.NetworkLayer, payload []byte) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{gopacket.Payload(payload)}
}

// over tells a transport layer whose addresses its checksum covers.
func over[L checksummed](ip gopacket.NetworkLayer, l L) L {
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	return l
}

type checksummed interface {
	SetNetworkLayerForChecksum(ip gopacket.NetworkLayer) error
}
