package maps

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/penstock-lb/penstock/bpf"
)

// putRow brings a row's owners into the kernel. A packet reads the row, the element
// of chains, and then, maybe, the row's ranks. Whoever moves from one to the other has
// to be found in between, or flows would be taken for new ones: so who comes into the
// ranks does so first, and who leaves them for the chain stays there for a while.
func (t *Tables) putRow(s *service, row uint32) {
	owners, extra := t.wanted(s, row)
	at := s.region.base + row
	if slices.ContainsFunc(owners, func(owner uint32) bool { return t.ranks.has(at, owner) }) {
		t.late = append(t.late, lateRow{s, row})
		s.late = true
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
	t.quiesce()
	for _, u := range t.unfilled {
		t.fill(u.s, u.want, u.now)
		t.schedule(u.s)
		u.s.settle()
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
	t.quiesce()
	for _, l := range t.late {
		owners, extra := t.wanted(l.s, l.row)
		t.ranks.set(l.s.region.base+l.row, extra)
		t.setRow(l.s, l.s.region.base+l.row, owners)
	}
	for _, l := range t.late {
		if l.s.late {
			l.s.late = false
			t.schedule(l.s)
			l.s.settle()
		}
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
