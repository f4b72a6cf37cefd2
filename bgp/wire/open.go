package wire

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Capability codes that are understood, of the registry that RFC 5492 began.
const (
	CapMultiprotocol   = 1  // RFC 4760
	CapRouteRefresh    = 2  // RFC 2918
	CapExtendedNextHop = 5  // RFC 8950
	CapGracefulRestart = 64 // RFC 4724
	CapFourOctetAS     = 65 // RFC 6793
	CapLongLived       = 71 // RFC 9494
)

// Capability is one of an OPEN's.
type Capability struct {
	Code  uint8
	Value []byte
}

// fits tells whether a capability is understood and of the right length; a wrong one of an understood
// code spoils the OPEN.
func (c Capability) fits() (understood, right bool) {
	n := len(c.Value)
	switch c.Code {
	case CapMultiprotocol, CapFourOctetAS:
		return true, n == 4
	case CapRouteRefresh:
		return true, n == 0
	case CapExtendedNextHop:
		return true, n%6 == 0
	case CapGracefulRestart:
		return true, n >= 2 && (n-2)%4 == 0
	case CapLongLived:
		return true, n%7 == 0
	}
	return false, true
}

// Open is an OPEN message, RFC 4271 section 4.2. Of the capabilities it has those that are understood,
// each once.
type Open struct {
	AS           uint32 // of four octets where the sender knows them
	HoldTime     uint16 // seconds
	ID           netip.Addr
	Capabilities []Capability
}

const (
	asTrans          = 23456 // RFC 6793
	paramCapability  = 2
	paramExtended    = 255 // RFC 9072
	openFixed        = 10
	maxOptions       = 255
	familyUnicast4   = 0x00010001 // AFI and, behind a reserved byte, SAFI
	familyUnicast6   = 0x00020001
	restartFlagsMask = 0x80
)

// ParseOpen takes a body apart. Its errors are *Error.
func ParseOpen(body []byte) (Open, error) {
	if body[0] != 4 {
		return Open{}, wrong(ErrOpen, 1, []byte{0, 4}, "OPEN of BGP version %d, not 4", body[0])
	}
	o := Open{
		AS:       uint32(binary.BigEndian.Uint16(body[1:])),
		HoldTime: binary.BigEndian.Uint16(body[3:]),
		ID:       netip.AddrFrom4([4]byte(body[5:9])),
	}
	switch {
	case o.ID.IsUnspecified():
		return Open{}, wrong(ErrOpen, 3, nil, "OPEN with the BGP identifier 0.0.0.0")
	case o.HoldTime < 3:
		return Open{}, wrong(ErrOpen, 6, nil, "OPEN with a hold time of %d s; it must be 3 s or more", o.HoldTime)
	}
	if err := o.options(body[9:]); err != nil {
		return Open{}, err
	}
	if o.AS == 0 {
		return Open{}, wrong(ErrOpen, 2, nil, "OPEN of AS 0")
	}
	return o, nil
}

func malformed(what string) *Error { return wrong(ErrOpen, 0, nil, "malformed OPEN: %s", what) }

// options reads the optional parameters, behind their length of one byte or, of RFC 9072, of two.
func (o *Open) options(b []byte) error {
	length, wide := int(b[0]), false
	b = b[1:]
	if length == paramExtended && len(b) >= 3 && b[0] == paramExtended {
		length, wide, b = int(binary.BigEndian.Uint16(b[1:])), true, b[3:]
	}
	if length != len(b) {
		return malformed("its optional parameters are of another length than it says")
	}
	for len(b) > 0 {
		typ, value, rest, ok := option(b, wide)
		switch {
		case !ok:
			return malformed("an optional parameter goes beyond its end")
		case typ != paramCapability:
			return wrong(ErrOpen, 4, nil, "OPEN with the unsupported optional parameter %d", typ)
		}
		if err := o.capabilities(value); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func option(b []byte, wide bool) (typ uint8, value, rest []byte, ok bool) {
	head := 2
	if wide {
		head = 3
	}
	if len(b) < head {
		return 0, nil, nil, false
	}
	n := int(b[1])
	if wide {
		n = int(binary.BigEndian.Uint16(b[1:]))
	}
	if len(b) < head+n {
		return 0, nil, nil, false
	}
	return b[0], b[head : head+n], b[head+n:], true
}

func (o *Open) capabilities(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return malformed("a capability goes beyond its end")
		}
		c := Capability{Code: b[0], Value: b[2 : 2+int(b[1])]}
		b = b[2+len(c.Value):]
		switch understood, right := c.fits(); {
		case !right:
			return wrong(ErrOpen, 0, nil, "malformed OPEN: capability %d with %d bytes", c.Code, len(c.Value))
		case understood && !o.has(c):
			o.Capabilities = append(o.Capabilities, c)
		}
		if c.Code == CapFourOctetAS {
			o.AS = binary.BigEndian.Uint32(c.Value)
		}
	}
	return nil
}

// has reports whether the capability is there, and what is of another family than unicast as if it
// were: it is left out. Except for families each is wanted once.
func (o *Open) has(c Capability) bool {
	if c.Code == CapMultiprotocol {
		if f := binary.BigEndian.Uint32(c.Value) &^ 0xff00; f != familyUnicast4 && f != familyUnicast6 {
			return true
		}
	}
	return slices.ContainsFunc(o.Capabilities, func(have Capability) bool {
		return have.Code == c.Code && (c.Code != CapMultiprotocol || slices.Equal(have.Value, c.Value))
	})
}

// Capability returns the value of the first capability of that code.
func (o Open) Capability(code uint8) ([]byte, bool) {
	i := slices.IndexFunc(o.Capabilities, func(c Capability) bool { return c.Code == code })
	if i < 0 {
		return nil, false
	}
	return o.Capabilities[i].Value, true
}

// Carries tells whether the sender has routes of a family, which without multiprotocol extensions is IPv4
// (RFC 4760 section 8).
func (o Open) Carries(ipv6 bool) bool {
	some := false
	for _, c := range o.Capabilities {
		if c.Code != CapMultiprotocol {
			continue
		}
		some = true
		if f := binary.BigEndian.Uint32(c.Value) &^ 0xff00; (f == familyUnicast6) == ipv6 {
			return true
		}
	}
	return !some && !ipv6
}

// Without leaves capabilities of a code out.
func (o Open) Without(code uint8) Open {
	o.Capabilities = slices.DeleteFunc(slices.Clone(o.Capabilities), func(c Capability) bool { return c.Code == code })
	return o
}

// Forwarding says of every family with graceful restart that forwarding goes on while BGP does not (F
// bits of RFC 4724 section 3 and RFC 9494 section 4.2).
func (o Open) Forwarding() Open {
	o.Capabilities = slices.Clone(o.Capabilities)
	for i, c := range o.Capabilities {
		first, step := 5, 4 // behind flags and time: AFI, SAFI, flags
		switch c.Code {
		case CapLongLived:
			first, step = 3, 7
		case CapGracefulRestart:
		default:
			continue
		}
		value := slices.Clone(c.Value)
		for at := first; at < len(value); at += step {
			value[at] |= restartFlagsMask
		}
		o.Capabilities[i].Value = value
	}
	return o
}

// Message is the OPEN as a message, with one optional parameter; capabilities that find no room in it
// are left out.
func (o Open) Message() Message {
	as := uint16(asTrans)
	if o.AS <= 0xffff {
		as = uint16(o.AS)
	}
	body := []byte{4}
	body = binary.BigEndian.AppendUint16(body, as)
	body = binary.BigEndian.AppendUint16(body, o.HoldTime)
	body = append(body, o.ID.AsSlice()...)
	var caps []byte
	for _, c := range o.Capabilities {
		if len(caps)+2+len(c.Value) <= maxOptions-2-1 { // 255 would say RFC 9072
			caps = append(append(caps, c.Code, byte(len(c.Value))), c.Value...)
		}
	}
	if len(caps) == 0 {
		return Message{Type: TypeOpen, Body: append(body, 0)}
	}
	body = append(body, byte(2+len(caps)), paramCapability, byte(len(caps)))
	return Message{Type: TypeOpen, Body: append(body, caps...)}
}
