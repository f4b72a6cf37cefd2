package bgp_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines counts those that hold all the words.
func lines(text string, words ...string) int {
	n := 0
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// Nothing listens on the peer's address: the state says so, Changed tells, the password stays out of the
// log, and nothing is left after Stop; TestMain looks for goroutines.
func TestUnreachablePeer(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	s, err := bgp.New(bgp.Config{
		ASN: lbASN, RouterID: netip.MustParseAddr("192.0.2.1"),
		Peers: []bgp.Peer{
			{Name: "nobody", Address: netip.MustParseAddr("127.0.0.99"), ASN: torASN, ConnectRetry: time.Second},
			{Name: "secret", Address: netip.MustParseAddr("127.0.0.97"), ASN: torASN, ConnectRetry: time.Second, Password: "hunter2"},
		},
	}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.Sync(ctx, paths(vipA4)); err != nil {
		t.Fatal(err)
	}
	<-s.Changed() // by Sync
	fixture.Wait(t, 20*time.Second, "the reason", func() error {
		if got := s.Peers()[0]; got.State == bgp.Established || !strings.Contains(got.DownReason, "connection refused") {
			return fmt.Errorf("%s, %q", got.State, got.DownReason)
		}
		return nil
	})
	select {
	case <-s.Changed():
	case <-time.After(5 * time.Second):
		t.Error("Changed did not tell of the failed connection")
	}
	// The log says why, once.
	fixture.Wait(t, 20*time.Second, "the next attempt", func() error {
		if n := lines(log.String(), "level=DEBUG", "attempt to connect", "peer=nobody"); n < 2 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	if n := lines(log.String(), "level=WARN", "does not come up", "connection refused", "peer=nobody"); n != 1 {
		t.Errorf("the reason is in the log %d times:\n%s", n, log.String())
	}
	if routes := s.Routes(); len(routes) != 1 || len(routes[0].Peers) != 0 {
		t.Errorf("routes without a session: %+v", routes)
	}
	if err := s.Stop(ctx, bgp.StopDrain, ""); err != nil {
		t.Errorf("Stop: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the password is in the log:\n%s", log.String())
	}
}

func TestSyncWithCancelledContext(t *testing.T) {
	t.Parallel()
	s, err := bgp.New(bgp.Config{
		ASN: lbASN, RouterID: netip.MustParseAddr("192.0.2.1"),
		Peers: []bgp.Peer{{Name: "nobody", Address: netip.MustParseAddr("127.0.0.98"), ASN: torASN}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = s.Sync(ctx, paths(vipA4))
	if err == nil || !strings.Contains(err.Error(), vipA4) || len(s.Routes()) != 0 {
		t.Errorf("error %v does not name the path, or it was taken: %v", err, s.Routes())
	}
	if err := s.Sync(t.Context(), paths(vipA4)); err != nil {
		t.Errorf("the next Sync: %v", err)
	}
	if err := s.Stop(t.Context(), bgp.StopDrain, ""); err != nil {
		t.Errorf("Stop: %v", err)
	}
}
