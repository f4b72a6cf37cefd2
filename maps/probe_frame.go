package maps

import (
	"encoding/binary"
	"net/netip"

	"github.com/penstock-lb/penstock/bpf"
)

// probe is the first packet of a flow from client to a frontend.
type probe struct {
	Frontend
	client netip.AddrPort
}

const (
	ethLen      = 14
	ip4Len      = 20
	ip6Len      = 40
	tcpLen      = 20
	udpLen      = 8
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	probeTTL    = 64
	probeWindow = 1024
	tcpSYN      = 0x02
)

// tuple is the key of the flow, where it has one.
func (p probe) tuple() bpf.Tuple {
	return bpf.Tuple{
		Src: bpf.AddrFrom(p.client.Addr()), Dst: bpf.AddrFrom(p.VIP),
		Sport: bpf.Htons(p.client.Port()), Dport: bpf.Htons(p.Port), Proto: uint8(p.Proto),
	}
}

// frame is the packet on an Ethernet, with checksums that are right: a TCP SYN, or an empty
// datagram.
func (p probe) frame() []byte {
	segment := p.segment()
	frame := append(make([]byte, ethLen, 128), p.header(len(segment))...)
	frame[0], frame[6] = 2, 2 // addresses of nobody, administered locally
	etherType := uint16(etherIPv4)
	if p.VIP.Is6() {
		etherType = etherIPv6
	}
	binary.BigEndian.PutUint16(frame[12:], etherType)
	return append(frame, segment...)
}

// header is that of IP before so many bytes.
func (p probe) header(length int) []byte {
	src, dst := p.client.Addr().AsSlice(), p.VIP.AsSlice()
	if p.VIP.Is6() {
		h := []byte{0: 6 << 4, 6: byte(p.Proto), 7: probeTTL, ip6Len - 1: 0}
		binary.BigEndian.PutUint16(h[4:], uint16(length))
		copy(h[8:], src)
		copy(h[24:], dst)
		return h
	}
	h := []byte{0: 4<<4 | ip4Len/4, 6: 0x40, 8: probeTTL, 9: byte(p.Proto), ip4Len - 1: 0}
	binary.BigEndian.PutUint16(h[2:], uint16(ip4Len+length))
	copy(h[12:], src)
	copy(h[16:], dst)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return h
}

// segment is what follows the IP header.
func (p probe) segment() []byte {
	length, at := tcpLen, 16 // of the header, and of the checksum in it
	if p.Proto == UDP {
		length, at = udpLen, 6
	}
	s := make([]byte, length)
	binary.BigEndian.PutUint16(s, p.client.Port())
	binary.BigEndian.PutUint16(s[2:], p.Port)
	if p.Proto == UDP {
		binary.BigEndian.PutUint16(s[4:], udpLen)
	} else {
		s[12], s[13] = tcpLen/4<<4, tcpSYN
		binary.BigEndian.PutUint16(s[14:], probeWindow)
	}
	// The pseudo-header of RFC 9293, 3.1 and of RFC 8200, 8.1, which add up alike.
	pseudo := append(p.client.Addr().AsSlice(), p.VIP.AsSlice()...)
	pseudo = append(pseudo, 0, byte(p.Proto), 0, byte(length))
	sum := checksum(append(pseudo, s...))
	if sum == 0 && p.Proto == UDP { // 0 says that there is none (RFC 768)
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(s[at:], sum)
	return s
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// destination is where a frame without or with one VLAN tag goes; invalid where it is not IP.
func destination(frame []byte) netip.Addr {
	at := 12
	if len(frame) >= 18 && binary.BigEndian.Uint16(frame[at:]) == 0x8100 {
		at += 4
	}
	if len(frame) < at+2+ip6Len {
		frame = append(frame, make([]byte, at+2+ip6Len)...) // an IPv4 packet can be shorter
	}
	ip := frame[at+2:]
	switch binary.BigEndian.Uint16(frame[at:]) {
	case etherIPv4:
		return netip.AddrFrom4([4]byte(ip[16:20]))
	case etherIPv6:
		return netip.AddrFrom16([16]byte(ip[24:40]))
	}
	return netip.Addr{}
}
