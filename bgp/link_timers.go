package bgp

import (
	"fmt"
	"net"
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

// takesNothing is the reason of a session whose router keeps it alive and lets nothing of ours in.
const takesNothing = "the router takes nothing any more"

// feed keeps GoBGP's own hold timer from expiring, of an established session, whose least hold time is
// 3 s, and hands on what the router has asked for. It also has the send hold timer. GoBGP has one, too, and
// ends its side by it, but only once all buffers up to its own are full, which takes megabytes.
func (l *link) feed(ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	hold := sendHold{since: time.Now()}
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		messages := l.due()
		if len(messages) > 0 && hold.expired(l.outer, l.negotiated()) {
			l.end(CauseConnection, takesNothing)
			return
		}
		for _, m := range messages {
			if l.pass(m) != nil {
				l.end(CauseConnection, takesNothing)
				return
			}
		}
	}
}

// sendHold is RFC 9687's send hold timer. It goes by what the router's TCP has acknowledged, and so does not
// depend on the sizes of our buffers; that takes all until the router's own is full.
type sendHold struct {
	acked uint64    // bytes
	since time.Time // nothing waited then, or the last of acked came
}

// expired reports whether something has waited for twice the hold time and the router took none of it. RFC
// 9687 proposes 8 minutes at least, for routers that are busy with full tables: we announce VIPs.
func (h *sendHold) expired(conn *net.TCPConn, holdTime time.Duration) bool {
	acked, waits, err := sendQueue(conn)
	if err != nil {
		return false // it is closed, which its reader tells of
	}
	now := time.Now()
	if !waits || acked != h.acked {
		h.acked, h.since = acked, now
	}
	return now.Sub(h.since) > 2*holdTime
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
