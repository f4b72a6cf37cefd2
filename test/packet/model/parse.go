package model

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	maxTags       = 2
	maxExtensions = 6
	maxTransport  = 384 // offset in the frame beyond which no transport header is looked for
)

const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// part is what of a datagram a packet holds.
type part uint8

const (
	whole part = iota
	first
	later // its ports are not in it
)

type ports struct{ sport, dport uint16 }

type tuple struct {
	src, dst netip.AddrPort
	proto    uint8
}

// fragment is what the first one tells of the others.
type fragment struct {
	ports
	proto uint8
}

// datagram is what fragments have in common.
type datagram struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

// parsed is a frame with an IP packet. Offsets count from the frame's start.
type parsed struct {
	frame []byte
	l3    int // IP header
	l4    int // transport header
	end   int // of the IP packet; padding may follow

	src, dst     netip.Addr
	proto        uint8
	ttl          uint8
	tos          uint8
	dontFragment bool
	part         part
	id           uint32
	ports
	tcpFlags  uint8
	seq, ack  uint32 // of TCP
	icmpType  uint8
	broken    bool   // the headers do not fit
	bounced   bool   // an ingress node sent it back,
	asked     uint8  // the owner of this hop,
	outerPort uint16 // from this source port
}

func (p *parsed) ipv6() bool  { return p.src.Is6() }
func (p *parsed) length() int { return p.end - p.l3 }

func (p *parsed) isICMP() bool {
	if p.ipv6() {
		return p.proto == protoICMPv6
	}
	return p.proto == protoICMP
}

func (p *parsed) tuple() tuple {
	return tuple{netip.AddrPortFrom(p.src, p.sport), netip.AddrPortFrom(p.dst, p.dport), p.proto}
}

// datagram leaves out what IPv6 may say in the first fragment only.
func (p *parsed) datagram() datagram {
	d := datagram{p.src, p.dst, p.id, p.proto}
	if p.ipv6() {
		d.proto = 0
	}
	return d
}

// isSYN says whether the packet opens a connection.
func (p *parsed) isSYN() bool {
	return p.proto == protoTCP && p.part != later && p.tcpFlags&(flagSYN|flagACK) == flagSYN
}

// parse is false for what is no IP packet at all.
func parse(frame []byte) (*parsed, bool) {
	if len(frame) < 14 {
		return nil, false
	}
	p := &parsed{frame: frame, l3: 14}
	ethertype := binary.BigEndian.Uint16(frame[12:])
	for range maxTags {
		if ethertype != 0x8100 && ethertype != 0x88a8 {
			break
		}
		if len(frame) < p.l3+4 {
			return nil, false
		}
		ethertype = binary.BigEndian.Uint16(frame[p.l3+2:])
		p.l3 += 4
	}
	switch ip := frame[p.l3:]; {
	case ethertype == 0x0800 && len(ip) >= 20 && ip[0]>>4 == 4:
		p.parseIPv4(ip)
	case ethertype == 0x86dd && len(ip) >= 40 && ip[0]>>4 == 6:
		p.parseIPv6(ip)
	default:
		return nil, false
	}
	if !p.broken && p.part != later {
		p.parseTransport()
	}
	return p, true
}

func (p *parsed) parseIPv4(ip []byte) {
	header, length := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	p.src, p.dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	p.tos = ip[1]
	p.proto, p.ttl, p.id = ip[9], ip[8], uint32(binary.BigEndian.Uint16(ip[4:]))
	p.l4, p.end = p.l3+header, p.l3+length
	field := binary.BigEndian.Uint16(ip[6:])
	p.dontFragment = field&0x4000 != 0
	switch {
	case field&0x1fff != 0:
		p.part = later
	case field&0x2000 != 0:
		p.part = first
	}
	p.broken = header < 20 || length < header || length > len(ip)
}

func (p *parsed) parseIPv6(ip []byte) {
	length := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	p.src, p.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	p.tos = ip[0]<<4 | ip[1]>>4
	p.proto, p.ttl = ip[6], ip[7]
	p.l4, p.end = p.l3+40, p.l3+length
	p.dontFragment = true
	p.broken = length > len(ip)
	for n := 0; isExtension(p.proto) && !p.broken && p.part != later; n++ {
		if n == maxExtensions || p.l4+8 > p.end || p.l4 > maxTransport {
			p.broken = true
			return
		}
		header := p.frame[p.l4:p.end]
		size := 8
		if p.proto == 44 {
			p.parseFragment(header)
		} else {
			size += int(header[1]) * 8
		}
		p.proto = header[0]
		p.l4 += size
	}
	p.broken = p.broken || p.l4 > maxTransport || p.l4 > p.end
}

func (p *parsed) parseFragment(header []byte) {
	p.id = binary.BigEndian.Uint32(header[4:])
	field := binary.BigEndian.Uint16(header[2:])
	switch {
	case field>>3 != 0:
		p.part = later
	case field&1 != 0:
		p.part = first
	}
}

func isExtension(proto uint8) bool {
	return proto == 0 || proto == 43 || proto == 44 || proto == 60
}

func (p *parsed) parseTransport() {
	b := p.frame[p.l4:p.end]
	need := map[uint8]int{protoTCP: 20, protoUDP: 8}[p.proto]
	if p.isICMP() {
		need = 8
	}
	switch {
	case len(b) < need:
		p.broken = true
	case p.isICMP():
		p.icmpType = b[0]
	case need > 0:
		p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if p.proto == protoTCP {
			p.tcpFlags = b[13]
			p.seq, p.ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		}
	}
}

// isHost says whether an address can be a client's.
func isHost(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] != 127 && b[0] < 224 && !a.IsLinkLocalUnicast()
	}
	return !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6()
}
