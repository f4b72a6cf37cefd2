package kube

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	outboxSize = 4096        // jobs; what comes to a full one is lost, and counted
	lookAgain  = time.Second // for the link
	tries      = 6           // of one job; conflicts with other nodes are most of them
	readBurst  = 50
	readRate   = 50 // a second; most jobs after a restart read and have nothing to write

	requestTime = 15 * time.Second
)

// outbox does one job after another that talks to the API server: not before its time, the
// newest of those of one key alone, no more in a second than allowed, and none while the
// link is down. What waits there is few bytes and nothing depends on it.
type outbox struct {
	up     func() bool
	reads  flowcontrol.RateLimiter
	writes flowcontrol.RateLimiter
	log    *slog.Logger
	wake   chan struct{}

	mu   sync.Mutex
	jobs map[string]*job
	lost int
}

type job struct {
	due   time.Time
	do    func(context.Context) error
	tries int
}

// run ends a request that gets no answer.
func (j *job) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return j.do(ctx)
}

func newOutbox(up func() bool, burst int, rate float32, log *slog.Logger) *outbox {
	return &outbox{up: up, log: log, wake: make(chan struct{}, 1), jobs: map[string]*job{},
		reads:  flowcontrol.NewTokenBucketRateLimiter(readRate, readBurst),
		writes: flowcontrol.NewTokenBucketRateLimiter(rate, burst)}
}

// allow waits until one more write is allowed.
func (o *outbox) allow(ctx context.Context) error { return o.writes.Wait(ctx) }

// put queues a job. One of the same key that waits is replaced, and the earlier time counts.
func (o *outbox) put(key string, delay time.Duration, do func(context.Context) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	due := time.Now().Add(delay)
	if j := o.jobs[key]; j != nil {
		j.do, j.tries = do, 0
		if due.Before(j.due) {
			j.due = due
			o.poke()
		}
		return
	}
	if len(o.jobs) >= outboxSize {
		if o.lost++; o.lost == 1 {
			o.log.Warn("events are lost: too many wait to be written", "most", outboxSize)
		}
		return
	}
	o.jobs[key] = &job{due: due, do: do}
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// drop forgets a job.
func (o *outbox) drop(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.jobs, key)
}

// run does jobs until ctx ends.
func (o *outbox) run(ctx context.Context) {
	for ctx.Err() == nil {
		key, j, wait := o.next(time.Now())
		if wait == 0 && !o.up() {
			o.back(key, j, lookAgain)
			wait = lookAgain
		}
		if wait > 0 {
			o.wait(ctx, wait)
			continue
		}
		if o.reads.Wait(ctx) != nil {
			return
		}
		if err := j.run(ctx); err != nil && ctx.Err() == nil {
			o.fail(key, j, err)
		}
	}
}

// next takes the job that is due first, or tells how long it is until then.
func (o *outbox) next(now time.Time) (key string, first *job, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, j := range o.jobs {
		if first == nil || j.due.Before(first.due) {
			key, first = k, j
		}
	}
	if first == nil {
		return "", nil, time.Minute
	}
	if wait = first.due.Sub(now); wait > 0 {
		return "", nil, wait
	}
	delete(o.jobs, key)
	return key, first, 0
}

// back queues a job again, unless there is a newer one.
func (o *outbox) back(key string, j *job, delay time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.jobs[key] == nil {
		j.due = time.Now().Add(delay)
		o.jobs[key] = j
	}
}

// fail tries a job again, later and at a time of its own, as other nodes write the same
// objects. An answer that will not change ends it; that we may not does not, as a server
// that has just started says so until it knows its roles.
func (o *outbox) fail(key string, j *job, err error) {
	if o.up() {
		j.tries++
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return // with all that its Events would be of
	}
	final := apierrors.IsInvalid(err)
	if final || j.tries == tries {
		o.log.Warn("an event is not written", "event", key, "err", err)
		return
	}
	o.back(key, j, jitter(time.Duration(1+j.tries*j.tries)*100*time.Millisecond))
}

// wait waits for d, for a job or for the end of ctx.
func (o *outbox) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-o.wake:
	case <-t.C:
	}
}

// jitter is from d/2 to 3d/2.
func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)+1)) //nolint:gosec // no secret
}
