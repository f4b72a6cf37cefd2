package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Type is a message's type, RFC 4271 section 4.1 and RFC 2918.
type Type uint8

const (
	TypeOpen         Type = 1
	TypeUpdate       Type = 2
	TypeNotification Type = 3
	TypeKeepalive    Type = 4
	TypeRouteRefresh Type = 5
)

const (
	headerLen = 19
	maxLen    = 4096 // RFC 8654 is not offered
)

// leastBody is a body's least length, and exact tells whether it is the only one.
var leastBody = map[Type]struct {
	least int
	exact bool
}{
	TypeOpen: {10, false}, TypeUpdate: {4, false}, TypeNotification: {2, false}, TypeKeepalive: {0, true}, TypeRouteRefresh: {4, true},
}

// Message is one message without its header.
type Message struct {
	Type Type
	Body []byte
}

// Keepalive is the message without a body.
var Keepalive = Message{Type: TypeKeepalive}

// Error is a message that cannot be taken, and what RFC 4271 section 6 has the sender told of it.
type Error struct {
	Notification
	What string
}

func (e *Error) Error() string { return e.What }

// wrong makes an Error of a code and subcode, with data for the sender.
func wrong(code, subcode uint8, data []byte, format string, args ...any) *Error {
	return &Error{Notification{code, subcode, data}, fmt.Sprintf(format, args...)}
}

// Read reads one message. An *Error says that the stream makes no sense any more; others are r's.
func Read(r io.Reader) (Message, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Message{}, err
	}
	for _, b := range header[:16] {
		if b != 0xff {
			return Message{}, wrong(ErrHeader, 1, nil, "message header without its marker")
		}
	}
	length, typ := int(binary.BigEndian.Uint16(header[16:])), Type(header[18])
	body := length - headerLen
	least, known := leastBody[typ]
	switch {
	case !known:
		return Message{}, wrong(ErrHeader, 3, header[18:], "message of the unknown type %d", typ)
	case length > maxLen, body < least.least, least.exact && body != least.least:
		return Message{}, wrong(ErrHeader, 2, header[16:18], "message of type %d with a length of %d bytes", typ, length)
	}
	m := Message{Type: typ, Body: make([]byte, body)}
	if _, err := io.ReadFull(r, m.Body); err != nil {
		return Message{}, err
	}
	return m, nil
}

// Bytes is the message as it is sent.
func (m Message) Bytes() []byte {
	b := make([]byte, headerLen, headerLen+len(m.Body))
	for i := range b[:16] {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint16(b[16:], uint16(headerLen+len(m.Body)))
	b[18] = uint8(m.Type)
	return append(b, m.Body...)
}
