package maps

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

// Options of the tables.
type Options struct {
	Rows     uint32   // of the smallest table, 2^k; larger ones follow from the number of backends
	Seed     [16]byte // of the tables, the same in the whole cluster
	Timeouts bpf.Timeouts
	Chain    chain.Options // what the maps have no room for is cut off
}

// Tables keeps the maps as they are wanted. Its own methods are for one
// goroutine; those of View are for any.
type Tables struct {
	*View
	log       *slog.Logger
	opts      Options
	cpus      int
	now       func() time.Time
	run       func(frame []byte, ifindex uint32) (bpf.Action, []byte, error) // the program
	quiesce   func()
	slots     slots
	published regionTable
	chains    *chains
	ranks     ranks
	filter    learnedFilter

	generation counterWord // of frontends

	ids, indices *indices
	regions      *regions
	tunnels      *tunnels
	members      *members

	// What is in the kernel.
	services  map[string]*service
	byID      map[uint32]*service
	frontends map[Frontend]uint32 // the number of the service
	vips      map[netip.Addr]bool // those that have their entry
	vipRefs   map[netip.Addr]int  // their frontends
	idleVIPs  map[netip.Addr]bool // those that have their entry and no frontend
	replaced  bool                // an element of frontends was freed: see upsertFrontend
	sources   sources

	wishes   wishes
	complete bool              // wishes has all services: a partial Sync may follow
	syncs    uint64            // how many there were
	queue    queue             // what time changes
	crowded  map[*service]bool // whose rows have not all the chains that they should

	gone    []goneBackend // no row names them any more, but they are still there
	freed   freed
	counted struct { // by Usage
		learned Fill
		at      time.Time
	}
	unfilled []unfilled
	late     []lateRow // their ranks are still what they were
	buf      struct {  // of wanted
		addrs         []netip.AddrPort
		owners, extra []uint32
	}
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
		now:       time.Now,
		run:       lb.Run,
		quiesce:   quiesce,
		services:  make(map[string]*service),
		byID:      make(map[uint32]*service),
		frontends: make(map[Frontend]uint32),
		vips:      make(map[netip.Addr]bool),
		vipRefs:   make(map[netip.Addr]int),
		idleVIPs:  make(map[netip.Addr]bool),
		wishes:    newWishes(),
		crowded:   make(map[*service]bool),
		ids:       newIndices("services are in use: raise datapath.maxFrontends", view.m.services.MaxEntries()),
		indices:   newIndices("backends are in use: raise datapath.maxBackends", view.m.backends.MaxEntries()),
		regions:   newRegions(min(view.m.slots.MaxEntries()*bpf.SlotsPerLine, view.m.ranks.MaxEntries())),
		members:   newMembers(view.m.members),
		sources:   newSources(view.m.sources.MaxEntries()),
	}
	if err := t.ids.reserve(0); err != nil { // which says that an entry is a VIP's own
		return nil, errors.Join(err, view.Close())
	}
	if err := t.mapAll(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := t.adopt(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// mapAll maps what is written without system calls.
func (t *Tables) mapAll() (err error) {
	if t.tunnels, err = newTunnels(t.m.tunnels); err != nil {
		return err
	}
	if t.slots, err = mapSlots(t.m.slots, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return err
	}
	if t.published, err = mapRegions(t.m.regions, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return err
	}
	if t.chains, err = mapChains(t.m.chains); err != nil {
		return err
	}
	if t.ranks, err = mapRanks(t.m.ranks, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return err
	}
	if t.generation, err = mapCounterWord(t.m.generation); err != nil {
		return err
	}
	t.renewFrontends() // an agent before may have ended between a change and this
	t.filter, err = mapLearnedFilter(t.m.learnedFilter)
	return err
}

// Close lets go of the maps. They stay as they are.
func (t *Tables) Close() error {
	if t.freed.quiet != nil {
		<-t.freed.quiet
	}
	errs := []error{t.slots.close(), t.published.close(), t.ranks.close(), t.generation.close(), t.filter.close()}
	if t.chains != nil {
		errs = append(errs, t.chains.close())
	}
	return errors.Join(append(errs, t.View.Close())...)
}

// Sync makes the tables what is wanted. It is idempotent. A service that can't be
// made so costs only itself: it stays as it was, and the error, joined with
// others, has a *ServiceError for it. The next Sync tries it again, also if that is
// partial and does not name it, and then has the error again.
//
// The work of a partial Sync is that of the services that it names, of those that are
// due, and of looking through Members and the tunnels.
func (t *Tables) Sync(ctx context.Context, want Want) error {
	if want.Partial && !t.complete {
		return ErrIncomplete
	}
	t.complete = false
	t.syncs++
	t.reuse()
	defer t.awaitQuiet()
	if !want.Partial {
		want = want.normal()
	}
	p, errs := t.plan(want)
	// A node that has died, or a way that has changed, is of use to know first.
	errs = append(errs, t.members.sync(want.Members), t.tunnels.refresh(want))
	prune := func(moved bool) {
		errs = append(errs, t.pruneFrontends(p, moved), t.pruneServices(), t.clear(ctx))
	}
	prune(false) // makes room, and takes nothing from anybody
	errs = append(errs, t.upsertAll(ctx, p.wishes, want)...)
	t.fillLate()
	t.ageAll(t.now())
	t.putLate()
	if ctx.Err() == nil {
		prune(true)
		t.complete = ctx.Err() == nil
	}
	return errors.Join(errs...)
}

func (t *Tables) upsertAll(ctx context.Context, wishes []wish, want Want) (errs []error) {
	for _, s := range wishes {
		if err := ctx.Err(); err != nil {
			return append(errs, err)
		}
		if err := t.upsert(s, want); err != nil {
			errs = append(errs, &ServiceError{s.Name, err})
			t.wishes.later(s, want)
		}
	}
	return errs
}

// normal returns what is wanted with plain IPv4 addresses for keys.
func (w Want) normal() Want {
	w.NextHops, w.Dead = plainKeys(w.NextHops), plainKeys(w.Dead)
	return w
}

func plainKeys[V any](m map[netip.Addr]V) map[netip.Addr]V {
	plain := make(map[netip.Addr]V, len(m))
	for addr, v := range m {
		plain[addr.Unmap()] = v
	}
	return plain
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
