package kube

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"

	"github.com/penstock-lb/penstock/agent/desired"
)

// How pods are read. A large cluster's are read within minutes of a start, in the order of
// their slices; what changes meanwhile comes first.
const (
	podReaders  = 8
	podsQPS     = 100 // a second
	podsBurst   = 200
	podTimeout  = 5 * time.Second
	podRetryMin = time.Second // doubles with each failure, and each time that it is not there
	podRetryMax = time.Minute
	podTries    = 6 // of one that is not there, over a minute; then its slice must say something new
)

// podReader reads pods that are asked for.
type podReader struct {
	first func() bool // what is asked for now goes before what was asked for earlier
	get   func(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	wants func(key string) bool                                // it is still asked for
	take  func(ctx context.Context, key string, p *corev1.Pod) // nil: there is none
	fail  func(key string, err error)                          // nil: reads are answered

	lanes *lanes
	queue workqueue.TypedRateLimitingInterface[string]
	limit flowcontrol.RateLimiter
}

// open makes the queue, which has a goroutine that run ends.
func (r *podReader) open() {
	r.lanes = &lanes{first: r.first, again: map[string]bool{}}
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Queue: r.lanes})
	r.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](podRetryMin, podRetryMax),
		workqueue.TypedRateLimitingQueueConfig[string]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Queue: queue}),
		})
}

// ask has a pod read.
func (r *podReader) ask(key string) {
	r.lanes.mark(key, false)
	r.queue.Add(key)
}

// retry has one read again, later, and after what nobody has asked for yet.
func (r *podReader) retry(key string) {
	r.lanes.mark(key, true)
	r.queue.AddRateLimited(key)
}

// done forgets how often a pod was asked for.
func (r *podReader) done(key string) {
	r.lanes.mark(key, false)
	r.queue.Forget(key)
}

// run reads until ctx ends.
func (r *podReader) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range podReaders {
		wg.Go(func() {
			for {
				key, ended := r.queue.Get()
				if ended {
					return
				}
				r.read(ctx, key)
				r.queue.Done(key)
			}
		})
	}
	<-ctx.Done()
	r.queue.ShutDown()
	wg.Wait()
}

func (r *podReader) read(ctx context.Context, key string) {
	if ctx.Err() != nil || !r.wants(key) {
		r.done(key)
		return
	}
	if r.limit.Wait(ctx) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	namespace, name := splitName(key)
	p, err := r.get(ctx, namespace, name)
	switch {
	case err == nil:
		r.fail(key, nil)
		r.take(ctx, key, desired.SlimPod(p))
		r.done(key)
	case apierrors.IsNotFound(err):
		r.fail(key, nil)
		r.take(ctx, key, nil)
		if r.queue.NumRequeues(key) >= podTries-1 {
			r.done(key)
			return
		}
		r.retry(key) // it may be about to come, or its slice to follow
	case errors.Is(ctx.Err(), context.Canceled): // the source ends
	default:
		r.fail(key, err)
		r.retry(key)
	}
}

// lanes is a queue of two lanes, of which the first goes first. Each is first in, first out.
// The work queue's lock guards them.
type lanes struct {
	first func() bool // what comes now is for the first lane, if it is no retry
	lane  [2][]string

	mu    sync.Mutex
	again map[string]bool // retries
}

func (l *lanes) mark(key string, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again {
		l.again[key] = true
		return
	}
	delete(l.again, key)
}

func (l *lanes) of(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first() && !l.again[key] {
		return 0
	}
	return 1
}

// Touch is called for what is in a lane and is asked for again.
func (l *lanes) Touch(key string) {
	if l.of(key) == 1 {
		return
	}
	if i := slices.Index(l.lane[1], key); i >= 0 {
		l.lane[1] = slices.Delete(l.lane[1], i, i+1)
		l.lane[0] = append(l.lane[0], key)
	}
}

// Len implements [workqueue.Queue], as do Push and Pop.
func (l *lanes) Len() int { return len(l.lane[0]) + len(l.lane[1]) }

func (l *lanes) Push(key string) {
	i := l.of(key)
	l.lane[i] = append(l.lane[i], key)
}

func (l *lanes) Pop() (key string) {
	i := 0
	if len(l.lane[0]) == 0 {
		i = 1
	}
	key, l.lane[i] = l.lane[i][0], l.lane[i][1:]
	return key
}
