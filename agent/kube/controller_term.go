package kube

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/penstock-lb/penstock/agent/ipam"
)

const (
	// batchSize is how many Services one write of the fence is for, at most.
	batchSize = 100
	// What fails is tried again after a time that doubles between these.
	retryMin, retryMax = 50 * time.Millisecond, time.Minute
)

// term is the time for which this agent leads. Nothing of it outlives it: what was queued
// and not written is found again by the next leader, in the API server.
type term struct {
	c      *Controller
	store  *store
	writer *ipam.Writer
	queue  workqueue.TypedRateLimitingInterface[string]
	log    *slog.Logger
}

// lead writes until ctx ends or another leads.
func (c *Controller) lead(ctx context.Context, lease func() error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	if pools, _ := c.settings(); len(pools) == 0 {
		return // they went while it waited: to lead without would mean to warn of every address
	}
	t := c.begin(lease)
	defer c.end(t)
	err := t.run(ctx)
	level := slog.LevelInfo
	if ctx.Err() == nil {
		level = slog.LevelWarn
	}
	c.log.Log(ctx, level, "this agent does not lead any more", "err", err)
}

// begin makes a term. From then on what changes is queued, so that nothing is missed
// between the list that the term begins with and the first event after it.
func (c *Controller) begin(lease func() error) *term {
	pools, _ := c.settings()
	s := &store{set: c.set, namespace: c.opts.Namespace, lease: lease, said: c.said,
		spaces: c.cache.Namespace, seen: map[string]sight{},
		class: func() bool { _, class := c.settings(); return class }}
	t := &term{c: c, store: s, log: c.log,
		writer: ipam.NewWriter(s, c.opts.Identity, pools, time.Now, c.log),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryMin, retryMax)),
	}
	c.mu.Lock()
	c.term = t
	told := c.onLead
	c.mu.Unlock()
	for _, f := range told {
		f()
	}
	return t
}

func (c *Controller) end(t *term) {
	c.mu.Lock()
	c.term = nil
	c.mu.Unlock()
	t.queue.ShutDown()
}

// run takes the fence, which adopts all Services, and then follows what changes.
func (t *term) run(ctx context.Context) error {
	for wait := retryMin; ; wait = min(2*wait, time.Second) {
		_, err := t.writer.Lead(ctx)
		single, whole := costs(err)
		if whole == nil {
			t.retry(single)
			break
		}
		if over(ctx, whole) {
			return whole
		}
		t.log.Warn("can't take the lead yet; it is tried again", "err", whole)
		sleep(ctx, wait)
	}
	t.c.cache.EachService(func(svc *corev1.Service) { // those that are not ours any more
		t.look(svc.Namespace + "/" + svc.Name)
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []string)
	go t.collect(ctx, batches)
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case batch := <-batches:
			err = t.handle(ctx, batch)
		case <-t.c.changed:
			err = t.reload(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// over reports whether err ends a term.
func over(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ipam.ErrFenced) || errors.Is(err, errExpired)
}

// collect hands out what is queued, as much of it as there is at a time.
func (t *term) collect(ctx context.Context, batches chan<- []string) {
	context.AfterFunc(ctx, t.queue.ShutDown)
	for {
		service, down := t.queue.Get()
		if down {
			return
		}
		batch := []string{service}
		for len(batch) < batchSize && t.queue.Len() > 0 {
			if service, down = t.queue.Get(); down {
				return
			}
			batch = append(batch, service)
		}
		select {
		case <-ctx.Done():
			return
		case batches <- batch:
		}
	}
}

// look queues a Service if there may be something to write: it is ours, was, or carries
// what we wrote.
func (t *term) look(service string) {
	svc, _ := t.c.cache.Service(service)
	if t.store.knows(service) || svc != nil && (t.ours(svc) || findCondition(svc.Status.Conditions) != nil) {
		t.queue.Add(service)
	}
}

// settled reports whether a Service is as the term read it last or wrote it: most events
// are of our own writes. It is asked when the Service's turn has come, as an event may be
// here before the answer to the write that it is of.
func (t *term) settled(service string) bool {
	svc, space := t.c.cache.Service(service)
	return svc != nil && t.store.same(service, svc, space) && t.ours(svc) && t.queue.NumRequeues(service) == 0
}

func (t *term) ours(svc *corev1.Service) bool { return t.c.serves(svc) }

// handle writes what a batch comes to. What stops being ours loses our marks first, so
// that nobody else is given its address while it still shows it.
func (t *term) handle(ctx context.Context, batch []string) error {
	failed := map[string]error{}
	var rest []string
	for _, service := range batch {
		if t.settled(service) {
			continue
		}
		if svc, _ := t.c.cache.Service(service); svc != nil && !t.ours(svc) && findCondition(svc.Status.Conditions) != nil {
			if err := t.store.release(ctx, service); err != nil {
				failed[service] = err
				continue
			}
		}
		rest = append(rest, service)
	}
	var whole error
	if len(rest) > 0 {
		var single map[string]error
		_, err := t.writer.Reconcile(ctx, rest)
		if single, whole = costs(err); over(ctx, whole) {
			return whole
		}
		for _, service := range rest {
			if whole != nil {
				failed[service] = whole
			}
		}
		maps.Copy(failed, single) // of others that it decided along with the batch, too
	}
	if whole != nil {
		t.log.Warn("no address is written now; it is tried again", "services", len(rest), "err", whole)
	}
	for _, service := range batch {
		if failed[service] == nil {
			t.queue.Forget(service)
		}
		t.queue.Done(service)
	}
	t.retry(failed)
	return nil
}

// retry queues again what failed, each after its own time. A conflict is no mistake: the
// Service has changed meanwhile.
func (t *term) retry(failed map[string]error) {
	var stuck []string
	for service, err := range failed {
		if !errors.Is(err, ipam.ErrConflict) && t.queue.NumRequeues(service) > 0 {
			stuck = append(stuck, service)
		}
		t.queue.AddRateLimited(service)
	}
	if len(stuck) > 0 {
		slices.Sort(stuck)
		t.log.Warn("addresses are not written yet; it is tried again", "services", abridge(stuck, 3), "err", failed[stuck[0]])
	}
}

// reload follows the configuration. Without a pool the term ends.
func (t *term) reload(ctx context.Context) error {
	pools, _ := t.c.settings()
	if len(pools) == 0 {
		return errors.New("no pool is configured any more")
	}
	_, err := t.writer.SetPools(ctx, pools)
	single, whole := costs(err)
	if over(ctx, whole) {
		return whole
	}
	t.retry(single)
	if whole != nil {
		t.log.Warn("changed pools are not in force for every service yet", "err", whole)
	}
	t.c.cache.EachService(func(svc *corev1.Service) { // the class may be another
		name := svc.Namespace + "/" + svc.Name
		if whole != nil && t.store.knows(name) {
			t.queue.AddRateLimited(name)
		} else if svc.Spec.LoadBalancerClass == nil {
			t.look(name)
		}
	})
	return nil
}

// costs takes an error of a Writer apart: what costs one Service each, and what all.
func costs(err error) (single map[string]error, whole error) {
	single = map[string]error{}
	var walk func(error)
	walk = func(err error) {
		var one *ipam.ServiceError
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range several.Unwrap() {
				walk(e)
			}
		} else if errors.As(err, &one) && !errors.Is(err, ipam.ErrFenced) && !errors.Is(err, errExpired) {
			single[one.Service] = err
		} else if err != nil {
			whole = errors.Join(whole, err)
		}
	}
	walk(err)
	return single, whole
}
