package bgp

import (
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// history is what happened to one session, as its relay tells it.
type history struct {
	log     *slog.Logger
	changed func()

	mu       sync.Mutex
	state    SessionState
	since    time.Time
	lost     string // why the last established session ended
	obstacle string // why no session came up since
	told     string // the reason that was last logged; empty once a session is up
	flaps    uint32
	causes   map[Cause]uint32

	remote, local netip.Addr // of the connection that there is
	holdTime      time.Duration
	malformed     uint64
}

func newHistory(log *slog.Logger, now time.Time, changed func()) *history {
	return &history{log: log, changed: changed, state: Idle, since: now, causes: map[Cause]uint32{}}
}

// at records a step on the way to a session.
func (h *history) at(state SessionState) {
	h.mu.Lock()
	moved := h.state != state
	h.state = state
	h.mu.Unlock()
	if moved {
		h.changed()
	}
}

// connected records the two ends of a connection.
func (h *history) connected(local, remote netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.local, h.remote = local, remote
}

// up records that the session is established.
func (h *history) up(now time.Time, holdTime time.Duration) {
	h.mu.Lock()
	h.state, h.since, h.holdTime, h.obstacle, h.told = Established, now, holdTime, "", ""
	local := h.local
	h.mu.Unlock()
	h.log.Info("BGP session established", "local", local, "holdTime", holdTime)
	h.changed()
}

// down records that the session, or the attempt to open one, ended. Attempts go on every few seconds,
// and most end like the one before: only what is new is logged.
func (h *history) down(now time.Time, cause Cause, reason string) {
	h.mu.Lock()
	established := h.state == Established
	news := established || reason != h.told
	h.state, h.told, h.local, h.holdTime = Idle, reason, netip.Addr{}, 0
	if established {
		h.since, h.lost, h.obstacle = now, reason, ""
		h.flaps++
		h.causes[cause]++
	} else {
		h.obstacle = reason
	}
	h.mu.Unlock()
	switch {
	case established && cause == CauseConfig:
	case established:
		h.log.Warn("BGP session lost", "cause", cause, "reason", reason)
	case news:
		h.log.Warn("BGP session does not come up", "reason", reason)
	}
	h.changed()
}

// obstructed records why an attempt that goes on gets nowhere.
func (h *history) obstructed(reason string) {
	h.mu.Lock()
	news := reason != h.told
	h.obstacle, h.told = reason, reason
	h.mu.Unlock()
	if news {
		h.log.Warn("BGP session does not come up", "reason", reason)
		h.changed()
	}
}

// strange records a message that was left out, and logs the first of a kind.
func (h *history) strange(what error) {
	h.mu.Lock()
	h.malformed++
	first := h.malformed == 1
	h.mu.Unlock()
	if first {
		h.log.Warn("the router sent a malformed message, which is left out; more are only counted", "message", what)
	}
}

// fill adds what is known to a state.
func (h *history) fill(state *PeerState, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state.State, state.Since, state.Flaps, state.Malformed = h.state, h.since, h.flaps, h.malformed
	state.Causes = maps.Clone(h.causes)
	state.LocalAddress, state.HoldTime = h.local, h.holdTime
	if h.remote.IsValid() {
		state.Address = h.remote
	}
	state.DownReason = h.lost
	if h.obstacle != "" {
		state.DownReason = h.obstacle
	}
	if h.state == Established {
		state.Uptime = now.Sub(h.since)
	}
}

// wasUp tells whether there has been a session.
func (h *history) wasUp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.flaps > 0
}

// established tells since when the session is up, if it is.
func (h *history) established() (since time.Time, up bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.state == Established
}

// ends are both addresses of the connection; our own is invalid without one.
func (h *history) ends() (local, remote netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.local, h.remote
}
