package bgp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// link is one connection between our GoBGP (inner) and the router (outer). Of the router's messages
// GoBGP is given what it needs of them and nothing else: a rebuilt OPEN, End-of-RIB, keepalives, requests
// for routes, and the end. Routes are counted here.
type link struct {
	relay        *relay
	peer         Peer // as the connection was opened; a password may have changed since
	inner, outer *net.TCPConn

	mu          sync.Mutex
	ended       bool
	cause       Cause
	reason      string
	established bool
	holdTime    time.Duration
	routes      map[Family]map[netip.Prefix]struct{}

	writing sync.Mutex // of outer

	// The router's reader's own.
	opened bool      // the router's OPEN was taken
	fed    time.Time // when GoBGP was last given a keepalive
}

func newLink(r *relay, peer Peer, inner, outer *net.TCPConn) *link {
	return &link{relay: r, peer: peer, inner: inner, outer: outer, cause: CauseConnection, routes: map[Family]map[netip.Prefix]struct{}{
		IPv4: {}, IPv6: {},
	}}
}

// run carries messages until either side ends. first is GoBGP's OPEN.
func (l *link) run(first wire.Message, self <-chan wire.Message) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.toRouter(first, self)
	}()
	l.fromRouter()
	<-done
}

// toRouter passes on what GoBGP sends.
func (l *link) toRouter(first wire.Message, self <-chan wire.Message) {
	for m, ok := first, true; ok; m, ok = <-self {
		switch m.Type {
		case wire.TypeOpen:
			own, err := wire.ParseOpen(m.Body)
			if err != nil {
				l.end(CauseProtocol, "our own "+err.Error())
				return
			}
			m = l.ownOpen(own).Message()
		case wire.TypeNotification:
			l.sentNotification(wire.ParseNotification(m.Body))
		}
		if err := l.write(m); err != nil {
			l.end(CauseConnection, "connection lost while sending: "+plainError(err))
			return
		}
	}
	l.end(CauseConfig, "the session was closed")
}

// ownOpen says that forwarding goes on while BGP does not, which is so whatever ended the session
// before, and offers IPv6 next hops only where there can be some.
func (l *link) ownOpen(o wire.Open) wire.Open {
	l.mu.Lock()
	l.holdTime = time.Duration(o.HoldTime) * time.Second
	l.mu.Unlock()
	if l.remote().Is4() && !l.peer.NextHop4.Is6() {
		o = o.Without(wire.CapExtendedNextHop)
	}
	return o.Forwarding()
}

func (l *link) remote() netip.Addr {
	return l.outer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

func (l *link) local() netip.Addr {
	return l.outer.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

func (l *link) write(m wire.Message) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.outer.Write(m.Bytes())
	return err
}

// sentNotification notes why GoBGP ends the session.
func (l *link) sentNotification(n wire.Notification) {
	switch n.Code {
	case wire.ErrHoldTimer:
		l.note(CauseHoldTimer, fmt.Sprintf("hold timer expired: the router was silent for %s", l.holdTime))
	case wire.ErrCease:
		l.note(CauseConfig, "closed: "+n.String())
	default:
		l.note(CauseProtocol, "we ended the session: "+n.String())
	}
}

// fromRouter passes on what GoBGP needs of the router's messages.
func (l *link) fromRouter() {
	for {
		m, err := wire.Read(l.outer)
		if err == nil {
			err = l.take(m)
		}
		var bad *wire.Error
		switch {
		case err == nil:
			continue
		case errors.As(err, &bad):
			l.close(CauseProtocol, l.refusal(bad), bad.Notification)
		case errors.Is(err, io.EOF):
			l.end(CauseConnection, "connection closed by the router")
		default:
			l.end(CauseConnection, "connection lost: "+plainError(err))
		}
		return
	}
}

// refusal is the reason of a session that we end for what the router sent.
func (l *link) refusal(bad *wire.Error) string {
	if bad.Code == wire.ErrOpen {
		return "refused the router's OPEN: " + bad.What
	}
	return "the router sent nonsense: " + bad.What
}

// take handles one message of the router. Its errors end the session.
func (l *link) take(m wire.Message) error {
	if m.Type != wire.TypeNotification && (m.Type == wire.TypeOpen) == l.opened {
		return &wire.Error{Notification: wire.Notification{Code: wire.ErrFSM}, What: "a message out of its turn"}
	}
	switch m.Type {
	case wire.TypeOpen:
		return l.takeOpen(m.Body)
	case wire.TypeKeepalive:
		l.up()
		return l.feed()
	case wire.TypeUpdate:
		return l.takeUpdate(m.Body)
	case wire.TypeNotification:
		n := wire.ParseNotification(m.Body)
		l.gotNotification(n)
		// Without its data, which GoBGP would take apart.
		return l.pass(wire.Notification{Code: n.Code, Subcode: n.Subcode}.Message())
	case wire.TypeRouteRefresh:
		if wire.Refresh(m.Body) {
			return l.pass(m)
		}
	}
	return nil
}

// pass gives GoBGP a message.
func (l *link) pass(m wire.Message) error {
	if _, err := l.inner.Write(m.Bytes()); err != nil {
		return errors.New("the session was closed")
	}
	return nil
}

// feed gives GoBGP a keepalive: every message of the router restarts its hold timer (RFC 4271 section
// 6.5), and one each half second is enough for that.
func (l *link) feed() error {
	now := time.Now()
	if now.Sub(l.fed) < time.Second/2 {
		return nil
	}
	l.fed = now
	return l.pass(wire.Keepalive)
}

func (l *link) takeOpen(body []byte) error {
	o, err := wire.ParseOpen(body)
	if err != nil {
		return err
	}
	if err := l.relay.accepts(o, l.peer); err != nil {
		return err
	}
	l.mu.Lock()
	l.holdTime = min(l.holdTime, time.Duration(o.HoldTime)*time.Second)
	l.mu.Unlock()
	// GoBGP sends its paths, and the End-of-RIB behind them, once it has this OPEN and a keepalive.
	l.opened = true
	l.relay.ready(l)
	l.relay.history.at(OpenConfirm)
	return l.pass(o.Message())
}

// up is the first keepalive.
func (l *link) up() {
	l.mu.Lock()
	first, holdTime := !l.established && !l.ended, l.holdTime
	l.established = true
	l.mu.Unlock()
	if first {
		l.relay.up(holdTime)
	}
}

func (l *link) gotNotification(n wire.Notification) {
	l.mu.Lock()
	established := l.established
	l.mu.Unlock()
	switch {
	case established:
		l.note(CauseNotification, "the router ended the session: "+n.String())
	case n.Code == wire.ErrOpen && n.Subcode == 2:
		l.note(CauseNotification, "the router refused our OPEN: "+n.String()+": compare both ASNs with the router's")
	default:
		l.note(CauseNotification, "the router refused our OPEN: "+n.String())
	}
}

// plainError is a network error without the addresses, which are known.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
