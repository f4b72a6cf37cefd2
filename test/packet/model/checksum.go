package model

import (
	"encoding/binary"
	"net/netip"
)

// sumChange is what a checksum covered before and covers after. A checksum that
// was wrong by some amount stays so: whoever receives the packet shall find out.
type sumChange struct{ before, after uint64 }

// and adds bytes that begin at an even offset.
func (c sumChange) and(before, after []byte) sumChange {
	return sumChange{c.before + sum(before), c.after + sum(after)}
}

// apply changes the checksum field that check begins with, which may itself be in
// what was summed. A UDP checksum of 0 says that there is none (RFC 768).
func (c sumChange) apply(check []byte, proto uint8) {
	old := binary.BigEndian.Uint16(check)
	if proto == protoUDP && old == 0 {
		return
	}
	// RFC 1624, equation 3, with one sum for all that changed.
	now := ^fold(uint64(^old) + uint64(^fold(c.before)) + c.after)
	if proto == protoUDP && now == 0 {
		now = 0xffff
	}
	binary.BigEndian.PutUint16(check, now)
}

// pseudo sums what differs between pseudo-headers: lengths and protocol do not.
func pseudo(src, dst netip.Addr) uint64 { return sum(src.AsSlice()) + sum(dst.AsSlice()) }

func sum(b []byte) (s uint64) {
	for i, v := range b {
		if i%2 == 0 {
			s += uint64(v) << 8
		} else {
			s += uint64(v)
		}
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
