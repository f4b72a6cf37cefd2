package rendezvous

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// MaxRows is the size that no table exceeds.
const MaxRows = 1 << 20

// rowsPerEndpoint bounds the imbalance: the standard deviation of an endpoint's
// share is about 1/sqrt(128), 9 %, where the table is as small as can be.
const rowsPerEndpoint = 128

// noOwner stands for a slot where there is none.
const noOwner = math.MaxUint32

// RowsFor is the size of a table for a number of endpoints: the power of two that
// gives each at least 128 rows, at least min (rounded up to a power of two) and
// at most MaxRows. Tables of different sizes place flows differently.
func RowsFor(endpoints int, min uint32) uint32 {
	want := uint64(min)
	if endpoints > 0 {
		want = max(want, rowsPerEndpoint*uint64(endpoints))
	}
	if want >= MaxRows {
		return MaxRows
	}
	if want <= 1 {
		return 1
	}
	return 1 << bits.Len64(want-1)
}

// Endpoint is what can own rows.
type Endpoint struct {
	ID     netip.AddrPort // IPv4-mapped addresses count as IPv4
	Weight uint32         // share of the rows in relation to the others; 0 wins none
}

// Table holds the owner of each row. It is not safe for concurrent use.
type Table struct {
	seed   [16]byte
	slots  []Endpoint                // endpoints by slot, with gaps
	free   []uint32                  // slots that are gaps
	slotOf map[netip.AddrPort]uint32 // slot of each endpoint that has a weight
	ranked []candidate               // endpoints by falling weight, then identity
	owners []uint32                  // slot of each row's owner, or noOwner
}

// candidate is an endpoint as the rows see it.
type candidate struct {
	identity uint64
	weight   uint32
	slot     uint32
}

// New returns a table of the given number of rows, none of which has an owner.
func New(seed [16]byte, rows uint32) *Table {
	t := &Table{seed: seed, slotOf: map[netip.AddrPort]uint32{}, owners: make([]uint32, rows)}
	for r := range t.owners {
		t.owners[r] = noOwner
	}
	return t
}

// Rows is the number of rows.
func (t *Table) Rows() uint32 { return uint32(len(t.owners)) }

// Row returns the identity of a row's owner. It is false if no endpoint has a
// weight.
func (t *Table) Row(r uint32) (netip.AddrPort, bool) {
	slot := t.owners[r]
	if slot == noOwner {
		return netip.AddrPort{}, false
	}
	return t.slots[slot].ID, true
}

// Rank returns all endpoints that have a weight, the row's owner first, then the
// one that would own it if the owner left, and so on. The row may lie outside the
// table.
func (t *Table) Rank(row uint32) []Endpoint {
	contenders := make([]contender, len(t.ranked))
	for i, c := range t.ranked {
		contenders[i] = c.in(row)
	}
	slices.SortFunc(contenders, t.compare)
	eps := make([]Endpoint, len(contenders))
	for i, c := range contenders {
		eps[i] = t.slots[c.slot]
	}
	return eps
}

func (c candidate) in(row uint32) contender {
	return contender{u: mix(c.identity + uint64(row)*rowMultiplier), weight: c.weight, slot: c.slot}
}

// compare is negative if a ranks before b.
func (t *Table) compare(a, b contender) int {
	if a.weight != b.weight {
		if c := compareCosts(a, b); c != 0 {
			return c
		}
	}
	switch {
	case a.u > b.u:
		return -1
	case a.u < b.u:
		return 1
	}
	return t.slots[a.slot].ID.Compare(t.slots[b.slot].ID)
}

// first returns the slot of the endpoint that ranks first of all.
func (t *Table) first(row uint32) uint32 {
	if len(t.ranked) == 0 {
		return noOwner
	}
	best := t.ranked[0].in(row)
	for _, c := range t.ranked[1:] {
		// By falling weight: a candidate is no heavier than the best so far.
		if next := c.in(row); next.u >= best.u && t.compare(next, best) < 0 {
			best = next
		}
	}
	return best.slot
}

// challenge returns the slot of the first among a row's owner and challengers.
func (t *Table) challenge(row uint32, owner candidate, challengers []candidate) uint32 {
	best := owner.in(row)
	for _, c := range challengers {
		next := c.in(row)
		if next.u < best.u && next.weight <= best.weight {
			continue
		}
		if t.compare(next, best) < 0 {
			best = next
		}
	}
	return best.slot
}
