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

// ask notes that the router wants all our routes of a family. GoBGP gets one request a second, whatever
// comes: it queues all routes for each, without a bound, and is at nothing else meanwhile.
func (l *link) ask(ipv6 bool) {
	f := IPv4
	if ipv6 {
		f = IPv6
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[f] = true
}

// feed keeps GoBGP's own hold timer from expiring, of an established session, whose least hold time is
// 3 s, and hands on what the router has asked for. GoBGP ends its side if what it sends does not leave,
// which nobody else sees while the router takes nothing.
func (l *link) feed(ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		for _, m := range l.due() {
			if l.pass(m) != nil {
				l.end(CauseConnection, "the router takes nothing any more")
				return
			}
		}
	}
}

// due is what GoBGP is to get at a tick.
func (l *link) due() (messages []wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.established {
		return nil
	}
	messages = append(messages, wire.Keepalive)
	for f := range l.asked {
		messages = append(messages, wire.AskForAll(f == IPv6))
	}
	clear(l.asked)
	return messages
}

// isMute says why a connection does not become a session.
func (l *link) isMute() {
	reason := fmt.Sprintf("connected, and the router has sent no OPEN for %s", muteAfter)
	if l.peer.TTLSecurity {
		reason += ": with TTL security its packets are dropped unless it has that, too"
	}
	l.relay.history.obstructed(reason)
}
