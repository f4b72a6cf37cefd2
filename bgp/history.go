package bgp

import (
	"strings"
	"sync"
	"time"
)

// history is what happened to one session. GoBGP's own state has neither the reason of a loss nor that
// of a failed connection; both are only in what it logs.
type history struct {
	mu          sync.Mutex
	established bool
	since       time.Time
	lost        string // why the last established session ended
	obstacle    string // why no session came up since
	told        string // the reason that was last told; empty once a session is up
	flaps       uint32
	changed     func()
}

func newHistory(now time.Time, changed func()) *history {
	return &history{since: now, changed: changed}
}

// up records that the session is established.
func (h *history) up(now time.Time) {
	h.mu.Lock()
	h.established, h.since, h.obstacle, h.told = true, now, "", ""
	h.mu.Unlock()
	h.changed()
}

// down records that the session, or the attempt to open it, ended, and reports whether the reason is
// news: attempts go on every few seconds, and most end like the one before.
func (h *history) down(now time.Time, reason string) (news bool) {
	h.mu.Lock()
	news, h.told = reason != h.told, reason
	if h.established {
		h.established, h.since, h.lost, h.obstacle = false, now, reason, ""
		h.flaps++
	} else {
		h.obstacle = reason
	}
	h.mu.Unlock()
	h.changed()
	return news
}

// fill adds what is known to a state.
func (h *history) fill(state *PeerState, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state.Since, state.Flaps = h.since, h.flaps
	state.DownReason = h.lost
	if h.obstacle != "" {
		state.DownReason = h.obstacle
	}
	if h.established {
		state.Uptime = now.Sub(h.since)
	}
}

// reasonText turns GoBGP's name of a reason into a phrase.
func reasonText(reason string) string {
	switch reason {
	case "graceful-restart":
		return "connection lost; graceful restart was agreed"
	case "read-failed":
		return "connection closed by the peer"
	case "write-failed":
		return "connection lost while sending"
	}
	kind, detail, _ := strings.Cut(reason, " ")
	return strings.TrimSpace(strings.ReplaceAll(kind, "-", " ") + " " + detail)
}

// connectText explains why a connection could not be opened.
func connectText(err string, password bool) string {
	// "dial tcp 192.0.2.2:0->192.0.2.1:179: i/o timeout": the addresses are in the state already.
	text := err
	if _, after, ok := strings.Cut(err, ":179: "); ok {
		text = after
	}
	text = "connect: " + text
	if password && strings.HasSuffix(err, "timeout") {
		text += " (routers do not answer if the password differs)"
	}
	return text
}
