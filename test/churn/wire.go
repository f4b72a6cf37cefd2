package churn

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Sizes of frames, in bytes. A datagram is one frame.
const (
	requestSize = 64
	replySize   = 128
	maxName     = 31
)

// request is one question of a flow. Its frame is filled with a pattern made from
// both numbers, so that a byte of another flow or another question is noticed.
type request struct{ flow, seq uint64 }

// reply answers a request.
type reply struct {
	request
	first, count uint64 // the first seq that this server saw of the flow, and how many since
	ending       bool   // the server asks the client to close the flow
	pod          string
	client       netip.AddrPort // as the server sees it
}

// pattern fills b with what only this request has (splitmix64).
func (r request) pattern(b []byte) {
	x := r.flow<<32 ^ r.seq
	for i := 0; i+8 <= len(b); i += 8 {
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(b[i:], z^z>>31)
	}
}

func (r request) put(b *[requestSize]byte) {
	binary.BigEndian.PutUint64(b[0:], r.flow)
	binary.BigEndian.PutUint64(b[8:], r.seq)
	r.pattern(b[16:])
}

func parseRequest(b *[requestSize]byte) (request, error) {
	r := request{binary.BigEndian.Uint64(b[0:]), binary.BigEndian.Uint64(b[8:])}
	var want [requestSize]byte
	r.put(&want)
	if *b != want {
		return r, fmt.Errorf("request %d of flow %d has other content", r.seq, r.flow)
	}
	return r, nil
}

func (r reply) put(b *[replySize]byte) {
	clear(b[:])
	binary.BigEndian.PutUint64(b[0:], r.flow)
	binary.BigEndian.PutUint64(b[8:], r.seq)
	binary.BigEndian.PutUint64(b[16:], r.first)
	binary.BigEndian.PutUint64(b[24:], r.count)
	if r.ending {
		b[32] = 1
	}
	b[33] = byte(copy(b[34:34+maxName], r.pod))
	addr := r.client.Addr().As16()
	copy(b[66:82], addr[:])
	binary.BigEndian.PutUint16(b[82:], r.client.Port())
	r.pattern(b[88:])
}

func parseReply(b *[replySize]byte) (reply, error) {
	r := reply{
		request: request{binary.BigEndian.Uint64(b[0:]), binary.BigEndian.Uint64(b[8:])},
		first:   binary.BigEndian.Uint64(b[16:]), count: binary.BigEndian.Uint64(b[24:]),
		ending: b[32] != 0, pod: string(b[34 : 34+min(int(b[33]), maxName)]),
		client: netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[66:82])).Unmap(), binary.BigEndian.Uint16(b[82:])),
	}
	var want [replySize]byte
	r.put(&want)
	if *b != want {
		return r, fmt.Errorf("reply %d of flow %d has other content", r.seq, r.flow)
	}
	return r, nil
}
