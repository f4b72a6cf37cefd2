package bfd

import (
	"encoding/binary"
	"time"
)

// Packet is a control packet of RFC 5880 section 4.1 without authentication. Intervals are whole
// microseconds on the wire, at most 2^32-1 of them.
type Packet struct {
	Diag                    Diag
	State                   State
	Poll                    bool
	Final                   bool
	ControlPlaneIndependent bool
	Demand                  bool
	Multiplier              uint8
	MyDiscriminator         uint32
	YourDiscriminator       uint32
	DesiredMinTx            time.Duration
	RequiredMinRx           time.Duration
	RequiredMinEchoRx       time.Duration
}

const (
	version    = 1
	packetLen  = 24
	minAuthLen = 26 // with the two bytes that every authentication section has

	diagMask = 0x1f

	flagPoll        = 0x20
	flagFinal       = 0x10
	flagIndependent = 0x08
	flagAuth        = 0x04
	flagDemand      = 0x02
	flagMultipoint  = 0x01
)

// Reason is why a received packet was dropped. As an error it comes from [Parse].
type Reason string

const (
	// BadLength: the packet is shorter than a control packet, or says that it is, or that it is longer
	// than the datagram.
	BadLength Reason = "badLength"
	// BadVersion: not version 1.
	BadVersion Reason = "badVersion"
	// Authenticated: the A bit is set, and no session here uses authentication.
	Authenticated Reason = "authenticated"
	// ZeroMultiplier: the detection time would be zero.
	ZeroMultiplier Reason = "zeroMultiplier"
	// Multipoint: the M bit is set, which RFC 5880 reserves.
	Multipoint Reason = "multipoint"
	// ZeroMyDiscriminator: there would be nothing to answer to.
	ZeroMyDiscriminator Reason = "zeroMyDiscriminator"
	// ZeroYourDiscriminator: a peer that says Init or Up knows our discriminator.
	ZeroYourDiscriminator Reason = "zeroYourDiscriminator"
	// BadTTL: a router forwarded a packet of a single-hop session, or too many did of a multihop one.
	BadTTL Reason = "badTTL"
	// UnknownPeer: no session has this peer, local address and interface.
	UnknownPeer Reason = "unknownPeer"
	// UnknownDiscriminator: no session has Your Discriminator.
	UnknownDiscriminator Reason = "unknownDiscriminator"
	// WrongPeer: the session with Your Discriminator has another peer, local address or interface.
	WrongPeer Reason = "wrongPeer"
	// WhileAdminDown: our end of the session is AdminDown and listens to nobody.
	WhileAdminDown Reason = "whileAdminDown"
)

func (r Reason) Error() string { return "BFD packet dropped: " + string(r) }

// Parse decodes a datagram after the checks of RFC 5880 section 6.8.6 that need no session, in its
// order. The error is a [Reason]. Bytes after the packet's own length are ignored.
func Parse(b []byte) (Packet, error) {
	if len(b) < packetLen {
		return Packet{}, BadLength
	}
	flags, length := b[1], int(b[3])
	auth := flags&flagAuth != 0
	switch {
	case b[0]>>5 != version:
		return Packet{}, BadVersion
	case length < packetLen || auth && length < minAuthLen || length > len(b):
		return Packet{}, BadLength
	}
	p := Packet{
		Diag:                    Diag(b[0] & diagMask),
		State:                   State(flags >> 6),
		Poll:                    flags&flagPoll != 0,
		Final:                   flags&flagFinal != 0,
		ControlPlaneIndependent: flags&flagIndependent != 0,
		Demand:                  flags&flagDemand != 0,
		Multiplier:              b[2],
		MyDiscriminator:         binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            interval(b[12:]),
		RequiredMinRx:           interval(b[16:]),
		RequiredMinEchoRx:       interval(b[20:]),
	}
	switch {
	case p.Multiplier == 0:
		return Packet{}, ZeroMultiplier
	case flags&flagMultipoint != 0:
		return Packet{}, Multipoint
	case p.MyDiscriminator == 0:
		return Packet{}, ZeroMyDiscriminator
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, ZeroYourDiscriminator
	case auth:
		return Packet{}, Authenticated
	}
	return p, nil
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Append appends the 24 bytes of the packet to b.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.ControlPlaneIndependent, flagIndependent}, {p.Demand, flagDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diag)&diagMask, flags, p.Multiplier, packetLen)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	for _, d := range []time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(d/time.Microsecond))
	}
	return b
}
