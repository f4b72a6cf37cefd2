package bgp

import (
	"fmt"
	"time"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// muteAfter is when a router that accepts a connection and sends no OPEN is told of. GoBGP waits for
// minutes, as RFC 4271 section 8.2.2 has it.
const muteAfter = 5 * time.Second

// await starts the hold timer, which each message of the router starts anew (RFC 4271 section 8.2.2). It
// is not GoBGP's, which idles for 5 s after it has expired.
func (l *link) await() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened && !l.ended { // later the deadline is hangUp's
		_ = l.outer.SetReadDeadline(time.Now().Add(l.holdTime))
	}
}

// feed keeps GoBGP's own hold timer from expiring, of an established session, whose least hold time is 3 s.
func (l *link) feed(ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		established := l.established
		l.mu.Unlock()
		if established && l.pass(wire.Keepalive) != nil {
			return
		}
	}
}

// isMute says why a connection does not become a session.
func (l *link) isMute() {
	reason := fmt.Sprintf("connected, and the router has sent no OPEN for %s", muteAfter)
	if l.peer.TTLSecurity {
		reason += ": with TTL security its packets are dropped unless it has that, too"
	}
	l.relay.history.obstructed(reason)
}
