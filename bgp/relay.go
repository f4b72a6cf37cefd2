package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// relay has the connections of one session to its router, and GoBGP's on the loopback: see doc.go for
// why GoBGP has none of its own.
type relay struct {
	routerID netip.Addr
	ownASN   uint32
	// restarting says that the router may have kept our routes, of a process before.
	restarting bool
	log        *slog.Logger
	history    *history
	inner      *net.TCPListener
	accepted   chan *net.TCPConn // the newest connection of a passive peer
	lifted     chan struct{}     // the pause is over before its time
	hooks      hooks

	mu      sync.Mutex
	peer    Peer
	link    *link
	last    *link        // the newest, ended or not
	waiting *net.TCPConn // see speaks
	until   time.Time    // no attempt before that

	stop context.CancelFunc
	done chan struct{}
}

// hooks are what a relay needs of others.
type hooks struct {
	// ready is called when a router has been let in, before GoBGP may send it anything.
	ready func(local netip.Addr)
	// reset has GoBGP come back soon after an established session.
	reset func()
	// changed is called when the session is established, and when it no longer is.
	changed func()
	// router finds an unnumbered peer on a device.
	router func(device string) (netip.Addr, error)
}

// newRelay begins to serve a GoBGP that is told to connect to innerPort.
func newRelay(cfg Config, peer Peer, log *slog.Logger, h *history, hooks hooks) (*relay, error) {
	inner, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(innerAddr(peer.family()), 0)))
	if err != nil {
		return nil, fmt.Errorf("listen for our own GoBGP: %w", err)
	}
	r := &relay{
		routerID: cfg.RouterID, ownASN: peer.ownASN(cfg.ASN), restarting: cfg.Restarting, log: log, history: h, inner: inner, hooks: hooks,
		accepted: make(chan *net.TCPConn, 1), lifted: make(chan struct{}, 1), peer: peer, done: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	context.AfterFunc(ctx, func() { inner.Close() })
	go r.run(ctx)
	return r, nil
}

func (r *relay) innerPort() int { return r.inner.Addr().(*net.TCPAddr).Port }

// run serves GoBGP until ctx ends.
func (r *relay) run(ctx context.Context) {
	defer r.drop()
	defer r.keep(nil)
	defer close(r.done)
	for ctx.Err() == nil {
		conn, err := r.inner.AcceptTCP()
		if err != nil {
			wait(ctx, acceptAgain)
			continue
		}
		if err := ours(conn); err != nil {
			r.log.Warn("refused a connection to a session's inner port", "reason", err)
			conn.Close()
			continue
		}
		r.serve(ctx, conn)
	}
}

// serve connects GoBGP with the router, once: GoBGP comes back by itself after the end.
func (r *relay) serve(ctx context.Context, inner *net.TCPConn) {
	defer r.history.at(Idle)
	defer inner.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	self := read(ctx, inner)
	first, ok := <-self
	if !ok {
		return
	}
	outer, peer := r.connect(ctx, self)
	if outer == nil {
		return
	}
	l := newLink(r, peer, inner, outer)
	r.history.connected(l.local(), l.remote())
	r.history.at(OpenSent)
	if !r.setLink(ctx, l) {
		l.end(CauseConfig, "the session was closed")
	}
	l.run(first, self)
	r.mu.Lock()
	r.link = nil
	r.mu.Unlock()
}

func (r *relay) setLink(ctx context.Context, l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link, r.last = l, l
	return ctx.Err() == nil
}

// read gives the messages of GoBGP until it closes or ctx ends.
func read(ctx context.Context, inner *net.TCPConn) <-chan wire.Message {
	messages := make(chan wire.Message)
	go func() {
		defer close(messages)
		for {
			m, err := wire.Read(inner)
			if err != nil {
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages
}

// current is the peer as configured now, and how long it is to be left alone.
func (r *relay) current() (Peer, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peer, time.Until(r.until)
}

func (r *relay) maxPrefixes() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peer.MaxPrefixes
}

// pauseRestart leaves the peer alone for a while, and returns how long.
func (r *relay) pauseRestart() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = time.Now().Add(r.peer.MaxPrefixesRestart)
	return r.peer.MaxPrefixesRestart
}

// accepts checks what GoBGP would, with better words.
func (r *relay) accepts(o wire.Open, peer Peer) error {
	switch {
	case o.AS != peer.ASN:
		return &wire.Error{Notification: wire.Notification{Code: wire.ErrOpen, Subcode: 2},
			What: fmt.Sprintf("it is in AS %d, and the configuration expects AS %d", o.AS, peer.ASN)}
	case o.ID == r.routerID && o.AS == r.ownASN:
		return &wire.Error{Notification: wire.Notification{Code: wire.ErrOpen, Subcode: 3},
			What: fmt.Sprintf("its BGP identifier %s is ours", o.ID)}
	}
	return nil
}

func (r *relay) ready(l *link) { r.hooks.ready(l.local()) }

func (r *relay) up(holdTime time.Duration) {
	r.history.up(time.Now(), holdTime)
	r.hooks.changed()
}

// offer takes a connection that a passive peer opened. The router knows nothing of older ones then.
func (r *relay) offer(conn *net.TCPConn) {
	r.mu.Lock()
	old := r.link
	r.mu.Unlock()
	if old == nil {
		r.queue(conn)
		return
	}
	go func() {
		if err := r.speaks(conn); err != nil {
			r.log.Debug("refused a BGP connection beside the session's", "reason", err)
			conn.Close()
			return
		}
		old.end(CauseConnection, "the router has connected anew")
		r.queue(conn)
	}()
}

// queue has a connection used next.
func (r *relay) queue(conn *net.TCPConn) {
	r.drop()
	select {
	case r.accepted <- conn:
	default: // another one came at the same time
		conn.Close()
	}
	select {
	case <-r.done:
		r.drop()
	default:
	}
}

// drop closes a connection that nobody has taken.
func (r *relay) drop() {
	select {
	case conn := <-r.accepted:
		conn.Close()
	default:
	}
}

// configure takes over what of a peer can change under a session; see Peer.Resets.
func (r *relay) configure(peer Peer) error {
	r.mu.Lock()
	rekey := r.peer.Password != peer.Password
	l := r.link
	if r.peer.MaxPrefixes != peer.MaxPrefixes || r.peer.MaxPrefixesRestart != peer.MaxPrefixesRestart {
		r.lift()
	}
	r.peer = peer
	r.mu.Unlock()
	if !rekey || l == nil {
		return nil
	}
	if err := l.rekey(peer.Password); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("change the password of the session: %w", err)
	}
	return nil
}

// lift ends a pause that was made for another limit than the one to come. The lock is held.
func (r *relay) lift() {
	r.until = time.Time{}
	select {
	case r.lifted <- struct{}{}:
	default:
	}
}

// end ends the session that there is, and lets another one come.
func (r *relay) end(cause Cause, reason string, n wire.Notification) {
	r.mu.Lock()
	l := r.link
	r.mu.Unlock()
	if l != nil {
		l.close(cause, reason, n)
	}
}

// shut ends the session for good, and gives the router a moment to do as much: what it sends to a socket that
// is closed would have the kernel forget what the router has not got yet.
func (r *relay) shut(reason string, n wire.Notification) {
	r.end(CauseConfig, reason, n) // first, as the end of ctx ends a link without a word
	r.stop()
	r.end(CauseConfig, reason, n) // of one that came in between
	<-r.done
	r.mu.Lock()
	l := r.last
	r.mu.Unlock()
	if l != nil {
		<-l.gone
	}
}

// received counts the router's routes of a family.
func (r *relay) received(f Family) uint64 {
	r.mu.Lock()
	l := r.link
	r.mu.Unlock()
	if l == nil {
		return 0
	}
	return l.received(f)
}
