package ndisc

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// Silence is how long a router is not heard of until it counts as gone. It is solicited three
	// times meanwhile.
	Silence = 35 * time.Second

	interval = 10 * time.Second // between advertisements, at most
	minDelay = 3 * time.Second  // between two of them (RFC 4861 section 10)
	tick     = time.Second      // between looks at what has expired, and attempts at what failed
)

// Discoverer sends router advertisements on a set of interfaces, and knows the router on each. Make one
// with [New].
type Discoverer struct {
	log     *slog.Logger
	changed chan struct{}
	wake    chan struct{}
	times   times

	mu     sync.Mutex // guards all below
	wanted []string
	links  map[string]*link
	told   map[string]string // why an interface is not in use, as last logged
}

// times are as the constants say, but in tests.
type times struct{ silence, interval, minDelay, tick time.Duration }

// New returns a Discoverer of no interface.
func New(log *slog.Logger) *Discoverer {
	return &Discoverer{
		log: log, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), times: times{Silence, interval, minDelay, tick},
		links: map[string]*link{}, told: map[string]string{},
	}
}

// Changed receives after a [Discoverer.Router] has changed; several changes may give one value.
func (d *Discoverer) Changed() <-chan struct{} { return d.changed }

// Sync makes interfaces the whole set. Its error joins one for each that cannot be used now, because it
// does not exist, has no link-local address or is not ours to open: those are tried again by Run until they
// are no longer wanted. The others are not disturbed. Interfaces are those of the calling thread's namespace.
func (d *Discoverer) Sync(ctx context.Context, interfaces []string) error {
	d.mu.Lock()
	d.wanted = slices.Compact(slices.Sorted(slices.Values(interfaces)))
	var unwanted []*link
	for name, l := range d.links {
		if !slices.Contains(d.wanted, name) {
			unwanted = append(unwanted, l)
			delete(d.links, name)
		}
	}
	maps.DeleteFunc(d.told, func(name, _ string) bool { return !slices.Contains(d.wanted, name) })
	err := d.open(ctx)
	d.mu.Unlock()
	for _, l := range unwanted {
		l.close()
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return err
}

// open opens what is wanted and is not open. The lock is held.
func (d *Discoverer) open(ctx context.Context) error {
	var errs []error
	for _, name := range d.wanted {
		if d.links[name] != nil || ctx.Err() != nil {
			continue
		}
		l, err := openLink(name, d.times)
		if err != nil {
			errs = append(errs, err)
			d.tell(name, err)
			continue
		}
		d.links[name] = l
	}
	return errors.Join(errs...)
}

// tell logs why an interface is not in use, once. The lock is held.
func (d *Discoverer) tell(name string, err error) {
	if d.told[name] != err.Error() {
		d.told[name] = err.Error()
		d.log.Warn("neighbour discovery does not work, trying again", "interface", name, "err", err)
	}
}

// works takes back what tell has logged.
func (d *Discoverer) works(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.links[l.name] == l && d.told[l.name] != "" {
		d.log.Info("neighbour discovery works again", "interface", l.name)
		delete(d.told, l.name)
	}
}

// Router returns the link-local address of the router on an interface, with its zone; false while none is known.
func (d *Discoverer) Router(name string) (netip.Addr, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.links[name]; l != nil {
		return l.routers.chosen()
	}
	return netip.Addr{}, false
}

// Run works until ctx ends, and then closes all that Sync has opened and returns nil.
func (d *Discoverer) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer d.Stop()
	look := time.NewTicker(d.times.tick)
	defer look.Stop()
	for {
		d.mu.Lock()
		_ = d.open(ctx) // is logged, and tried again
		for _, l := range d.links {
			if !l.started {
				l.started = true
				running.Go(func() { d.serve(l) })
			}
			d.expire(l)
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-look.C:
		}
	}
}

// Stop closes all interfaces: no router is known any more. Sync may follow.
func (d *Discoverer) Stop() {
	d.mu.Lock()
	links := slices.Collect(maps.Values(d.links))
	d.wanted, d.links = nil, map[string]*link{}
	d.mu.Unlock()
	for _, l := range links {
		l.close()
	}
}

// serve sends and receives on a link until it is closed. One that fails is opened anew by Run.
func (d *Discoverer) serve(l *link) {
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := l.advertise(func() { d.works(l) }); err != nil {
			d.fail(l, err)
		}
	})
	err := l.receive(func(router netip.Addr) { d.heard(l, router) })
	if err != nil {
		d.fail(l, err)
	}
	sender.Wait()
}

// fail gives up a link, unless it was closed because it is not wanted.
func (d *Discoverer) fail(l *link, err error) {
	l.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.links[l.name] != l {
		return
	}
	delete(d.links, l.name)
	d.tell(l.name, err)
	if _, known := l.routers.chosen(); known {
		d.signal()
	}
}

// heard notes an advertisement of a router.
func (d *Discoverer) heard(l *link, router netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, known := l.routers.chosen()
	if !l.routers.heard(router, time.Now()) {
		return
	}
	if known {
		d.log.Warn("another router advertises itself; the first one stays while it is heard", "interface", l.name, "router", before, "other", router)
		return
	}
	d.log.Info("router found", "interface", l.name, "router", router)
	d.signal()
}

// expire forgets routers that are silent. The lock is held.
func (d *Discoverer) expire(l *link) {
	before, known := l.routers.chosen()
	l.routers.expire(time.Now().Add(-d.times.silence))
	after, still := l.routers.chosen()
	switch {
	case !known || before == after:
		return
	case still:
		d.log.Warn("the router is silent, another one takes its place", "interface", l.name, "router", before, "silence", d.times.silence, "other", after)
	default:
		d.log.Warn("the router is silent", "interface", l.name, "router", before, "silence", d.times.silence)
	}
	d.signal()
}

func (d *Discoverer) signal() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}
