package probe

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
)

// The packet: Geneve (RFC 8926, 3.4 and 3.5) with one option and nothing behind it. Its
// data are a nonce in the place of an IPv6 pod's address, and struct tunnel_tail.
const (
	nonceSize = 16
	tailSize  = 4
	optionLen = nonceSize + tailSize
	wireSize  = 8 + 4 + optionLen

	critical   = 0x40 // C bit: there is an option that must not be ignored
	protoIPv6  = 0x86dd
	class      = 0xff50 // TUNNEL_CLASS in bpf/types.h, as the next ones
	optionType = 0x81
	flagBounce = 1 << 1
	flagProbe  = 1 << 2

	flagsAt = wireSize - 1
)

type nonce [nonceSize]byte

func newNonce() (n nonce) {
	rand.Read(n[:]) // never fails
	return n
}

// request is a probe's UDP payload.
func request(n nonce) []byte {
	b := make([]byte, 0, wireSize)
	b = append(b, (4+optionLen)/4, critical)
	b = binary.BigEndian.AppendUint16(b, protoIPv6)
	b = append(b, 0, 0, 0, 0) // VNI
	b = binary.BigEndian.AppendUint16(b, class)
	b = append(b, optionType, optionLen/4)
	b = append(b, n[:]...)
	return append(b, 0, 0, 0, flagProbe) // port, hop, flags
}

// parseAnswer returns the nonce of an answer, which is the request but for its flags.
func parseAnswer(b []byte) (n nonce, ok bool) {
	if len(b) != wireSize {
		return n, false
	}
	n = nonce(b[12 : 12+nonceSize])
	want := request(n)
	want[flagsAt] = flagProbe | flagBounce
	return n, bytes.Equal(b, want)
}
