package packet

import "encoding/binary"

// Extension is an IPv6 extension header (RFC 8200, 4).
type Extension struct {
	Proto uint8  // its own protocol number
	Data  []byte // what follows the next header's number; with that, a multiple of 8 bytes
}

// The extension headers' protocol numbers.
const (
	protoHopByHop    = 0
	protoRouting     = 43
	protoFragment    = 44
	protoNoNext      = 59
	protoDestination = 60
)

// HopByHop is a hop-by-hop options header of units times 8 bytes, full of padding.
func HopByHop(units int) Extension { return options(protoHopByHop, units) }

// Destination is a destination options header of units times 8 bytes, full of padding.
func Destination(units int) Extension { return options(protoDestination, units) }

// Routing is a routing header of units times 8 bytes without segments left, so
// that the packet has reached its destination.
func Routing(units int) Extension {
	e := Extension{Proto: protoRouting, Data: make([]byte, 8*units-1)}
	e.Data[0] = uint8(units - 1)
	e.Data[1] = 253 // for experiments (RFC 3692)
	return e
}

// Atomic is the fragment header of a packet that is not fragmented (RFC 6946).
func Atomic(id uint32) Extension { return fragmentHeader(id, 0, false) }

func options(proto uint8, units int) Extension {
	e := Extension{Proto: proto, Data: make([]byte, 8*units-1)}
	e.Data[0] = uint8(units - 1)
	// PadN holds at most 255 bytes and its own two (RFC 8200, 4.2).
	for rest := e.Data[1:]; len(rest) > 0; {
		n := min(len(rest), 257)
		if n == 1 {
			break // Pad1 is a byte of 0
		}
		rest[0], rest[1] = 1, uint8(n-2)
		rest = rest[n:]
	}
	return e
}

func fragmentHeader(id uint32, offset int, more bool) Extension {
	e := Extension{Proto: protoFragment, Data: make([]byte, 7)}
	word := uint16(offset)
	if more {
		word |= 1
	}
	binary.BigEndian.PutUint16(e.Data[1:], word)
	binary.BigEndian.PutUint32(e.Data[3:], id)
	return e
}

// chain links the headers up to a transport protocol.
func chain(extensions []Extension, last uint8) (first uint8, bytes []byte) {
	for i, e := range extensions {
		next := last
		if i+1 < len(extensions) {
			next = extensions[i+1].Proto
		}
		bytes = append(append(bytes, next), e.Data...)
	}
	if len(extensions) == 0 {
		return last, nil
	}
	return extensions[0].Proto, bytes
}
