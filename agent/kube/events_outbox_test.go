package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// journal is what jobs did, and when.
type journal struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (j *journal) job(name string, errs ...error) func(context.Context) error {
	return func(context.Context) error {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, fmt.Sprintf("%s at %v", name, time.Since(j.start).Round(time.Second)))
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		if len(errs) > 1 {
			errs = errs[1:]
		}
		return err
	}
}

// inBubble runs an outbox in a bubble of synctest, whose time is not ours.
func inBubble(t *testing.T, up func() bool, test func(*outbox, *journal)) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(up, 10, 1, testLog(t, "outbox"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.run(ctx) }()
		test(o, &journal{start: time.Now()})
		cancel()
		<-done
	})
}

func (j *journal) is(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("%q, want %q", j.lines, want)
	}
}

// taken gives the lines since it was last called.
func (j *journal) taken() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

func TestOutboxOrder(t *testing.T) {
	inBubble(t, always, func(o *outbox, j *journal) {
		o.put("b", 20*time.Second, j.job("b"))
		o.put("a", 10*time.Second, j.job("a"))
		o.put("c", 30*time.Second, j.job("old c"))
		o.put("c", 90*time.Second, j.job("c")) // the newer one, at the earlier time
		o.put("b", 5*time.Second, j.job("b'")) // sooner
		o.put("d", 15*time.Second, j.job("d"))
		o.drop("d")
		time.Sleep(time.Minute)
		j.is(t, "b' at 5s", "a at 10s", "c at 30s")
	})
}

func TestOutboxWaitsForTheLink(t *testing.T) {
	var up atomic.Bool
	inBubble(t, up.Load, func(o *outbox, j *journal) {
		o.put("a", 0, j.job("a"))
		o.put("b", 0, j.job("b"))
		time.Sleep(10 * time.Hour)
		j.is(t)
		o.put("a", 0, j.job("newer a"))
		up.Store(true)
		time.Sleep(time.Minute)
		if lines := j.taken(); len(lines) != 2 || !slices.ContainsFunc(lines, func(s string) bool { return s[:7] == "newer a" }) {
			t.Errorf("%q", lines)
		}
	})
}

func TestOutboxTriesAgain(t *testing.T) {
	group := schema.GroupResource{Resource: "events"}
	inBubble(t, always, func(o *outbox, j *journal) {
		conflict := apierrors.NewConflict(group, "e", errors.New("changed"))
		o.put("twice", 0, j.job("twice", conflict, nil))
		time.Sleep(time.Minute)
		if lines := j.taken(); len(lines) != 2 {
			t.Errorf("conflict: %q", lines)
		}
		o.put("never", 0, j.job("never", conflict))
		time.Sleep(time.Hour)
		if lines := j.taken(); len(lines) != tries {
			t.Errorf("always a conflict: %d tries, want %d", len(lines), tries)
		}
		o.put("invalid", 0, j.job("invalid", apierrors.NewInvalid(schema.GroupKind{Kind: "Event"}, "e", nil)))
		terminating := apierrors.NewForbidden(group, "e", errors.New("no"))
		terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		o.put("terminating", time.Second, j.job("terminating", terminating))
		time.Sleep(time.Hour)
		if lines := j.taken(); len(lines) != 2 {
			t.Errorf("invalid, terminating: %q", lines)
		}
	})
}

// An error of a server that is away does not count as a try.
func TestOutboxOutlivesAnOutage(t *testing.T) {
	var up atomic.Bool
	up.Store(true)
	inBubble(t, up.Load, func(o *outbox, j *journal) {
		o.put("a", 0, func(ctx context.Context) error {
			if time.Since(j.start) < time.Hour {
				up.Store(false) // as this request finds out
				time.AfterFunc(time.Minute, func() { up.Store(true) })
				return errors.New("connection refused")
			}
			return j.job("a")(ctx)
		})
		time.Sleep(2 * time.Hour)
		if lines := j.taken(); len(lines) != 1 {
			t.Errorf("%q", lines)
		}
	})
}

func TestOutboxIsBounded(t *testing.T) {
	inBubble(t, func() bool { return false }, func(o *outbox, j *journal) {
		for i := range 2 * outboxSize {
			o.put(fmt.Sprint(i), time.Hour, j.job("a"))
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.jobs) != outboxSize || o.lost != outboxSize {
			t.Errorf("%d jobs, %d lost", len(o.jobs), o.lost)
		}
	})
}

// Whatever is queued at once, writes come at the rate that is allowed.
func TestOutboxRate(t *testing.T) {
	inBubble(t, always, func(o *outbox, j *journal) {
		var written []time.Duration
		for i := range 30 {
			o.put(fmt.Sprint(i), 0, func(ctx context.Context) error {
				if err := o.allow(ctx); err != nil {
					return err
				}
				j.mu.Lock()
				defer j.mu.Unlock()
				written = append(written, time.Since(j.start))
				return nil
			})
		}
		time.Sleep(time.Minute)
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(written) != 30 || written[9] > time.Second || written[29] < 19*time.Second {
			t.Errorf("%d writes: %v", len(written), written)
		}
	})
}
