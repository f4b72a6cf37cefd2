package kube

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// ServiceCache is what a Controller needs of a [Source]: which Services there are to look
// at. What it decides on it reads from the API server itself.
type ServiceCache interface {
	// OnService has f called for each Service that is new, changed or gone, and for those
	// of a Namespace that is new or has other labels. f does not block.
	OnService(f func(service string))
	Service(name string) (*corev1.Service, *corev1.Namespace) // nil where it is not known
	Namespace(name string) *corev1.Namespace                  // nil where it is not known
	EachService(f func(*corev1.Service))
	WaitSynced(ctx context.Context) bool // false: ctx ended
}

// ControllerOptions of a [Controller].
type ControllerOptions struct {
	// Identity is this node's name. An agent that starts anew goes on as the leader at
	// once, if it was; should two ever run under one name, the fence keeps them apart.
	Identity  string
	Namespace string // of the Leases

	Pools        []ipam.Pool
	DefaultClass bool // Services without a loadBalancerClass are ours

	// Times of the election; zero: 15 s, 10 s, 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Controller gives Services their addresses, while it leads all agents that run one.
//
// It sets no finalizer on Services. One would keep a deleted Service, and by that its
// Namespace, for as long as no agent leads, and nothing is won by it: an address is free
// once nobody's status has it, which a leader that was not there finds out by itself, and
// withdrawing is up to each node, which needs nobody's leave.
//
// All agents should have the same pools: those of the leader count. One without pools
// leaves the lead to others.
type Controller struct {
	set   kubernetes.Interface
	cache ServiceCache
	opts  ControllerOptions
	log   *slog.Logger
	notes *recorder

	turn sync.Mutex // held while it writes: one term at a time

	mu      sync.Mutex
	pools   []ipam.Pool
	class   bool
	leader  string
	term    *term // nil: another leads
	onLead  []func()
	changed chan struct{} // pools or class
}

// NewController makes a Controller over the way to the API server that client is. Its
// requests are not limited in number: how many there are follows from how many Services change.
func NewController(client *Client, cache ServiceCache, o ControllerOptions, log *slog.Logger) *Controller {
	return newController(client.reads, client.connected, cache, o, log)
}

func newController(set kubernetes.Interface, up func() bool, cache ServiceCache, o ControllerOptions, log *slog.Logger) *Controller {
	if o.LeaseDuration == 0 {
		o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = 15*time.Second, 10*time.Second, 2*time.Second
	}
	c := &Controller{set: set, cache: cache, opts: o, log: log, notes: newRecorder(set, up, log),
		pools: o.Pools, class: o.DefaultClass, changed: make(chan struct{}, 1)}
	cache.OnService(c.look)
	return c
}

// Run takes part in the election, and writes while it leads, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.notes.run(ctx) })
	if !c.cache.WaitSynced(ctx) {
		return nil
	}
	told, unserved := false, map[types.UID]bool{}
	for ctx.Err() == nil {
		if pools, _ := c.settings(); len(pools) == 0 {
			if !told {
				c.log.Warn("no pool is configured: this agent gives Services no addresses; add pools to the configuration, of every LB node alike")
			}
			told = true
			select {
			case <-ctx.Done():
			case <-c.changed:
			case <-time.After(looksIdle * c.opts.RetryPeriod):
				c.tellUnserved(ctx, unserved)
			}
			continue
		}
		told = false
		if err := c.campaign(ctx); err != nil {
			return err
		}
		sleep(ctx, c.opts.RetryPeriod)
	}
	return nil
}

// SetPools changes the pools. Services keep what they have.
func (c *Controller) SetPools(pools []ipam.Pool) {
	c.change(func() bool {
		same := reflect.DeepEqual(c.pools, pools)
		c.pools = slices.Clone(pools)
		return !same
	})
}

// SetDefaultClass says whether Services without a loadBalancerClass are ours.
func (c *Controller) SetDefaultClass(ours bool) {
	c.change(func() bool {
		same := c.class == ours
		c.class = ours
		return !same
	})
}

func (c *Controller) change(apply func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !apply() {
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *Controller) settings() (pools []ipam.Pool, class bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pools, c.class
}

// Leader names the agent that leads, as far as this one has heard; empty: none.
func (c *Controller) Leader() (self bool, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term != nil, c.leader
}

// Usage tells how full pools are; nothing where this agent does not lead.
func (c *Controller) Usage() []ipam.Usage {
	c.mu.Lock()
	t := c.term
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	return t.writer.Usage()
}

// connected reports whether it is worth asking.
func (c *Client) connected() bool { return c.Link().Connected }

// serves tells whether a Service is for Penstock to give addresses to.
func (c *Controller) serves(svc *corev1.Service) bool {
	_, class := c.settings()
	_, _, ours := desired.Claim(svc, nil, class)
	return ours
}

// look queues a Service that changed.
func (c *Controller) look(service string) {
	c.mu.Lock()
	t := c.term
	c.mu.Unlock()
	if t != nil {
		t.look(service)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
