package bgp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

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
