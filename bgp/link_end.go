package bgp

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// note remembers why the link is about to end, unless something else was first.
func (l *link) note(cause Cause, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == "" && !l.ended {
		l.cause, l.reason = cause, reason
	}
}

// claim says whether the caller is the first to end the link, and has to finish then. The first reason counts.
func (l *link) claim(cause Cause, reason string) (first bool) {
	l.note(cause, reason)
	l.mu.Lock()
	defer l.mu.Unlock()
	first = !l.ended
	l.ended = true
	return first
}

// end closes both sides.
func (l *link) end(cause Cause, reason string) {
	if l.claim(cause, reason) {
		l.finish()
	}
}

// close ends the session from our side with a word to the router, before which nobody hangs up, and after
// which nothing else is said.
func (l *link) close(cause Cause, reason string, n wire.Notification) {
	if !l.claim(cause, reason) {
		return
	}
	_ = l.outer.SetWriteDeadline(time.Now().Add(time.Second)) // a router that takes nothing hears nothing
	l.writing.Lock()
	_, _ = l.outer.Write(n.Message().Bytes())
	_ = l.outer.CloseWrite()
	l.writing.Unlock()
	l.finish()
}

func (l *link) finish() {
	l.mu.Lock()
	established, cause, reason := l.established, l.cause, l.reason
	l.mu.Unlock()
	l.relay.history.down(time.Now(), cause, reason)
	l.relay.hooks.changed()
	l.hangUp()
	if established {
		l.relay.hooks.reset()
	}
	l.inner.Close()
}

// hangUp closes the connection so that what was sent still arrives: a socket that is closed with unread
// data is reset, and its peer may then lose what it has not read.
func (l *link) hangUp() {
	_ = l.outer.CloseWrite()
	_ = l.outer.SetReadDeadline(time.Now().Add(time.Second / 2))
	go func() {
		defer close(l.gone)
		_, _ = io.Copy(io.Discard, l.outer)
		l.outer.Close()
	}()
}

// takeUpdate counts routes. One that cannot be read costs nothing, as no route is used.
func (l *link) takeUpdate(body []byte) error {
	u, err := wire.ParseUpdate(body)
	if err != nil {
		l.relay.history.strange(err)
		return nil
	}
	if u.Through(l.wide, l.relay.ownASN) { // FRR gives our own routes back to us
		u.Announced, u.Withdrawn = nil, append(u.Withdrawn, u.Announced...)
	}
	family, n := l.count(u)
	if limit := l.relay.maxPrefixes(); limit != 0 && n > int(limit) {
		return l.tooMany(family, limit)
	}
	switch { // of another family GoBGP would end the session for it
	case u.EndOfRIB4 && slices.Contains(l.carried, IPv4):
		return l.pass(wire.EndOfRIB(false))
	case u.EndOfRIB6 && slices.Contains(l.carried, IPv6):
		return l.pass(wire.EndOfRIB(true))
	}
	return nil
}

// leastTracked is how many of a router's networks are told apart at least; none is used, and a full table
// of the Internet would take memory for nothing.
const leastTracked = 1 << 16

// count takes an UPDATE's networks over, and returns the family that has the most of those announced.
func (l *link) count(u wire.Update) (most Family, n int) {
	room := max(leastTracked, int(l.relay.maxPrefixes())+1)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range u.Withdrawn {
		delete(l.routes[familyOf(p.Addr())], p)
	}
	for _, p := range u.Announced {
		f := familyOf(p.Addr())
		if len(l.routes[f]) < room {
			l.routes[f][p] = struct{}{}
		}
		if len(l.routes[f]) > n {
			most, n = f, len(l.routes[f])
		}
	}
	return most, n
}

// tooMany ends a session whose router sends too many routes (RFC 4486 section 4).
func (l *link) tooMany(f Family, limit uint32) error {
	pause := l.relay.pauseRestart()
	afi := byte(1)
	if f == IPv6 {
		afi = 2
	}
	n := wire.Notification{Code: wire.ErrCease, Subcode: wire.CeaseMaxPrefixes, Data: []byte{
		0, afi, 1, byte(limit >> 24), byte(limit >> 16), byte(limit >> 8), byte(limit),
	}}
	l.close(CauseMaxPrefixes, fmt.Sprintf("the router announces more than %d %s routes (maxPrefixes); it is left alone for %s", limit, f, pause), n)
	return net.ErrClosed
}

// received counts the router's routes of a family.
func (l *link) received(f Family) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.routes[f]))
}

// rekey changes the password under a living session.
func (l *link) rekey(password string) error {
	c, err := l.outer.SyscallConn()
	if err != nil {
		return err
	}
	return onSocket(c, func(fd int) error { return setKey(fd, withoutZone(l.remote()), password) })
}

func withoutZone(a netip.Addr) netip.Addr { return a.WithZone("") }
