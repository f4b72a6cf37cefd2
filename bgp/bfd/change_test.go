package bfd

import (
	"context"
	"testing"
)

// A slow receiver of changes delays nobody and loses nothing.
func TestChangesWait(t *testing.T) {
	q := changes{filled: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const all = 1000
	var got []State
	busy, release := make(chan struct{}), make(chan struct{})
	go func() {
		<-busy
		for i := 1; i < all; i++ {
			q.add(Change{To: State(i % 4)}) // while deliver is held up
		}
		close(release)
	}()
	q.add(Change{To: 0})
	q.deliver(ctx, func(c Change) {
		if got = append(got, c.To); len(got) == 1 {
			close(busy)
			<-release
		}
		if len(got) == all {
			cancel()
		}
	})
	if len(got) != all {
		t.Fatalf("got %d changes, want %d", len(got), all)
	}
	for i, s := range got {
		if s != State(i%4) {
			t.Fatalf("change %d is %s", i, s)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		transition transition
		failed     bool
		want       string
	}{
		{transition{from: Up, to: Down, diag: DetectionTimeExpired, detection: 900 * ms}, true, "nothing heard from the peer for 900ms"},
		{transition{from: Up, to: Down, diag: NeighborSignaledDown, remoteState: AdminDown}, false, "the peer took the session out of service"},
		{transition{from: Up, to: Down, diag: NeighborSignaledDown, remoteState: Down, remoteDiag: DetectionTimeExpired}, true, "the peer did not hear us for its detection time"},
		{transition{from: Up, to: Down, diag: NeighborSignaledDown, remoteState: Down}, true, "the peer says that the session is down, diagnostic none"},
		{transition{from: Up, to: Down, diag: PathDown, remoteState: AdminDown}, true, "the kernel has no way to the peer"},
		{transition{from: Up, to: AdminDown, diag: AdministrativelyDown}, false, "taken out of service here"},
		{transition{from: AdminDown, to: Down}, false, "back in service here"},
		{transition{from: Init, to: Down, diag: DetectionTimeExpired, detection: 3000 * ms}, false, "nothing heard from the peer for 3s"},
		{transition{from: Init, to: Up, remoteState: Init}, false, "the peer is init"},
	} {
		if got := c.transition.reason(); got != c.want || c.transition.failed() != c.failed {
			t.Errorf("%+v: %q, failed %t; want %q, %t", c.transition, got, c.transition.failed(), c.want, c.failed)
		}
	}
}
