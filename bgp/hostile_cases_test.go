package bgp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
)

// Attributes that are as they should be, ASes of four octets.
const (
	origin  = "40 01 01 00"
	asPath  = "40 02 06 02 01 0000fc00"
	nextHop = "40 03 04 0a010164"
	network = "18 c63364"
)

// bin reads hexadecimal with spaces.
func bin(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// update is an UPDATE whose lengths are right, whatever is in it.
func update(attributes, networks string) []byte {
	attrs := bin(attributes)
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	return wire.Message{Type: wire.TypeUpdate, Body: slices.Concat(body, attrs, bin(networks))}.Bytes()
}

// attribute is one with its length.
func attributeHex(flags, typ byte, value string) string {
	v := bin(value)
	if len(v) > 255 {
		return hex.EncodeToString(append(binary.BigEndian.AppendUint16([]byte{flags | 0x10, typ}, uint16(len(v))), v...))
	}
	return hex.EncodeToString(append([]byte{flags, typ, byte(len(v))}, v...))
}

// hostileUpdates are UPDATEs of which none ends a session: their networks are counted, or they are left
// out, and nothing else of them is looked at.
func hostileUpdates() map[string][]byte {
	good := origin + asPath + nextHop
	mp := func(value string) []byte { return update(origin+asPath+attributeHex(0x80, 14, value), "") }
	long := strings.Repeat("00", 255)
	u := map[string][]byte{
		"decent":                              update(good, network),
		"AS4_PATH before AS_PATH":             update(origin+attributeHex(0xc0, 17, "02 01 0000fc00")+asPath+nextHop, network),
		"AS4_PATH without AS_PATH":            update(origin+attributeHex(0xc0, 17, "02 01 0000fc00")+nextHop, network),
		"AS4_PATH longer than AS_PATH":        update(good+attributeHex(0xc0, 17, "02 03 0000fc00 0000fc01 0000fc02"), network),
		"AS4_PATH of an empty segment":        update(good+attributeHex(0xc0, 17, "02 00"), network),
		"AS4_AGGREGATOR alone":                update(good+attributeHex(0xc0, 18, "0000fc00 0a010101"), network),
		"AS_PATH of an empty segment":         update(origin+attributeHex(0x40, 2, "02 00")+nextHop, network),
		"AS_PATH of many empty segments":      update(origin+attributeHex(0x40, 2, strings.Repeat("02 00", 100))+nextHop, network),
		"AS_PATH segment beyond its end":      update(origin+attributeHex(0x40, 2, "02 ff 0000fc00")+nextHop, network),
		"AS_PATH of an unknown segment":       update(origin+attributeHex(0x40, 2, "09 01 0000fc00")+nextHop, network),
		"AS_PATH of one byte":                 update(origin+attributeHex(0x40, 2, "02")+nextHop, network),
		"AS_PATH of two octets":               update(origin+attributeHex(0x40, 2, "02 01 fc00")+nextHop, network),
		"AS_PATH of confederations":           update(origin+attributeHex(0x40, 2, "03 01 0000fc00 04 01 0000fc00")+nextHop, network),
		"AS_PATH with AS 0":                   update(origin+attributeHex(0x40, 2, "02 01 00000000")+nextHop, network),
		"AS_PATH with our AS":                 update(origin+attributeHex(0x40, 2, "02 02 0000fc00 0000fc01")+nextHop, network),
		"no attributes":                       update("", network),
		"no AS_PATH":                          update(origin+nextHop, network),
		"no NEXT_HOP":                         update(origin+asPath, network),
		"ORIGIN of 9":                         update("40 01 01 09"+asPath+nextHop, network),
		"ORIGIN of no bytes":                  update("40 01 00"+asPath+nextHop, network),
		"NEXT_HOP of no bytes":                update(origin+asPath+attributeHex(0x40, 3, ""), network),
		"NEXT_HOP of 3 bytes":                 update(origin+asPath+attributeHex(0x40, 3, "0a0101"), network),
		"NEXT_HOP of 5 bytes":                 update(origin+asPath+attributeHex(0x40, 3, "0a010101 01"), network),
		"NEXT_HOP of 16 bytes":                update(origin+asPath+attributeHex(0x40, 3, strings.Repeat("fd", 16)), network),
		"NEXT_HOP 0.0.0.0":                    update(origin+asPath+attributeHex(0x40, 3, "00000000"), network),
		"NEXT_HOP 127.0.0.1":                  update(origin+asPath+attributeHex(0x40, 3, "7f000001"), network),
		"NEXT_HOP 224.0.0.5":                  update(origin+asPath+attributeHex(0x40, 3, "e0000005"), network),
		"NEXT_HOP ours":                       update(origin+asPath+attributeHex(0x40, 3, "0a010102"), network),
		"MED of 3 bytes":                      update(good+attributeHex(0x80, 4, "000001"), network),
		"LOCAL_PREF from eBGP":                update(good+attributeHex(0x40, 5, "000000c8"), network),
		"LOCAL_PREF of 1 byte":                update(good+attributeHex(0x40, 5, "01"), network),
		"AGGREGATOR of 7 bytes":               update(good+attributeHex(0xc0, 7, "0000fc000a0101"), network),
		"communities of 5 bytes":              update(good+attributeHex(0xc0, 8, "ffffff0100"), network),
		"ORIGINATOR_ID of 1 byte":             update(good+attributeHex(0x80, 9, "01"), network),
		"CLUSTER_LIST of 3 bytes":             update(good+attributeHex(0x80, 10, "010203"), network),
		"extended communities of 7 bytes":     update(good+attributeHex(0xc0, 16, "00020000000001"), network),
		"extended communities, odd kinds":     update(good+attributeHex(0xc0, 16, "80 06 0000 00000000 80 0b 0000 00000000 06 00 000000000000 ff ff ffffffffffff"), network),
		"PMSI tunnel of 1 byte":               update(good+attributeHex(0xc0, 22, "00"), network),
		"PMSI tunnel of ingress replication":  update(good+attributeHex(0xc0, 22, "00 06 000000 0a"), network),
		"tunnel encapsulation cut":            update(good+attributeHex(0xc0, 23, "0008 0010 01"), network),
		"tunnel encapsulation, TLV lies":      update(good+attributeHex(0xc0, 23, "0008 0004 01 ff 0a01"), network),
		"tunnel encapsulation, SR policy":     update(good+attributeHex(0xc0, 23, "000f 0006 80 00 02 01 00 00"), network),
		"IPv6 extended communities cut":       update(good+attributeHex(0xc0, 25, "00020000000001"), network),
		"BGP-LS attribute cut":                update(good+attributeHex(0x80, 29, "0400 0010 01"), network),
		"BGP-LS attribute of nothing":         update(good+attributeHex(0x80, 29, ""), network),
		"large communities of 11 bytes":       update(good+attributeHex(0xc0, 32, strings.Repeat("01", 11)), network),
		"AIGP of no bytes":                    update(good+attributeHex(0x80, 26, ""), network),
		"AIGP TLV of length 0":                update(good+attributeHex(0x80, 26, "01 0000"), network),
		"AIGP TLV of length 1":                update(good+attributeHex(0x80, 26, "01 0001"), network),
		"AIGP TLV of length 2":                update(good+attributeHex(0x80, 26, "01 0002"), network),
		"AIGP TLV beyond its end":             update(good+attributeHex(0x80, 26, "01 000b 00"), network),
		"Prefix-SID of no bytes":              update(good+attributeHex(0xc0, 40, ""), network),
		"Prefix-SID of 2 bytes":               update(good+attributeHex(0xc0, 40, "0500"), network),
		"Prefix-SID SRv6 TLV lies":            update(good+attributeHex(0xc0, 40, "05 ffff 00"), network),
		"Prefix-SID SRv6 sub-TLV of length 0": update(good+attributeHex(0xc0, 40, "05 0004 00 01 0000"), network),
		"Prefix-SID SRv6 sub-TLV lies":        update(good+attributeHex(0xc0, 40, "05 0005 00 01 00ff 00"), network),
		"Prefix-SID SRv6 sub-sub-TLV lies":    update(good+attributeHex(0xc0, 40, "05 001c 00 01 0018 00"+strings.Repeat("fd", 16)+"00 0011 00 01 00ff"), network),
		"Prefix-SID unknown TLV":              update(good+attributeHex(0xc0, 40, "ff 0001 00"), network),
		"ATTR_SET cut":                        update(good+attributeHex(0xc0, 128, "0000fc00 40 01"), network),
		"unknown well-known attribute":        update(good+attributeHex(0x40, 99, "00"), network),
		"unknown optional attribute":          update(good+attributeHex(0xc0, 99, "00"), network),
		"reserved attribute":                  update(good+attributeHex(0xc0, 0, "00"), network),
		"flags wrong":                         update("c0 01 01 00"+"80 02 06 02 01 0000fc00"+"c0 03 04 0a010164", network),
		"flags all set":                       update("ff 01 0001 00"+asPath+nextHop, network),
		"ORIGIN twice":                        update(good+origin, network),
		"attribute's length lies":             update("40 01 ff 00", network),
		"attribute's long length lies":        update("50 01 ffff 00", network),
		"attribute of one byte":               update("40", network),
		"all attributes' length lies":         wire.Message{Type: wire.TypeUpdate, Body: bin("0000 00ff 40 01 01 00")}.Bytes(),
		"withdrawn's length lies":             wire.Message{Type: wire.TypeUpdate, Body: bin("00ff 0000")}.Bytes(),
		"withdrawn beyond its length":         wire.Message{Type: wire.TypeUpdate, Body: bin("0002 18c6 0000")}.Bytes(),
		"network of 33 bits":                  update(good, "21 c633640000"),
		"network of 255 bits":                 update(good, "ff"),
		"network cut":                         update(good, "20 c63364"),
		"0.0.0.0/0":                           update(good, "00"),
		"multicast and loopback networks":     update(good, "04 e0 08 7f 20 ffffffff"),
		"our VIP":                             update(good, "20 cb007101"),
		"our VIP withdrawn":                   wire.Message{Type: wire.TypeUpdate, Body: bin("0005 20 cb007101 0000")}.Bytes(),
		"MP_REACH, next hop of 0":             mp("0002 01 00 00 20 20010db8"),
		"MP_REACH, next hop of 1":             mp("0002 01 01 fd 00 20 20010db8"),
		"MP_REACH, next hop of 4":             mp("0002 01 04 0a010164 00 20 20010db8"),
		"MP_REACH, next hop of 15":            mp("0002 01 0f" + strings.Repeat("fd", 15) + "00 20 20010db8"),
		"MP_REACH, next hop of 24":            mp("0002 01 18" + strings.Repeat("fd", 24) + "00 20 20010db8"),
		"MP_REACH, next hop of 255":           mp("0002 01 ff" + long + "00 20 20010db8"),
		"MP_REACH, next hop lies":             mp("0002 01 20 fd"),
		"MP_REACH, next hop ::":               mp("0002 01 10" + strings.Repeat("00", 16) + "00 20 20010db8"),
		"MP_REACH of nothing":                 mp(""),
		"MP_REACH of 2 bytes":                 mp("0002"),
		"MP_REACH, network of 129 bits":       mp("0002 01 10" + strings.Repeat("fd", 16) + "00 81" + strings.Repeat("20", 17)),
		"MP_REACH, reserved octet of SNPAs":   mp("0002 01 10" + strings.Repeat("fd", 16) + "ff 20 20010db8"),
		"MP_REACH of an unknown family":       mp("ffff ff 04 0a010164 00 18c63364"),
		"MP_REACH of EVPN":                    mp("0019 46 04 0a010164 00 02 21" + strings.Repeat("00", 33)),
		"MP_REACH of EVPN, type 2 cut":        mp("0019 46 04 0a010164 00 02 03 000102"),
		"MP_REACH of EVPN, type 5 cut":        mp("0019 46 04 0a010164 00 05 22 00"),
		"MP_REACH of flowspec":                mp("0001 85 00 00 06 01 18c63364 03 81"),
		"MP_REACH of flowspec, lies":          mp("0001 85 00 00 ff 01 18"),
		"MP_REACH of flowspec, no end":        mp("0001 85 00 00 03 03 01 06"),
		"MP_REACH of VPNv4":                   mp("0001 80 0c 0000000000000000 0a010164 00 70 000101 0000fc00 00000001"),
		"MP_REACH of VPNv4, no labels":        mp("0001 80 0c 0000000000000000 0a010164 00 10 0001"),
		"MP_REACH of labelled unicast":        mp("0001 04 04 0a010164 00 18 000000"),
		"MP_REACH of BGP-LS":                  mp("4004 47 04 0a010164 00 0001 0005 0100000000"),
		"MP_REACH of BGP-LS, lies":            mp("4004 47 04 0a010164 00 0001 ffff 01"),
		"MP_REACH of RTC":                     mp("0001 84 04 0a010164 00 60 0000fc00"),
		"MP_REACH of MUP":                     mp("0001 55 04 0a010164 00 01 0001 02 0000"),
		"MP_REACH of VPLS":                    mp("0019 41 04 0a010164 00 0011 00"),
		"MP_REACH of SR policy":               mp("0001 49 04 0a010164 00 60 00000001"),
		"MP_REACH of opaque":                  mp("4000 f1 04 0a010164 00 0010 00"),
		"MP_UNREACH of nothing":               update(attributeHex(0x80, 15, ""), ""),
		"MP_UNREACH of EVPN cut":              update(attributeHex(0x80, 15, "0019 46 02 ff 00"), ""),
		"MP_UNREACH, network of 200 bits":     update(attributeHex(0x80, 15, "0002 01 c8 20"), ""),
		"End-of-RIB of an unknown family":     update(attributeHex(0x80, 15, "ffff ff"), ""),
		"End-of-RIB again":                    wire.EndOfRIB(false).Bytes(),
		"End-of-RIB of IPv6 again":            wire.EndOfRIB(true).Bytes(),
		"4096 bytes of one attribute":         update(good+attributeHex(0xc0, 99, strings.Repeat("00", 4096-19-4-len(bin(good))-4)), ""),
		"1300 empty attributes":               update(strings.Repeat("c0 63 00", 1300), ""),
	}
	u["MP_REACH twice"] = update(origin+asPath+attributeHex(0x80, 14, "0002 01 10"+strings.Repeat("fd", 16)+"00 20 20010db8")+
		attributeHex(0x80, 14, "0002 01 10"+strings.Repeat("fd", 16)+"00 20 20010db9"), "")
	return u
}

func raw(messages ...[]byte) func(*rogue) [][]byte {
	return func(*rogue) [][]byte { return messages }
}

// header is a message whose header says what it likes.
func header(marker byte, length uint16, typ byte, body string) []byte {
	b := append(bytes.Repeat([]byte{marker}, 16), byte(length>>8), byte(length), typ)
	return append(b, bin(body)...)
}

func hostileCases() []hostileCase {
	var cases []hostileCase
	for name, m := range hostileUpdates() {
		cases = append(cases, hostileCase{name: "UPDATE, " + name, messages: raw(m)})
	}
	slices.SortFunc(cases, func(a, b hostileCase) int { return strings.Compare(a.name, b.name) })
	return slices.Concat(cases, hostileOpens(), hostileHeaders(), floods())
}

// hostileHeaders break the framing, or the order of messages.
func hostileHeaders() []hostileCase {
	cases := []hostileCase{
		{name: "marker wrong", messages: raw(header(0, 19, 4, "")), code: 1, subcode: 1},
		{name: "length 0", messages: raw(header(0xff, 0, 4, "")), code: 1, subcode: 2},
		{name: "length 18", messages: raw(header(0xff, 18, 4, "")), code: 1, subcode: 2},
		{name: "length 4097", messages: raw(header(0xff, 4097, 2, "")), code: 1, subcode: 2},
		{name: "length 65535", messages: raw(header(0xff, 65535, 2, "")), code: 1, subcode: 2},
		{name: "UPDATE of 22 bytes", messages: raw(header(0xff, 22, 2, "000000")), code: 1, subcode: 2},
		{name: "KEEPALIVE with a body", messages: raw(header(0xff, 20, 4, "00")), code: 1, subcode: 2},
		{name: "type 0", messages: raw(header(0xff, 19, 0, "")), code: 1, subcode: 3},
		{name: "type 6", messages: raw(header(0xff, 19, 6, "")), code: 1, subcode: 3},
		{name: "type 255", messages: raw(header(0xff, 19, 255, "")), code: 1, subcode: 3},
		{name: "NOTIFICATION of 1 byte", messages: raw(header(0xff, 20, 3, "06")), code: 1, subcode: 2},
		{name: "ROUTE-REFRESH of 3 bytes", messages: raw(header(0xff, 22, 5, "000100")), code: 1, subcode: 2},
		{name: "ROUTE-REFRESH with an ORF", messages: raw(wire.Message{Type: wire.TypeRouteRefresh, Body: bin("0001 00 01 01 80 0004 00000000")}.Bytes()), code: 1, subcode: 2},
		{name: "ROUTE-REFRESH of 4 kB", messages: raw(wire.Message{Type: wire.TypeRouteRefresh, Body: make([]byte, 4000)}.Bytes()), code: 1, subcode: 2},
		{name: "OPEN twice", messages: func(r *rogue) [][]byte { return [][]byte{r.open().Message().Bytes()} }, code: 5, subcode: 3},
		{name: "half a message, and silence", messages: raw(header(0xff, 100, 2, "0000")), silence: true, code: 4},
		{name: "silence", silence: true, code: 4},
	}
	for _, c := range []struct{ name, body string }{
		{"unknown family", "ffff 00 ff"}, {"EVPN", "0019 00 46"}, {"beginning (RFC 7313)", "0001 01 01"}, {"end (RFC 7313)", "0001 02 01"},
		{"subtype 255", "0001 ff 01"}, {"IPv4", "0001 00 01"}, {"IPv6", "0002 00 01"},
	} {
		m := wire.Message{Type: wire.TypeRouteRefresh, Body: bin(c.body)}.Bytes()
		cases = append(cases, hostileCase{name: "ROUTE-REFRESH, " + c.name, messages: raw(m)})
	}
	for _, c := range []struct{ name, body string }{
		{"cease", "06 02"}, {"communication lies", "06 02 ff 41"}, {"communication of no UTF-8", "06 04 02 c328"}, {"communication with a line break", "06 02 03 410a42"},
		{"max prefixes cut", "06 01 0001"}, {"hard reset of nothing", "06 09"}, {"hard reset of itself", "06 09 06 09 06 09"}, {"code 0", "00 00"},
		{"code 255", "ff ff" + strings.Repeat("ff", 100)}, {"OPEN, capability cut", "02 07 41 ff"}, {"UPDATE, attribute cut", "03 04 40"}, {"send hold timer", "08 00"},
		{"4 kB", "06 02" + strings.Repeat("41", 4000)},
	} {
		m := wire.Message{Type: wire.TypeNotification, Body: bin(c.body)}.Bytes()
		cases = append(cases, hostileCase{name: "NOTIFICATION, " + c.name, messages: raw(m), gone: true})
	}
	return cases
}

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

// floods are many messages at once, also of random ones, which are the same in each run.
func floods() []hostileCase {
	return []hostileCase{
		{name: "flood of UPDATEs with 700 networks each", messages: func(r *rogue) [][]byte {
			var list [][]byte
			for i := range 300 {
				var networks strings.Builder
				for j := range 700 {
					n := i*700 + j
					fmt.Fprintf(&networks, "20 %02x%06x", 20+i%5, n)
				}
				list = append(list, update(origin+asPath+nextHop, networks.String()))
			}
			return list
		}},
		{name: "flood of KEEPALIVEs", messages: func(r *rogue) [][]byte {
			return [][]byte{bytes.Repeat(wire.Keepalive.Bytes(), 50000)}
		}},
		{name: "flood of ROUTE-REFRESH", family: bgp.IPv4, messages: func(r *rogue) [][]byte {
			return [][]byte{bytes.Repeat(wire.Message{Type: wire.TypeRouteRefresh, Body: bin("0001 00 01")}.Bytes(), 500)}
		}},
		{name: "random UPDATEs", messages: func(r *rogue) [][]byte { return randomUpdates(rand.New(rand.NewPCG(1, 2)), 3000) }},
		{name: "random bytes", messages: func(r *rogue) [][]byte {
			random := rand.New(rand.NewPCG(3, 4))
			b := make([]byte, 4096)
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return [][]byte{b}
		}, code: 1, subcode: 1},
	}
}

// randomUpdates are those of the table with some bytes changed, or bytes by chance.
func randomUpdates(random *rand.Rand, n int) (list [][]byte) {
	var seeds [][]byte
	updates := hostileUpdates()
	for _, name := range slices.Sorted(maps.Keys(updates)) {
		seeds = append(seeds, updates[name])
	}
	for range n {
		m := slices.Clone(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(6) {
			if len(m) > 19 {
				m[19+random.IntN(len(m)-19)] = byte(random.Uint32())
			}
		}
		list = append(list, m)
	}
	return list
}
