package chain

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

// Options say how long and how far displaced flows are looked for. They are the
// same on all LB nodes.
type Options struct {
	// Retention is how long a flow that was displaced can be found.
	Retention time.Duration
	// Slack is by how much the LB nodes' views of the endpoints, and the clocks
	// that the times come from, may differ.
	Slack time.Duration
	// ExtraRanks is how many more owners each row has for packets that came back
	// from the whole chain.
	ExtraRanks int
	// Longest is the number of owners that a chain is cut to, at least 1.
	Longest int
}

// Size is a size that the table had until some time.
type Size struct {
	Rows  uint32 // 2^k
	Until time.Time
}

// noSlot stands for a slot where there is none.
const noSlot = math.MaxUint32

// Table holds the owners of each row. It is not safe for concurrent use.
type Table struct {
	seed [16]byte
	rows uint32
	opts Options

	records []record       // by slot, with gaps
	free    []uint32       // slots that are gaps
	slotOf  map[key]uint32 // slot of each record that is live
	walk    walk
	next    int64 // when time changes the records

	// stride slots for each row: the primary, or noSlot, then the extra ranks,
	// or noSlot.
	heads  []uint32
	tailOf []uint32   // for each row the index of its tail, 0 for none
	tails  [][]uint32 // slots of the chains without their primaries; the first is empty
	unused []uint32   // indices of tails

	former []former
}

// New returns a table of 2^k rows without endpoints. The former sizes are those
// that the table of the same flows had before; what follows from them ends when
// they are older than the retention.
func New(seed [16]byte, rows uint32, opts Options, sizes ...Size) *Table {
	opts.Retention, opts.Slack = max(opts.Retention, 0), max(opts.Slack, 0)
	opts.ExtraRanks, opts.Longest = max(opts.ExtraRanks, 0), max(opts.Longest, 1)
	t := &Table{
		seed:   seed,
		rows:   rows,
		opts:   opts,
		slotOf: make(map[key]uint32),
		next:   never,
		heads:  slices.Repeat([]uint32{noSlot}, int(rows)*(1+opts.ExtraRanks)),
		tailOf: make([]uint32, rows),
		tails:  make([][]uint32, 1),
	}
	t.former = formers(t, sizes)
	return t
}

// Rows is the number of rows.
func (t *Table) Rows() uint32 { return t.rows }

// Primary returns the endpoint that takes the row's new flows, the first of its
// chain. It is false if no endpoint is eligible.
func (t *Table) Primary(row uint32) (netip.AddrPort, bool) {
	slot := t.heads[int(row)*t.stride()]
	if slot == noSlot {
		return netip.AddrPort{}, false
	}
	return t.records[slot].ID, true
}

// Chained says whether a flow of the row may live elsewhere than on its primary.
func (t *Table) Chained(row uint32) bool {
	if t.tailOf[row] != 0 {
		return true
	}
	if len(t.former) == 0 {
		return false
	}
	var buf [16]netip.AddrPort
	chain := t.AppendChain(buf[:0], row)
	_, ok := t.Primary(row)
	return len(chain) > 1 || len(chain) == 1 && !ok
}

// AppendChain appends the endpoints that the row's flows may live on, in the
// order in which to try them: the primary, if there is one, then the others by
// rank, those of the present size and of the former ones in turn.
func (t *Table) AppendChain(dst []netip.AddrPort, row uint32) []netip.AddrPort {
	if len(t.former) == 0 {
		return t.appendOwn(dst, row)
	}
	return t.appendMixed(dst, row)
}

// AppendExtra appends the owners to try after the chain: of the endpoints that
// are not in it those that rank highest, up to the extra ranks. A row without a
// chain has them too: its flows may have been opened by a node with another view.
func (t *Table) AppendExtra(dst []netip.AddrPort, row uint32) []netip.AddrPort {
	var chain []netip.AddrPort
	if len(t.former) > 0 {
		chain = t.AppendChain(nil, row)
	}
	for _, slot := range t.extras(row) {
		if slot != noSlot && !slices.Contains(chain, t.records[slot].ID) {
			dst = append(dst, t.records[slot].ID)
		}
	}
	return dst
}

// NextChange is when the next Set with the same endpoints may change rows, as
// time alone takes what displaced flows out of the retention. It is zero if that
// never happens. Chains are too long, not wrong, if Set comes late.
func (t *Table) NextChange() time.Time {
	if t.next == never {
		return time.Time{}
	}
	return time.Unix(0, t.next)
}

// Lengths returns the number of rows by the length of their chains, 0 first.
func (t *Table) Lengths() (rows []int) {
	var buf [16]netip.AddrPort
	for row := range t.rows {
		n := len(t.AppendChain(buf[:0], row))
		for len(rows) <= n {
			rows = append(rows, 0)
		}
		rows[n]++
	}
	return rows
}

func (t *Table) stride() int { return 1 + t.opts.ExtraRanks }

func (t *Table) extras(row uint32) []uint32 {
	return t.heads[int(row)*t.stride()+1:][:t.opts.ExtraRanks]
}

func (t *Table) tail(row uint32) []uint32 { return t.tails[t.tailOf[row]] }

func (t *Table) appendOwn(dst []netip.AddrPort, row uint32) []netip.AddrPort {
	if id, ok := t.Primary(row); ok {
		dst = append(dst, id)
	}
	for _, slot := range t.tail(row) {
		dst = append(dst, t.records[slot].ID)
	}
	return dst
}

// slot returns the record's slot, a new one if it has none.
func (t *Table) slot(k key) uint32 {
	slot, ok := t.slotOf[k]
	if ok {
		return slot
	}
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		slot = uint32(len(t.records))
		t.records = append(t.records, record{})
	}
	t.slotOf[k] = slot
	return slot
}
