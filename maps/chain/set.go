package chain

import "time"

// Set makes eps the table's endpoints at the time now, and returns the rows of
// which the primary, the chain or the extra ranks changed, in rising order. While
// former sizes count it may name rows more. The result follows from now, the
// endpoints and the former sizes alone, whatever the table held before.
//
// It costs one pass over the rows for each endpoint that came, went or changed,
// or left the retention window; only rows that such a one matters to are walked.
func (t *Table) Set(now time.Time, eps []Endpoint) (changed []uint32) {
	w := newWindow(now, t.opts)
	var records []record
	merged := merge(eps)
	for _, e := range merged {
		records = append(records, w.records(t.seed, e)...)
	}
	moved := t.take(records, w)
	if len(moved) > 0 {
		t.walk.prepare(t.records)
		changed = t.fill(moved)
		t.forget(moved)
	}
	if len(t.former) > 0 {
		changed = t.setFormer(now, w, merged, changed)
	}
	t.next = w.next
	return changed
}

// take makes the given records the live ones and returns the slots of those that
// came, went or mean something else now. Slots of the gone stay theirs until the
// rows are filled.
func (t *Table) take(records []record, w *window) (moved []uint32) {
	seen := make(map[uint32]bool, len(records))
	for _, r := range records {
		slot := t.slot(key{r.ID, r.Weight})
		seen[slot] = true
		have := &t.records[slot]
		// That a limit leaves the window changes nothing.
		if !have.live || have.guard != r.guard || have.born != r.born || w.whenever(have.limit) != r.limit {
			moved = append(moved, slot)
		}
		r.least = r.limit
		if have.live {
			r.least = min(r.limit, have.limit)
		}
		*have = r
	}
	for slot := range t.records {
		if r := &t.records[slot]; r.live && !seen[uint32(slot)] {
			r.live, r.least = false, r.limit
			moved = append(moved, uint32(slot))
		}
	}
	return moved
}

// forget frees the slots of the gone.
func (t *Table) forget(moved []uint32) {
	for _, slot := range moved {
		if r := &t.records[slot]; !r.live {
			delete(t.slotOf, key{r.ID, r.Weight})
			*r = record{}
			t.free = append(t.free, slot)
		}
	}
}

// fill walks the rows that the moved records matter to.
func (t *Table) fill(moved []uint32) (changed []uint32) {
	all := 2*len(moved) >= len(t.walk.draws)
	for row := range t.rows {
		if !all && !t.matter(moved, row) {
			continue
		}
		t.walk.run(row, t.opts.Longest, t.opts.ExtraRanks)
		if t.put(row) {
			changed = append(changed, row)
		}
	}
	return changed
}

// matter says whether one of the moved records changes what the row's walk
// finds. It does if its endpoint is in the chain, if it ranks with the extra
// ranks or above, or if no one in the chain keeps it out, now and before: then it is
// in the chain before the cut, and others' tenures follow from it. A record that is kept
// out changes nothing below it: what it keeps out, the one that keeps it out does
// too, and what it ends, that one has ended earlier.
func (t *Table) matter(moved []uint32, row uint32) bool {
	var last contender
	if n := t.opts.ExtraRanks; n > 0 {
		slot := t.extras(row)[n-1]
		if slot == noSlot {
			return true
		}
		last = t.contender(slot, row)
	}
	primary, tail := t.heads[int(row)*t.stride()], t.tail(row)
	for _, slot := range moved {
		c := t.contender(slot, row)
		if last.record != nil && !last.before(c) {
			return true
		}
		member, out := false, false
		if primary != noSlot {
			member, out = t.meet(c, primary, row, out)
		}
		for i := 0; i < len(tail) && !member; i++ {
			member, out = t.meet(c, tail[i], row, out)
		}
		if member || !out {
			return true
		}
	}
	return false
}

// meet says whether c's endpoint is the one in the chain, and whether c stays out
// because of it or was out before.
func (t *Table) meet(c contender, slot, row uint32, out bool) (bool, bool) {
	m := t.contender(slot, row)
	return m.is(c), out || m.guard <= c.least && m.before(c)
}

func (t *Table) contender(slot, row uint32) contender {
	r := &t.records[slot]
	return contender{r, slot, r.Draw(row)}
}
