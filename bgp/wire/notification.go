package wire

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error codes of NOTIFICATIONs, RFC 4271 section 4.5.
const (
	ErrHeader    = 1
	ErrOpen      = 2
	ErrUpdate    = 3
	ErrHoldTimer = 4
	ErrFSM       = 5
	ErrCease     = 6
)

// Subcodes of a finite state machine error, RFC 6608.
const (
	UnexpectedInOpenSent    = 1
	UnexpectedInOpenConfirm = 2
	UnexpectedInEstablished = 3
)

// Subcodes of Cease, RFC 4486, 8538 and 9384.
const (
	CeaseMaxPrefixes    = 1
	CeaseShutdown       = 2
	CeaseDeconfigured   = 3
	CeaseReset          = 4
	CeaseRejected       = 5
	CeaseConfigChange   = 6
	CeaseCollision      = 7
	CeaseOutOfResources = 8
	CeaseHardReset      = 9
	CeaseBFDDown        = 10
)

var codes = map[uint8]string{
	ErrHeader: "message header error", ErrOpen: "OPEN error", ErrUpdate: "UPDATE error",
	ErrHoldTimer: "hold timer expired", ErrFSM: "finite state machine error", ErrCease: "cease",
	7: "route refresh error",
}

var subcodes = map[uint8]map[uint8]string{
	ErrHeader: {1: "not synchronized", 2: "bad length", 3: "bad type"},
	ErrOpen: {1: "unsupported version", 2: "wrong AS number", 3: "bad BGP identifier", 4: "unsupported parameter",
		6: "unacceptable hold time", 7: "unsupported capability", 11: "role mismatch"},
	ErrUpdate: {1: "malformed attribute list", 2: "unknown well-known attribute", 3: "missing well-known attribute",
		4: "attribute flags", 5: "attribute length", 6: "invalid origin", 8: "invalid next hop", 9: "optional attribute",
		10: "invalid network", 11: "malformed AS path"},
	ErrFSM: {UnexpectedInOpenSent: "unexpected message in OpenSent", UnexpectedInOpenConfirm: "unexpected message in OpenConfirm",
		UnexpectedInEstablished: "unexpected message in Established"},
	ErrCease: {CeaseMaxPrefixes: "maximum number of prefixes reached", CeaseShutdown: "administrative shutdown",
		CeaseDeconfigured: "peer deconfigured", CeaseReset: "administrative reset", CeaseRejected: "connection rejected",
		CeaseConfigChange: "configuration change", CeaseCollision: "connection collision", CeaseOutOfResources: "out of resources",
		CeaseHardReset: "hard reset", CeaseBFDDown: "BFD down"},
}

// Notification ends a session and says why.
type Notification struct {
	Code, Subcode uint8
	Data          []byte
}

// maxCommunication is RFC 9003's bound, in bytes.
const maxCommunication = 255

// Cease is an administrative end with a word for the router's operator, as far as 255 bytes of UTF-8
// hold it (RFC 9003, which widens RFC 8203). Only CeaseShutdown and CeaseReset carry one.
func Cease(subcode uint8, communication string) Notification {
	n := Notification{Code: ErrCease, Subcode: subcode}
	if communication == "" || subcode != CeaseShutdown && subcode != CeaseReset {
		return n
	}
	text := strings.ToValidUTF8(communication, "?")
	for len(text) > maxCommunication {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	n.Data = append([]byte{byte(len(text))}, text...)
	return n
}

// ParseNotification takes a message's body apart, which Read has found long enough.
func ParseNotification(body []byte) Notification {
	return Notification{Code: body[0], Subcode: body[1], Data: body[2:]}
}

// Message is the notification as a message.
func (n Notification) Message() Message {
	return Message{Type: TypeNotification, Body: append([]byte{n.Code, n.Subcode}, n.Data...)}
}

// communication is the operator's word in a Cease; empty if there is none that can be read.
func (n Notification) communication() string {
	if n.Code != ErrCease || n.Subcode != CeaseShutdown && n.Subcode != CeaseReset || len(n.Data) == 0 {
		return ""
	}
	text := n.Data[1:]
	if size := int(n.Data[0]); size > len(text) || !utf8.Valid(text[:size]) {
		return ""
	} else {
		return string(text[:size])
	}
}

// String is a phrase such as `cease: administrative shutdown: "reboot at ten"`. What the router's
// operator wrote is quoted, so that it can neither break a line nor pass for ours.
func (n Notification) String() string {
	text, ok := codes[n.Code]
	if !ok {
		text = fmt.Sprintf("error code %d", n.Code)
	}
	if sub, ok := subcodes[n.Code][n.Subcode]; ok {
		text += ": " + sub
	} else if n.Subcode != 0 {
		text += fmt.Sprintf(": subcode %d", n.Subcode)
	}
	if said := n.communication(); said != "" {
		text += ": " + strconv.Quote(said)
	}
	return text
}
