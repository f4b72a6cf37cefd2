package maps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// grace is how long a program run may last that began before a change: many
// times what one takes (microseconds; it is not preempted for long).
const grace = 5 * time.Millisecond

// Options of the tables.
type Options struct {
	Rows     uint32   // of the smallest table, 2^k; larger ones follow from the number of backends
	Seed     [16]byte // of the tables, the same in the whole cluster
	Timeouts bpf.Timeouts
}

// Tables keeps the maps as they are wanted. Its own methods are for one
// goroutine; those of View are for any.
type Tables struct {
	*View
	log       *slog.Logger
	opts      Options
	cpus      int
	slots     slots
	published regionTable

	ids, indices *indices
	regions      *regions

	// What is in the kernel.
	services  map[string]*service
	frontends map[Frontend]uint32 // the number of the service
	vips      map[netip.Addr]bool // those that have their entry
	replaced  bool                // an element of frontends was freed: see upsertFrontend

	gone  []goneBackend // no row names them any more, but they are still there
	freed struct {      // free, but not to be used before the next Sync
		regions      []region
		indices, ids []uint32
	}
}

type goneBackend struct {
	key   bpf.BackendKey
	index uint32
}

// Open takes over the maps of a loaded program with what is in them.
func Open(lb *bpf.LB, opts Options, log *slog.Logger) (*Tables, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	view, err := newView(lb.Map)
	if err != nil {
		return nil, err
	}
	t := &Tables{
		View:      view,
		log:       log,
		opts:      opts,
		cpus:      cpus,
		services:  make(map[string]*service),
		frontends: make(map[Frontend]uint32),
		vips:      make(map[netip.Addr]bool),
		ids:       newIndices("services are in use: raise datapath.maxFrontends", view.m.services.MaxEntries()),
		indices:   newIndices("backends are in use: raise datapath.maxBackends", view.m.backends.MaxEntries()),
		regions:   newRegions(view.m.slots.MaxEntries() * bpf.SlotsPerLine),
	}
	if err := t.ids.reserve(0); err != nil { // which says that an entry is a VIP's own
		return nil, errors.Join(err, view.Close())
	}
	if t.slots, err = mapSlots(view.m.slots, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, errors.Join(err, view.Close())
	}
	if t.published, err = mapRegions(view.m.regions, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, errors.Join(err, t.slots.close(), view.Close())
	}
	if err := t.adopt(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close lets go of the maps. They stay as they are.
func (t *Tables) Close() error {
	return errors.Join(t.slots.close(), t.published.close(), t.View.Close())
}

// Sync makes the tables what is wanted. It is idempotent. A service that can't be
// made so costs only itself: it stays as it was, and the error, joined with
// others, has a *ServiceError for it.
func (t *Tables) Sync(ctx context.Context, want Want) error {
	t.reuse()
	services, errs := admit(want.Services)
	kept := refusedNames(errs)
	wanted, owner := maps.Clone(kept), make(map[Frontend]string)
	for _, s := range services {
		wanted[s.Name] = true
		for _, f := range s.Frontends {
			owner[f] = s.Name
		}
	}
	prune := func(moved bool) {
		errs = append(errs, t.pruneFrontends(owner, kept, moved), t.pruneServices(wanted), t.clear(ctx))
	}
	prune(false) // makes room, and takes nothing from anybody
	hops := normalHops(want.NextHops)
	for _, s := range services {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := t.upsert(s, hops); err != nil {
			errs = append(errs, &ServiceError{s.Name, err})
		}
	}
	prune(true)
	return errors.Join(errs...)
}

// admit returns the services that can be, and an error for each other one.
func admit(want []Service) (services []Service, errs []error) {
	names := make(map[string]bool)
	owner := make(map[Frontend]string)
	for _, s := range want {
		s = s.normal()
		err := s.validate()
		if err == nil && names[s.Name] {
			err = errors.New("two services have this name")
		}
		for _, f := range s.Frontends {
			if other, taken := owner[f]; err == nil && taken {
				err = fmt.Errorf("frontend %s belongs to service %s", f, other)
			}
		}
		if err != nil {
			errs = append(errs, &ServiceError{s.Name, err})
			continue
		}
		names[s.Name] = true
		for _, f := range s.Frontends {
			owner[f] = s.Name
		}
		services = append(services, s)
	}
	return services, errs
}

// refusedNames are the services whose state of before is still in force.
func refusedNames(errs []error) map[string]bool {
	names := make(map[string]bool)
	for _, err := range errs {
		if refused, ok := errors.AsType[*ServiceError](err); ok {
			names[refused.Service] = true
		}
	}
	return names
}

func normalHops(hops map[netip.Addr]NextHop) map[netip.Addr]NextHop {
	normal := make(map[netip.Addr]NextHop, len(hops))
	for addr, hop := range hops {
		normal[addr.Unmap()] = hop
	}
	return normal
}

// clear empties the elements of backends that are gone, once no packet can have
// read a row that names them.
func (t *Tables) clear(ctx context.Context) error {
	if len(t.gone) == 0 {
		return nil
	}
	select {
	case <-time.After(grace):
	case <-ctx.Done():
		return ctx.Err()
	}
	var errs []error
	left := t.gone[:0]
	for _, b := range t.gone {
		// In this order: flows may know the element by its number.
		err := t.m.backends.Put(b.index, bpf.Backend{})
		if err == nil {
			err = ignoreMissing(t.m.backendIndices.Delete(b.key))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("clear backend %d: %w", b.index, err))
			left = append(left, b)
			continue
		}
		t.freed.indices = append(t.freed.indices, b.index)
	}
	t.gone = left
	return errors.Join(errs...)
}

// reuse gives back what became free in earlier Syncs.
func (t *Tables) reuse() {
	if len(t.freed.regions)+len(t.freed.indices)+len(t.freed.ids) == 0 {
		return
	}
	time.Sleep(grace)
	for _, g := range t.freed.regions {
		t.regions.put(g)
	}
	for _, i := range t.freed.indices {
		t.indices.put(i)
	}
	for _, id := range t.freed.ids {
		t.ids.put(id)
	}
	t.freed.regions, t.freed.indices, t.freed.ids = nil, nil, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
