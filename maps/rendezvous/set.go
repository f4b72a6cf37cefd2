package rendezvous

import (
	"cmp"
	"net/netip"
	"slices"
)

// Set makes eps the table's endpoints and returns the rows whose owner changed,
// in rising order. An endpoint given more than once counts once, with the
// greatest weight.
//
// It costs one pass over the rows for each endpoint that came, went or changed
// its weight; only the rows of those that went or changed are ranked anew.
func (t *Table) Set(eps []Endpoint) (changed []uint32) {
	want := make(map[netip.AddrPort]uint32, len(eps))
	for _, e := range eps {
		if e.Weight > 0 {
			id := netip.AddrPortFrom(e.ID.Addr().Unmap(), e.ID.Port())
			want[id] = max(want[id], e.Weight)
		}
	}
	gone := t.drop(want)
	came := t.adopt(want)
	if len(gone) == 0 && len(came) == 0 {
		return nil
	}
	t.rank()
	changed = t.fill(gone, came)
	for _, slot := range gone {
		// A reweighted endpoint has gone and come, and keeps its slot.
		if t.slots[slot].Weight == 0 {
			t.slots[slot] = Endpoint{}
			t.free = append(t.free, slot)
		}
	}
	return changed
}

// drop takes out the endpoints that are not wanted, or not with this weight. Their
// slots stay theirs until the rows are filled.
func (t *Table) drop(want map[netip.AddrPort]uint32) (gone []uint32) {
	for id, slot := range t.slotOf {
		switch weight := want[id]; weight {
		case t.slots[slot].Weight:
			continue
		case 0:
			delete(t.slotOf, id)
		}
		t.slots[slot].Weight = 0
		gone = append(gone, slot)
	}
	return gone
}

// adopt takes in the endpoints that are wanted and not there, or there without
// weight.
func (t *Table) adopt(want map[netip.AddrPort]uint32) (came []uint32) {
	for id, weight := range want {
		slot, ok := t.slotOf[id]
		if ok && t.slots[slot].Weight == weight {
			continue
		}
		if !ok {
			slot = t.slot()
			t.slotOf[id] = slot
		}
		t.slots[slot] = Endpoint{ID: id, Weight: weight}
		came = append(came, slot)
	}
	return came
}

func (t *Table) slot() uint32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	t.slots = append(t.slots, Endpoint{})
	return uint32(len(t.slots) - 1)
}

// rank lists the endpoints in the order that first wants.
func (t *Table) rank() {
	t.ranked = t.ranked[:0]
	for _, slot := range t.slotOf {
		t.ranked = append(t.ranked, t.candidate(slot))
	}
	slices.SortFunc(t.ranked, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), t.slots[a.slot].ID.Compare(t.slots[b.slot].ID))
	})
}

func (t *Table) candidate(slot uint32) candidate {
	e := t.slots[slot]
	return candidate{identity: identity(t.seed, e.ID), weight: e.Weight, slot: slot}
}

// fill finds the owner of each row after the endpoints in the slots gone left and
// those in the slots came joined.
func (t *Table) fill(gone, came []uint32) (changed []uint32) {
	bySlot := make([]candidate, len(t.slots))
	for _, c := range t.ranked {
		bySlot[c.slot] = c
	}
	stale := make([]bool, len(t.slots))
	for _, slot := range gone {
		stale[slot] = true
	}
	challengers := make([]candidate, len(came))
	for i, slot := range came {
		challengers[i] = bySlot[slot]
	}
	for r, old := range t.owners {
		row, owner := uint32(r), old
		switch {
		case old == noOwner || stale[old]:
			owner = t.first(row)
		case len(challengers) > 0:
			owner = t.challenge(row, bySlot[old], challengers)
		}
		if owner != old {
			t.owners[r] = owner
			changed = append(changed, row)
		}
	}
	return changed
}
