package maps

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

// direct says whether a backend answers its clients itself. Then displaced flows are
// looked for, so the service's rows have chains and further ranks.
func (s Service) direct() bool {
	return slices.ContainsFunc(s.Backends, func(b Backend) bool { return b.Tunnel.IsValid() })
}

func (s Service) usable() bool { return slices.ContainsFunc(s.Backends, Backend.Eligible) }

// endpoints are the service's backends as its table ranks them. Translated flows
// stay with their backend as long as they have an entry in flows, so for a service
// that has no others the times mean nothing.
func (s Service) endpoints() []chain.Endpoint {
	direct := s.direct()
	eps := make([]chain.Endpoint, 0, len(s.Backends))
	for _, b := range s.Backends {
		e := chain.Endpoint{ID: b.Addr, Weight: b.Weight}
		if direct {
			e.BornAt, e.LostAt, e.Former = b.BornAt, b.LostAt, b.Former
		}
		if b.Eligible() {
			e.EligibleSince, e.LostAt = time.Unix(0, 0), time.Time{}
			if direct && !b.EligibleSince.IsZero() {
				e.EligibleSince = b.EligibleSince
			}
		}
		if direct || b.Eligible() {
			eps = append(eps, e)
		}
	}
	return eps
}

func sameEndpoint(a, b chain.Endpoint) bool {
	return a.ID == b.ID && a.Weight == b.Weight && a.BornAt.Equal(b.BornAt) &&
		a.EligibleSince.Equal(b.EligibleSince) && a.LostAt.Equal(b.LostAt) &&
		slices.EqualFunc(a.Former, b.Former, func(a, b chain.Former) bool {
			return a.Weight == b.Weight && a.Until.Equal(b.Until)
		})
}

// chainOptions are those of a service's table.
func (t *Tables) chainOptions(direct bool) chain.Options {
	if !direct {
		return chain.Options{Longest: 1}
	}
	o := t.opts.Chain
	o.Longest = min(max(o.Longest, 1), bpf.ChainMax)
	o.ExtraRanks = min(max(o.ExtraRanks, 0), bpf.RanksMax)
	return o
}

// fill makes the rows name their owners: also while no backend is usable, for the
// flows of those that drain go on.
func (t *Tables) fill(s *service, want Service, now time.Time) {
	if s.region.rows == 0 {
		return
	}
	direct := want.direct()
	sizes := append(slices.Clone(want.Sizes), s.former...)
	if s.table == nil || s.direct != direct || !maps.Equal(untils(s.sizes), untils(sizes)) {
		s.table = chain.New(t.opts.Seed, s.region.rows, t.chainOptions(direct), sizes...)
		s.direct, s.sizes, s.fresh = direct, sizes, true
	}
	eps := want.endpoints()
	next := s.table.NextChange()
	due := !next.IsZero() && !now.Before(next)
	if s.fresh || due || !slices.EqualFunc(eps, s.given, sameEndpoint) {
		s.given = eps
		for _, row := range s.table.Set(now, eps) {
			if !s.fresh && !s.crowded() {
				t.putRow(s, row)
			}
		}
	}
	if s.fresh || s.crowded() {
		s.short = 0
		for row := range s.region.rows {
			t.putRow(s, row)
		}
	}
	s.fresh = false
}

// untils is when each size ended last.
func untils(sizes []chain.Size) map[uint32]int64 {
	last := make(map[uint32]int64, len(sizes))
	for _, size := range sizes {
		last[size.Rows] = max(last[size.Rows], size.Until.UnixNano())
	}
	return last
}

// putRow brings a row's owners into the kernel. A packet reads the row, the element
// of chains, and then, maybe, the row's ranks. Whoever moves from one to the other has
// to be found in between, or flows would be taken for new ones: so who comes into the
// ranks does so first, and who leaves them for the chain stays there for a while.
func (t *Tables) putRow(s *service, row uint32) {
	owners, extra := t.wanted(s, row)
	at := s.region.base + row
	if slices.ContainsFunc(owners, func(owner uint32) bool { return t.ranks.has(at, owner) }) {
		t.late = append(t.late, lateRow{s, row})
		owners = t.appendFallen(owners, at, extra)
	} else {
		t.ranks.set(at, extra)
	}
	t.setRow(s, at, owners)
}

// unfilled is a service whose rows are to lose their primaries.
type unfilled struct {
	s    *service
	want Service
	now  time.Time
}

// fillLate takes them away, once no packet can have read that the service is usable.
func (t *Tables) fillLate() {
	if len(t.unfilled) == 0 {
		return
	}
	time.Sleep(grace)
	for _, u := range t.unfilled {
		t.fill(u.s, u.want, u.now)
	}
	t.unfilled = t.unfilled[:0]
}

// lateRow is a row whose owners are not yet all at their places: see putRow.
type lateRow struct {
	s   *service
	row uint32
}

// putLate puts them there, once no packet can have read what was there before.
func (t *Tables) putLate() {
	if len(t.late) == 0 {
		return
	}
	time.Sleep(grace)
	for _, l := range t.late {
		owners, extra := t.wanted(l.s, l.row)
		t.ranks.set(l.s.region.base+l.row, extra)
		t.setRow(l.s, l.s.region.base+l.row, owners)
	}
	t.late = t.late[:0]
}

// wanted returns the backends of the row's chain and of its ranks, until the next call.
func (t *Tables) wanted(s *service, row uint32) (owners, extra []uint32) {
	b := &t.buf
	b.addrs = s.table.AppendChain(b.addrs[:0], row)
	b.owners = s.indices(b.owners[:0], b.addrs)
	b.addrs = s.table.AppendExtra(b.addrs[:0], row)
	b.extra = s.indices(b.extra[:0], b.addrs)
	return b.owners, b.extra
}

// appendFallen appends those that the row's chain has now and that its ranks are to
// have, as far as there is room.
func (t *Tables) appendFallen(owners []uint32, at uint32, extra []uint32) []uint32 {
	for _, owner := range t.owners(at) {
		if slices.Contains(extra, owner) && len(owners) < bpf.ChainMax {
			owners = append(owners, owner)
		}
	}
	return owners
}

// owners is whom the row names now.
func (t *Tables) owners(at uint32) []uint32 {
	word := t.slots.get(at)
	if index, ok := t.chainOf(at); ok {
		c := t.chains.get(index)
		return c.Owners[:c.Count]
	}
	if word == noOwner {
		return nil
	}
	return []uint32{word}
}

// chainOf is the row's element of chains, if it has one.
func (t *Tables) chainOf(at uint32) (uint32, bool) {
	return atomic.LoadUint32(t.ranks.chain(at)), isChained(t.slots.get(at))
}

// setRow writes the chain before the row that says that there is one: a packet reads
// them the other way round, and asks the primary that it read and then whoever is in
// the chain, so that it misses none of those that the row had before and has now.
func (t *Tables) setRow(s *service, at uint32, owners []uint32) {
	was, chained := t.chainOf(at)
	word, index := t.row(s, owners)
	if isChained(word) {
		atomic.StoreUint32(t.ranks.chain(at), index)
	}
	t.slots.set(at, word)
	if chained {
		t.chains.release(was)
	}
}

// row is the word for these owners, and their element of chains. Where that has no
// room left, flows are placed by the first one alone.
func (t *Tables) row(s *service, owners []uint32) (word, index uint32) {
	if len(owners) == 0 {
		return noOwner, 0
	}
	if len(owners) == 1 {
		return owners[0], 0
	}
	index, ok := t.chains.take(owners)
	if !ok {
		s.short++
		return owners[0], 0
	}
	return owners[0] | bpf.SlotChained, index
}

// indices appends the elements of the backends.
func (s *service) indices(dst []uint32, addrs []netip.AddrPort) []uint32 {
	for _, addr := range addrs {
		dst = append(dst, s.backends[addr].index)
	}
	return dst
}

// crowded says that rows could not have their chains.
func (s *service) crowded() bool { return s.short > 0 }

// take gives out a region whose rows are empty.
func (t *Tables) take(rows uint32) (region, error) {
	g, err := t.regions.take(rows)
	if err != nil && len(t.freed.regions) > 0 {
		t.reuse()
		g, err = t.regions.take(rows)
	}
	if err != nil {
		return g, err
	}
	for row := g.base; row < g.base+g.rows; row++ {
		t.slots.set(row, noOwner)
		t.ranks.set(row, nil)
	}
	return g, nil
}

// leave gives up a region that no packet is led to any more.
func (t *Tables) leave(g region) {
	if g.rows == 0 {
		return
	}
	for row := g.base; row < g.base+g.rows; row++ {
		if index, ok := t.chainOf(row); ok {
			t.chains.release(index)
		}
	}
	t.freed.regions = append(t.freed.regions, g)
}

// NextChange is when time alone changes the rows, because something leaves the
// retention: then there is something for Sync to do. It is zero if that never
// happens.
func (t *Tables) NextChange() (next time.Time) {
	for _, s := range t.services {
		var at time.Time
		if s.table != nil {
			at = s.table.NextChange()
		}
		if s.crowded() && len(t.chains.freed) > 0 {
			at = t.now().Add(retryCrowded)
		}
		next = sooner(sooner(next, at), s.nat.end(t.opts.Chain.Retention))
	}
	return next
}

// retryCrowded is when rows without room for their chains are tried again, if there
// is room by then.
const retryCrowded = time.Second

// sooner is the earlier time, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Warnings are what the last Sync could not bring about without being in the way of
// any packet. The services are in force.
func (t *Tables) Warnings() (warnings []*ServiceError) {
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		s := t.services[name]
		if s.crowded() {
			warnings = append(warnings, &ServiceError{name, fmt.Errorf(
				"%d of %d rows have no chain, so flows that were displaced there break: all %d chains are in use, raise chains.max",
				min(s.short, s.region.rows), s.region.rows, len(t.chains.refs))})
		}
	}
	return warnings
}
