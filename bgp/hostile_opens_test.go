package bgp_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// hostileOpens are OPENs that are not as they should be.
func hostileOpens() []hostileCase {
	with := func(edit func(o *wire.Open)) func(*rogue) []byte {
		return func(r *rogue) []byte {
			o := r.open()
			edit(&o)
			return o.Message().Bytes()
		}
	}
	// bare has these optional parameters, behind their length, instead of capabilities.
	bare := func(params string) func(*rogue) []byte {
		return func(*rogue) []byte {
			return wire.Message{Type: wire.TypeOpen, Body: slices.Concat(bin("04 fc00 0003 c00002c8"), bin(params))}.Bytes()
		}
	}
	capability := func(code byte, value string) func(*rogue) []byte {
		return func(r *rogue) []byte {
			m := r.open().Without(code).Message()
			v := bin(value)
			m.Body[9] += byte(len(v)) + 4
			m.Body = append(append(m.Body, 2, byte(len(v)+2), code, byte(len(v))), v...)
			return m.Bytes()
		}
	}
	many := func(r *rogue) []byte {
		m := r.open().Message()
		for i := range 100 {
			m.Body = append(m.Body, 2, 2, byte(128+i%100), 0) // one parameter for each
		}
		wide := append(slices.Clone(m.Body[:9]), 255, 255) // RFC 9072
		var params []byte
		for rest := m.Body[10:]; len(rest) > 0; rest = rest[2+int(rest[1]):] {
			params = append(append(params, rest[0], 0, rest[1]), rest[2:2+int(rest[1])]...)
		}
		m.Body = append(binary.BigEndian.AppendUint16(wide, uint16(len(params))), params...)
		return m.Bytes()
	}
	return []hostileCase{
		{name: "OPEN of version 3", open: func(r *rogue) []byte { b := r.open().Message().Bytes(); b[19] = 3; return b }, code: 2, subcode: 1},
		{name: "OPEN of another AS", open: with(func(o *wire.Open) {
			o.AS = 65000
			*o = o.Without(wire.CapFourOctetAS)
		}), code: 2, subcode: 2},
		{name: "OPEN of AS 0", open: with(func(o *wire.Open) {
			o.AS = 0
			*o = o.Without(wire.CapFourOctetAS)
		}), code: 2, subcode: 2},
		{name: "OPEN of two ASes", open: capability(wire.CapFourOctetAS, "00000001"), code: 2, subcode: 2},
		{name: "OPEN with the identifier 0.0.0.0", open: with(func(o *wire.Open) { o.ID = netip.IPv4Unspecified() }), code: 2, subcode: 3},
		{name: "OPEN with our identifier", open: with(func(o *wire.Open) { o.ID = netip.MustParseAddr("192.0.2.1") })},
		{name: "OPEN with a hold time of 2 s", open: with(func(o *wire.Open) { o.HoldTime = 2 }), code: 2, subcode: 6},
		{name: "OPEN without a hold time", open: with(func(o *wire.Open) { o.HoldTime = 0 }), code: 2, subcode: 6},
		{name: "OPEN with a hold time of 65535 s", open: with(func(o *wire.Open) { o.HoldTime = 65535 })},
		{name: "OPEN with authentication", open: bare("04 01 02 0000"), code: 2, subcode: 4},
		{name: "OPEN, its parameters' length lies", open: bare("20 02 02 02 00"), code: 2},
		{name: "OPEN, a parameter's length lies", open: bare("04 02 ff 02 00"), code: 2},
		{name: "OPEN, a capability's length lies", open: bare("04 02 02 02 ff"), code: 2},
		{name: "OPEN, a capability of one byte", open: bare("03 02 01 02"), code: 2},
		{name: "OPEN, RFC 9072 cut", open: bare("ff ff 00"), code: 2},
		{name: "OPEN, RFC 9072 lies", open: bare("ff ff ffff 02 0002 02 00"), code: 2},
		{name: "OPEN, RFC 9072, 100 capabilities", open: many},
		{name: "OPEN, multiprotocol of 3 bytes", open: capability(wire.CapMultiprotocol, "000100"), code: 2},
		{name: "OPEN, multiprotocol of an unknown family", open: func(r *rogue) []byte { return unknownFamily(r) }},
		{name: "OPEN, graceful restart of 1 byte", open: capability(wire.CapGracefulRestart, "00"), code: 2},
		{name: "OPEN, graceful restart of 3 bytes", open: capability(wire.CapGracefulRestart, "007800"), code: 2},
		{name: "OPEN, graceful restart of unknown families", open: capability(wire.CapGracefulRestart, "0078 ffff ff ff 0019 46 80")},
		{name: "OPEN, long-lived of 6 bytes", open: capability(wire.CapLongLived, "0001 01 80 000e"), code: 2},
		{name: "OPEN, extended next hop of 5 bytes", open: capability(wire.CapExtendedNextHop, "0001 0001 00"), code: 2},
		{name: "OPEN, AS of 2 bytes", open: capability(wire.CapFourOctetAS, "fc00"), code: 2},
		{name: "OPEN, add-path of 3 bytes", open: capability(69, "000101")},
		{name: "OPEN, add-path both ways", open: capability(69, "0001 01 03 0002 01 03")},
		{name: "OPEN, name lies", open: capability(73, "ff 41")},
		{name: "OPEN, role", open: capability(9, "ff")},
		{name: "OPEN, extended messages", open: capability(6, "")},
		{name: "UPDATE instead of an OPEN", open: func(*rogue) []byte { return update(origin+asPath+nextHop, network) }, code: 5, subcode: 1},
		{name: "KEEPALIVE instead of an OPEN", open: func(*rogue) []byte { return wire.Keepalive.Bytes() }, code: 5, subcode: 1},
		{name: "NOTIFICATION instead of an OPEN", open: func(*rogue) []byte { return wire.Cease(wire.CeaseRejected, "").Message().Bytes() }, gone: true},
		{name: "UPDATE before the KEEPALIVE", open: func(r *rogue) []byte {
			return append(r.open().Message().Bytes(), update(origin+asPath+nextHop, network)...)
		}, code: 5, subcode: 2},
		{name: "HTTP instead of an OPEN", open: func(*rogue) []byte { return []byte("GET / HTTP/1.1\r\nHost: bgp\r\n\r\n") }, code: 1, subcode: 1},
	}
}

func unknownFamily(r *rogue) []byte {
	o := r.open()
	o.Capabilities = append(o.Capabilities, wire.Capability{Code: wire.CapMultiprotocol, Value: bin("ffff 00 ff")})
	return o.Message().Bytes()
}
