package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Update is what an UPDATE says of routes (RFC 4271 section 4.3, RFC 4760): their networks alone.
type Update struct {
	Announced, Withdrawn []netip.Prefix
	// ASPath is the attribute as it came, for Through.
	ASPath []byte
	// EndOfRIB4 and EndOfRIB6 are the markers of RFC 4724 section 2.
	EndOfRIB4, EndOfRIB6 bool
}

const (
	attrASPath    = 2
	attrMPReach   = 14
	attrMPUnreach = 15
	flagExtended  = 0x10
	afiIPv4       = 1
	afiIPv6       = 2
	safiUnicast   = 1
)

var (
	errLengths = errors.New("malformed UPDATE: its parts do not fit its length")
	errNetwork = errors.New("malformed UPDATE: a network is of no possible length")
)

// ParseUpdate reads the networks. Attributes are skipped by their lengths, those of other families
// than IPv4 and IPv6 unicast too: whatever is in them is nothing to us.
func ParseUpdate(body []byte) (u Update, err error) {
	withdrawn, rest, ok := counted(body)
	if !ok {
		return Update{}, errLengths
	}
	attrs, nlri, ok := counted(rest)
	if !ok {
		return Update{}, errLengths
	}
	if len(body) == 4 {
		return Update{EndOfRIB4: true}, nil
	}
	if u.Withdrawn, err = networks(u.Withdrawn, withdrawn, afiIPv4); err != nil {
		return Update{}, err
	}
	if u.Announced, err = networks(u.Announced, nlri, afiIPv4); err != nil {
		return Update{}, err
	}
	alone := len(withdrawn)+len(nlri) == 0
	for len(attrs) > 0 {
		typ, value, more, ok := attribute(attrs)
		if !ok {
			return Update{}, errLengths
		}
		if typ == attrASPath {
			u.ASPath = value
		}
		alone = alone && len(more) == 0
		if err := u.multiprotocol(typ, value, alone); err != nil {
			return Update{}, err
		}
		attrs, alone = more, false
	}
	return u, nil
}

// Through tells whether the announced networks have been through one of the ASes: such routes have come
// back to where they are from (RFC 4271 section 9.1.2). ASes in the path are of four octets where both
// sides have said so (RFC 6793). A path that cannot be read has been through none.
func (u Update) Through(wide bool, ases ...uint32) bool {
	size := 2
	if wide {
		size = 4
	}
	for b := u.ASPath; len(b) >= 2; { // segments: a type, and how many ASes follow
		n := int(b[1])
		if len(b) < 2+n*size {
			return false
		}
		for i := range n {
			at := 2 + i*size
			as := uint32(binary.BigEndian.Uint16(b[at:]))
			if wide {
				as = binary.BigEndian.Uint32(b[at:])
			}
			if slices.Contains(ases, as) {
				return true
			}
		}
		b = b[2+n*size:]
	}
	return false
}

// counted cuts off what a length of two bytes says.
func counted(b []byte) (head, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

func attribute(b []byte) (typ uint8, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	head, n := 3, int(b[2])
	if b[0]&flagExtended != 0 {
		if len(b) < 4 {
			return 0, nil, nil, false
		}
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b) < head+n {
		return 0, nil, nil, false
	}
	return b[1], b[head : head+n], b[head+n:], true
}

// multiprotocol reads the two attributes that have networks. alone says that the message has nothing
// else, so that an empty one is an End-of-RIB.
func (u *Update) multiprotocol(typ uint8, value []byte, alone bool) (err error) {
	if typ != attrMPReach && typ != attrMPUnreach {
		return nil
	}
	if len(value) < 3 {
		return errLengths
	}
	afi, safi, rest := binary.BigEndian.Uint16(value), value[2], value[3:]
	if safi != safiUnicast || afi != afiIPv4 && afi != afiIPv6 {
		return nil
	}
	if typ == attrMPUnreach {
		u.EndOfRIB4 = u.EndOfRIB4 || alone && len(rest) == 0 && afi == afiIPv4
		u.EndOfRIB6 = u.EndOfRIB6 || alone && len(rest) == 0 && afi == afiIPv6
		u.Withdrawn, err = networks(u.Withdrawn, rest, afi)
		return err
	}
	if len(rest) < 1 || len(rest) < 2+int(rest[0]) { // next hop and a reserved byte
		return errLengths
	}
	u.Announced, err = networks(u.Announced, rest[2+int(rest[0]):], afi)
	return err
}

// networks appends those of one field: each a length in bits, and as many bytes as that takes.
func networks(to []netip.Prefix, b []byte, afi uint16) ([]netip.Prefix, error) {
	most := 32
	if afi == afiIPv6 {
		most = 128
	}
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > most || len(b) < 1+n {
			return nil, errNetwork
		}
		var raw [16]byte
		copy(raw[:], b[1:1+n])
		addr := netip.AddrFrom16(raw)
		if afi == afiIPv4 {
			addr = netip.AddrFrom4([4]byte(raw[:4]))
		}
		to = append(to, netip.PrefixFrom(addr, bits).Masked())
		b = b[1+n:]
	}
	return to, nil
}

// EndOfRIB is the marker for one family, as this package writes it.
func EndOfRIB(ipv6 bool) Message {
	if !ipv6 {
		return Message{Type: TypeUpdate, Body: make([]byte, 4)}
	}
	return Message{Type: TypeUpdate, Body: []byte{0, 0, 0, 6, 0x80, attrMPUnreach, 3, 0, afiIPv6, safiUnicast}}
}

// Refresh reports which family a ROUTE-REFRESH asks for the routes of (RFC 2918), if it is one that there
// can be here; the demarcations of RFC 7313 are not offered.
func Refresh(body []byte) (ipv6, ok bool) {
	afi := binary.BigEndian.Uint16(body)
	return afi == afiIPv6, (afi == afiIPv4 || afi == afiIPv6) && body[2] == 0 && body[3] == safiUnicast
}

// AskForAll is a ROUTE-REFRESH for one family.
func AskForAll(ipv6 bool) Message {
	if ipv6 {
		return Message{Type: TypeRouteRefresh, Body: []byte{0, afiIPv6, 0, safiUnicast}}
	}
	return Message{Type: TypeRouteRefresh, Body: []byte{0, afiIPv4, 0, safiUnicast}}
}
