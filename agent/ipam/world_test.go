package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// world is an API server as far as package ipam sees one. Every write is conditioned on a
// version, and one whose answer is lost may be done later or never.
type world struct {
	version  int
	fence    Fence
	services map[string]*object
	delayed  []func()
	clients  []*client
	intents  map[string]bool // all that were ever on the fence
	broken   []string        // what was found wrong
	said     map[string]Decision
	clock    time.Time
}

// object is a Service.
type object struct {
	claim Claim
	was   []Claim // all that it ever was, for what another writer may know of it
	moved bool    // its owner has changed what may move its addresses
}

func newWorld() *world {
	return &world{services: map[string]*object{}, said: map[string]Decision{}, intents: map[string]bool{}, clock: time.Unix(1_800_000_000, 0)}
}

// event tells every client that a Service is not what it was.
func (w *world) event(service string) {
	for _, c := range w.clients {
		c.news[service] = true
	}
}

func (w *world) tick() string { w.version++; return fmt.Sprint(w.version) }

func (w *world) break_(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *world) create(c Claim) {
	w.clock = w.clock.Add(time.Second)
	c.UID, c.Created, c.Version = "uid"+fmt.Sprint(w.version), w.clock, w.tick()
	w.services[c.Service] = &object{claim: c, was: []Claim{c}}
	w.event(c.Service)
}

func (w *world) remove(service string) {
	delete(w.services, service)
	delete(w.said, service)
	w.event(service)
}

// edit changes a Service by its owner.
func (w *world) edit(o *object, change func(*Claim)) {
	before := o.claim
	change(&o.claim)
	o.claim.Version = w.tick()
	o.was = append(o.was, o.claim)
	w.event(o.claim.Service)
	c := o.claim
	o.moved = o.moved || !slices.Equal(c.families(), before.families()) || c.Policy != before.Policy ||
		!slices.Equal(c.Requested, before.Requested) || c.Pool != before.Pool
	if c.SharingKey != before.SharingKey {
		// Who shares with it may have to go instead, where nobody saw who changed the key.
		o.moved = true
		for _, other := range w.services {
			if slices.ContainsFunc(other.was, func(c Claim) bool { return c.SharingKey != "" && (c.SharingKey == before.SharingKey) }) {
				other.moved = true
			}
		}
	}
}

func (w *world) putFence(f Fence) (Fence, error) {
	if f.Version != w.fence.Version {
		return Fence{}, ErrConflict
	}
	f.Version = w.tick()
	f.Intents = slices.Clone(f.Intents)
	w.fence = f
	for _, i := range f.Intents {
		w.intents[i.key()] = true
	}
	return f, nil
}

func (w *world) putStatus(c Claim, d Decision) error {
	o := w.services[c.Service]
	if o == nil || o.claim.Version != c.Version {
		return ErrConflict
	}
	if len(d.Addresses)+len(d.Refused)+len(d.Warnings) == 0 {
		w.break_("%s: a decision says nothing", c.Service)
	}
	for _, addr := range d.Addresses {
		if !slices.Contains(o.claim.Held, addr) {
			w.checkGrant(o, addr)
		}
	}
	for _, addr := range o.claim.Held {
		if !slices.Contains(d.Addresses, addr) && !o.moved && !o.wished(addr, d) {
			w.break_("%s loses %s for %v although nobody asked for it: %+v", c.Service, addr, d.Addresses, o.claim)
		}
	}
	w.said[c.Service] = d
	if !slices.Equal(o.claim.Held, d.Addresses) {
		if !w.intents[(Intent{Service: c.Service, UID: c.UID, Version: c.Version, Addresses: d.Addresses}).key()] {
			w.break_("%s gets %v unannounced", c.Service, d.Addresses)
		}
		if len(d.Addresses) == 1 && len(o.claim.Held) == 0 && o.claim.Policy == RequireDual && !o.moved {
			w.break_("%s gets %v and requires two families", c.Service, d.Addresses)
		}
		o.claim.Held, o.claim.Version = slices.Clone(d.Addresses), w.tick()
		w.event(c.Service)
	}
	return nil
}

// wished tells whether the Service asks for what it gets instead of addr.
func (o *object) wished(addr netip.Addr, d Decision) bool {
	f := familyOf(addr)
	r, asked := o.claim.requested(f)
	if asked && r != addr && slices.Contains(d.Addresses, r) {
		return true
	}
	i := slices.IndexFunc(d.Addresses, func(a netip.Addr) bool { return familyOf(a) == f })
	return i >= 0 && o.claim.Pool != "" && d.Pools[i] == o.claim.Pool
}

// checkGrant holds a new address of o to what its other holders were at any time since
// they have it.
func (w *world) checkGrant(o *object, addr netip.Addr) {
	others := 0
	for name, other := range w.services {
		if other == o || !slices.Contains(other.claim.Held, addr) {
			continue
		}
		others++
		if !slices.ContainsFunc(other.was, func(c Claim) bool { return shares(c, o.claim) }) {
			w.break_("%s gets %s, which %s has", o.claim.Service, addr, name)
		}
	}
	if others >= maxSharers {
		w.break_("%s gets %s, which %d others have", o.claim.Service, addr, others)
	}
}

// fate is what becomes of one call of the API server.
type fate int

const (
	done    fate = iota // done and answered
	refused             // not done, and the caller told so
	lost                // done, and the answer lost
	late                // no answer; done later, or never
	crash               // the caller dies before it
	crashed             // and after it
)

var errNoAnswer = errors.New("no answer")

// client is a Writer that is stopped before every call.
type client struct {
	w      *world
	name   string
	writer *Writer
	pools  []Pool
	news   map[string]bool // Services that it has yet to reconcile

	calls chan string
	fates chan fate
	over  chan struct{}
	busy  bool
	call  string // that it is stopped before
	err   error  // of the last thing that it did
}

// start begins something and runs until the first call.
func (c *client) start(do func(ctx context.Context) error) {
	c.calls, c.fates, c.over = make(chan string), make(chan fate), make(chan struct{})
	c.busy, c.err = true, errNoAnswer
	go func() {
		defer close(c.over)
		c.err = do(context.Background())
	}()
	c.await()
}

func (c *client) await() {
	select {
	case c.call = <-c.calls:
	case <-c.over:
		c.busy, c.call = false, ""
	}
}

// reconcile takes up some of the news; what fails is news again.
func (c *client) reconcile(some []string) {
	for _, s := range some {
		delete(c.news, s)
	}
	c.start(func(ctx context.Context) error {
		_, err := c.writer.Reconcile(ctx, some)
		c.again(err, some)
		return err
	})
}

// lead has no news before it.
func (c *client) lead() {
	all := slices.Collect(maps.Keys(c.news))
	clear(c.news)
	c.start(func(ctx context.Context) error {
		_, err := c.writer.Lead(ctx)
		c.again(err, all)
		return err
	})
}

func (c *client) setPools(pools []Pool) {
	c.pools = pools
	c.start(func(ctx context.Context) error {
		_, err := c.writer.SetPools(ctx, pools)
		c.again(err, nil)
		return err
	})
}

// again notes what an error calls for: Services of their own, or all that it was about.
func (c *client) again(err error, all []string) {
	if err == nil {
		return
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		if one, ok := errors.AsType[*ServiceError](err); ok {
			c.news[one.Service] = true
			continue
		}
		for _, s := range all {
			c.news[s] = true
		}
	}
}

// step lets the call that it is stopped before have a fate, and runs until the next one.
func (c *client) step(f fate) {
	c.fates <- f
	c.await()
}

// finish lets everything be done.
func (c *client) finish() {
	for c.busy {
		c.step(done)
	}
}

func (c *client) kill() {
	if c.busy {
		c.step(crash)
	}
}

// meet stops before a call, which do does, and gives its error.
func (c *client) meet(call string, do func() error) error {
	c.calls <- call
	switch f := <-c.fates; f {
	case refused:
		return errNoAnswer
	case lost:
		_ = do()
		return errNoAnswer
	case late:
		c.w.delayed = append(c.w.delayed, func() { _ = do() })
		return errNoAnswer
	case crash:
		runtime.Goexit()
	case crashed:
		_ = do()
		runtime.Goexit()
	}
	return do()
}

func (c *client) Fence(context.Context) (f Fence, err error) {
	err = c.meet("Fence", func() error { f = c.w.fence; return nil })
	f.Intents = slices.Clone(f.Intents)
	return f, err
}

func (c *client) PutFence(_ context.Context, f Fence) (out Fence, err error) {
	f.Intents = slices.Clone(f.Intents)
	err = c.meet("PutFence", func() (err error) { out, err = c.w.putFence(f); return err })
	if err != nil {
		out = Fence{}
	}
	return out, err
}

func (c *client) Claims(context.Context) (out []Claim, err error) {
	err = c.meet("Claims", func() error {
		for _, name := range slices.Sorted(maps.Keys(c.w.services)) {
			out = append(out, c.w.services[name].claim)
		}
		return nil
	})
	if err != nil {
		out = nil
	}
	return out, err
}

func (c *client) Claim(_ context.Context, service string) (out Claim, ours bool, err error) {
	err = c.meet("Claim "+service, func() error {
		if o := c.w.services[service]; o != nil {
			out, ours = o.claim, true
		}
		return nil
	})
	return out, ours && err == nil, err
}

func (c *client) PutStatus(_ context.Context, claim Claim, d Decision) error {
	return c.meet(fmt.Sprintf("PutStatus %s@%s %v", claim.Service, claim.Version, d.Addresses),
		func() error { return c.w.putStatus(claim, d) })
}

// shares tells whether two claims want to have one address, and have no port in common.
func shares(a, b Claim) bool {
	return a.SharingKey != "" && a.SharingKey == b.SharingKey && a.Namespace == b.Namespace &&
		!slices.ContainsFunc(a.Ports, func(p Port) bool { return slices.Contains(b.Ports, p) })
}
