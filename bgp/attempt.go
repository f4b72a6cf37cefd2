package bgp

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// connect waits for a connection with the router, as long as GoBGP waits; nil if it has given up.
func (r *relay) connect(ctx context.Context, self <-chan wire.Message) (*net.TCPConn, Peer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	given := make(chan struct{})
	go func() {
		defer close(given)
		select {
		case <-self: // in this state it sends nothing but its end
			cancel()
		case <-ctx.Done():
		}
	}()
	outer, peer := r.attempts(ctx)
	if outer != nil && ctx.Err() != nil {
		outer.Close()
		outer = nil
	}
	cancel()
	<-given
	return outer, peer
}

// attempts opens a connection, or waits for one of a passive peer.
func (r *relay) attempts(ctx context.Context) (*net.TCPConn, Peer) {
	for ctx.Err() == nil {
		peer, pause := r.current()
		if pause > 0 {
			r.history.at(Idle)
			r.rest(ctx, pause)
			continue
		}
		if peer.Passive {
			if conn := r.await(ctx, peer); conn != nil {
				return conn, peer
			}
			continue
		}
		r.history.at(Connect)
		conn, err := r.dial(ctx, peer)
		if err == nil {
			return conn, peer
		}
		if ctx.Err() == nil {
			r.log.Debug("attempt to connect", "err", err)
			r.history.down(time.Now(), CauseConnection, err.Error())
			// Three quarters to all of it, so that many nodes do not knock at once.
			wait(ctx, peer.ConnectRetry*3/4+rand.N(peer.ConnectRetry/4))
		}
	}
	return nil, Peer{}
}

// await waits for a passive peer to connect. One that may have kept our routes is called as well: by RFC
// 4724 it waits for who restarts, and FRR, once it found nobody here, connects no more until it drops the
// routes.
func (r *relay) await(ctx context.Context, peer Peer) *net.TCPConn {
	r.history.at(Active)
	var call <-chan time.Time
	if r.restarting || r.history.wasUp() {
		timer := time.NewTimer(peer.ConnectRetry)
		defer timer.Stop()
		call = timer.C
	}
	select {
	case conn := <-r.accepted:
		return conn
	case <-ctx.Done():
		return nil
	case <-call:
	}
	conn, err := r.dial(ctx, peer)
	if err != nil {
		r.log.Debug("attempt to connect to a passive peer that may have kept routes", "err", err)
		return nil
	}
	return conn
}

func (r *relay) dial(ctx context.Context, peer Peer) (*net.TCPConn, error) {
	remote := peer.Address
	if peer.unnumbered() {
		var err error
		if remote, err = r.hooks.router(peer.Interface); err != nil {
			return nil, err
		}
	}
	return peer.dial(ctx, remote, r.ownASN)
}

// rest waits for the end of a pause.
func (r *relay) rest(ctx context.Context, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	select {
	case <-r.lifted:
	case <-ctx.Done():
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
