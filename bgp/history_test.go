package bgp

import (
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	h := newHistory(at(0), func() {})
	check := func(now int, want PeerState) {
		t.Helper()
		var got PeerState
		h.fill(&got, at(now))
		if !got.Since.Equal(want.Since) || got.Uptime != want.Uptime || got.DownReason != want.DownReason || got.Flaps != want.Flaps {
			t.Errorf("after %d s: %+v, want %+v", now, got, want)
		}
	}
	check(1, PeerState{Since: at(0)})
	told := func(now int, reason string, want bool) {
		t.Helper()
		if got := h.down(at(now), reason); got != want {
			t.Errorf("%q after %d s is news: %v", reason, now, got)
		}
	}
	told(2, "refused", true)
	told(3, "refused", false)
	check(3, PeerState{Since: at(0), DownReason: "refused"})
	h.up(at(4))
	check(9, PeerState{Since: at(4), Uptime: 5 * time.Second})
	told(10, "hold timer expired", true)
	check(11, PeerState{Since: at(10), DownReason: "hold timer expired", Flaps: 1})
	told(12, "refused", true)
	told(12, "refused", false)
	check(13, PeerState{Since: at(10), DownReason: "refused", Flaps: 1})
	// Up again, the reason of the loss is still worth knowing and that of the attempts is not.
	h.up(at(14))
	check(15, PeerState{Since: at(14), Uptime: time.Second, DownReason: "hold timer expired", Flaps: 1})
	told(16, "refused", true)
}

func TestReasonTexts(t *testing.T) {
	for reason, want := range map[string]string{
		"hold-timer-expired": "hold timer expired",
		"graceful-restart":   "connection lost; graceful restart was agreed",
		"notification-received code 6(cease) subcode 3(peer deconfigured)": "notification received code 6(cease) subcode 3(peer deconfigured)",
	} {
		if got := reasonText(reason); got != want {
			t.Errorf("%s: %q, want %q", reason, got, want)
		}
	}
	const timeout = "dial tcp 10.0.0.2:0->10.0.0.1:179: i/o timeout"
	if got := connectText(timeout, false); got != "connect: i/o timeout" {
		t.Errorf("without a password: %q", got)
	}
	if got := connectText(timeout, true); got != "connect: i/o timeout (routers do not answer if the password differs)" {
		t.Errorf("with a password: %q", got)
	}
	if got := connectText("something else", true); got != "connect: something else" {
		t.Errorf("unknown error: %q", got)
	}
}
