package chain

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"
)

// former is the table of a size that flows were opened with. The low bits of a
// flow's hash are its row, so a row's flows were in known rows of it.
type former struct {
	now   uint32 // rows of the present table
	until int64
	table *Table
}

// formers returns the tables of the other sizes, the latest first.
func formers(t *Table, sizes []Size) (former []former) {
	sizes = slices.Clone(sizes)
	slices.SortFunc(sizes, func(a, b Size) int { return cmp.Or(b.Until.Compare(a.Until), cmp.Compare(a.Rows, b.Rows)) })
	seen := map[uint32]bool{t.rows: true}
	opts := t.opts
	opts.ExtraRanks = 0
	for _, s := range sizes {
		if !seen[s.Rows] {
			seen[s.Rows] = true
			former = append(former, newFormer(t, s, opts))
		}
	}
	return former
}

func newFormer(t *Table, s Size, opts Options) former {
	return former{now: t.rows, until: nanos(s.Until), table: New(t.seed, s.Rows, opts)}
}

// sources are the rows in which the flows of a present row were, but for the row
// of the same number, which ranks as the present one does.
func (f *former) sources(row uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if row >= f.table.rows {
			yield(row & (f.table.rows - 1))
			return
		}
		for r := row + f.now; r < f.table.rows; r += f.now {
			if !yield(r) {
				return
			}
		}
	}
}

// targets are the present rows that a former row is a source of.
func (f *former) targets(row uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if row >= f.now {
			yield(row & (f.now - 1))
			return
		}
		for r := row + f.table.rows; r < f.now; r += f.table.rows {
			if !yield(r) {
				return
			}
		}
	}
}

// setFormer brings the tables of the former sizes up to date and adds the rows
// that they change. Endpoints born since have no flows there.
func (t *Table) setFormer(now time.Time, w *window, eps []Endpoint, changed []uint32) []uint32 {
	touched := make([]bool, t.rows)
	for _, row := range changed {
		touched[row] = true
	}
	touch := func(f *former, row uint32) {
		for r := range f.targets(row) {
			touched[r] = true
		}
	}
	kept := t.former[:0]
	for _, f := range t.former {
		if w.clip(f.until) == always {
			for row := range f.table.rows {
				touch(&f, row)
			}
			continue
		}
		known := slices.DeleteFunc(slices.Clone(eps), func(e Endpoint) bool {
			return nanos(e.BornAt) >= f.until+w.slack
		})
		for _, row := range f.table.Set(now, known) {
			touch(&f, row)
		}
		kept = append(kept, f)
	}
	t.former = kept
	changed = changed[:0]
	for row := range t.rows {
		if touched[row] {
			changed = append(changed, row)
		}
	}
	return changed
}

// appendMixed appends the row's chain and those of the rows in which its flows
// were. It takes from each in turn, as the first of each is the likeliest.
func (t *Table) appendMixed(dst []netip.AddrPort, row uint32) []netip.AddrPort {
	var buf [64]netip.AddrPort
	all := t.appendOwn(buf[:0], row)
	ends := append(make([]int, 0, 8), len(all))
	for i := range t.former {
		for source := range t.former[i].sources(row) {
			all = t.former[i].table.appendOwn(all, source)
			ends = append(ends, len(all))
		}
	}
	start := len(dst)
	for rank := range t.opts.Longest {
		from := 0
		for _, end := range ends {
			if at := from + rank; at < end && len(dst)-start < t.opts.Longest && !slices.Contains(dst[start:], all[at]) {
				dst = append(dst, all[at])
			}
			from = end
		}
	}
	return dst
}
