package bgp

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var log bytes.Buffer
	var notified int
	h := newHistory(slog.New(slog.NewTextHandler(&log, nil)), at(1), func() { notified++ })
	state := func(now int) PeerState {
		s := newState(Peer{Name: "tor", Address: netip.MustParseAddr("192.0.2.1")})
		h.fill(&s, at(now))
		return s
	}
	h.at(Connect)
	h.down(at(2), CauseConnection, "connect: refused")
	h.down(at(3), CauseConnection, "connect: refused")
	if got := state(4); got.State != Idle || got.Since != at(1) || got.DownReason != "connect: refused" || got.Flaps != 0 {
		t.Errorf("after two attempts: %+v", got)
	}
	if n := strings.Count(log.String(), "does not come up"); n != 1 {
		t.Errorf("the same obstacle is logged %d times, want once:\n%s", n, log.String())
	}

	h.connected(netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1"))
	h.up(at(5), 9*time.Second)
	if got := state(7); got.State != Established || got.Uptime != 2*time.Second || got.DownReason != "" || got.HoldTime != 9*time.Second || got.LocalAddress.String() != "192.0.2.2" {
		t.Errorf("established: %+v", got)
	}

	h.down(at(8), CauseBFD, "BFD says so")
	h.down(at(9), CauseConnection, "connect: refused")
	got := state(10)
	if got.Since != at(8) || got.DownReason != "connect: refused" || got.LocalAddress.IsValid() || got.HoldTime != 0 {
		t.Errorf("after the loss and an attempt: %+v", got)
	}
	if diff := cmp.Diff(map[Cause]uint32{CauseBFD: 1}, got.Causes); diff != "" || got.Flaps != 1 {
		t.Errorf("%d flaps, causes (-want +got):\n%s", got.Flaps, diff)
	}
	if !strings.Contains(log.String(), `cause=bfd reason="BFD says so"`) {
		t.Errorf("the log does not say why:\n%s", log.String())
	}

	// Once it is up again, the reason is that of the loss before.
	h.up(at(11), 9*time.Second)
	if got := state(12); got.DownReason != "BFD says so" {
		t.Errorf("up again: %+v", got)
	}
	if notified < 6 {
		t.Errorf("notified %d times of 6 changes", notified)
	}
}
