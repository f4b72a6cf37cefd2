package bgp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// link is one connection between our GoBGP (inner) and the router (outer). Of the router's messages
// GoBGP is given what it needs of them and nothing else: a rebuilt OPEN, End-of-RIB, requests for routes,
// and the end; its keepalives are ours. Routes are counted here.
type link struct {
	relay        *relay
	peer         Peer // as the connection was opened; a password may have changed since
	inner, outer *net.TCPConn

	mu          sync.Mutex
	ended       bool
	cause       Cause
	reason      string
	established bool
	holdTime    time.Duration // the lesser of both sides', once the router has sent its OPEN
	routes      map[Family]map[netip.Prefix]struct{}
	asked       map[Family]bool // for all our routes, since the last tick

	writing sync.Mutex    // of outer
	gone    chan struct{} // closed when outer is

	// The router's reader's own.
	opened    bool     // the router's OPEN was taken
	confirmed bool     // and its first keepalive
	wide      bool     // ASes of four octets were agreed on
	carried   []Family // that both sides have

	mute *time.Timer // until the router's OPEN
}

func newLink(r *relay, peer Peer, inner, outer *net.TCPConn) *link {
	return &link{relay: r, peer: peer, inner: inner, outer: outer, cause: CauseConnection, holdTime: peer.HoldTime, routes: map[Family]map[netip.Prefix]struct{}{
		IPv4: {}, IPv6: {},
	}, asked: map[Family]bool{}, gone: make(chan struct{})}
}

// run carries messages until either side ends. first is GoBGP's OPEN.
func (l *link) run(first wire.Message, self <-chan wire.Message) {
	l.mute = time.AfterFunc(muteAfter, l.isMute)
	defer l.mute.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.toRouter(first, self)
	}()
	ended, fed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fed)
		l.feed(ended)
	}()
	l.fromRouter()
	close(ended)
	<-done
	<-fed
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
		l.note(CauseHoldTimer, l.wasSilent())
	case wire.ErrCease:
		l.note(CauseConfig, "closed: "+n.String())
	default:
		l.note(CauseProtocol, "we ended the session: "+n.String())
	}
}

// fromRouter passes on what GoBGP needs of the router's messages.
func (l *link) fromRouter() {
	for {
		l.await()
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
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.close(CauseHoldTimer, l.wasSilent(), wire.Notification{Code: wire.ErrHoldTimer})
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
	if sub := l.unexpected(m.Type); sub != 0 {
		return &wire.Error{Notification: wire.Notification{Code: wire.ErrFSM, Subcode: sub}, What: fmt.Sprintf("a message of type %d out of its turn", m.Type)}
	}
	switch m.Type {
	case wire.TypeOpen:
		return l.takeOpen(m.Body)
	case wire.TypeKeepalive:
		if l.confirmed {
			return nil
		}
		l.confirmed = true
		l.up()
		return l.pass(m)
	case wire.TypeUpdate:
		return l.takeUpdate(m.Body)
	case wire.TypeNotification:
		l.gotNotification(wire.ParseNotification(m.Body))
		return net.ErrClosed // GoBGP idles for 5 s after one, so it gets none
	case wire.TypeRouteRefresh:
		if ipv6, ok := wire.Refresh(m.Body); ok {
			l.ask(ipv6)
		}
	}
	return nil
}

// unexpected is RFC 6608's subcode of a message that does not come next; 0 for one that may.
func (l *link) unexpected(t wire.Type) uint8 {
	switch {
	case t == wire.TypeNotification:
		return 0
	case !l.opened && t != wire.TypeOpen:
		return wire.UnexpectedInOpenSent
	case l.opened && !l.confirmed && t != wire.TypeKeepalive:
		return wire.UnexpectedInOpenConfirm
	case l.confirmed && t == wire.TypeOpen:
		return wire.UnexpectedInEstablished
	}
	return 0
}

// pass gives GoBGP a message.
func (l *link) pass(m wire.Message) error {
	if _, err := l.inner.Write(m.Bytes()); err != nil {
		return errors.New("the session was closed")
	}
	return nil
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
	l.carried = slices.DeleteFunc(slices.Clone(l.peer.Families), func(f Family) bool { return !o.Carries(f == IPv6) })
	_, l.wide = o.Capability(wire.CapFourOctetAS) // which ours always has
	l.mute.Stop()
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

func (l *link) wasSilent() string {
	return fmt.Sprintf("hold timer expired: the router was silent for %s", l.negotiated())
}

// negotiated is the hold time of both sides.
func (l *link) negotiated() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holdTime
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
