package chain

// put stores what the walk has found for its row. It says whether that differs
// from what was there.
func (t *Table) put(row uint32) (changed bool) {
	primary, tail := uint32(noSlot), t.walk.chain
	if len(tail) > 0 && tail[0].guard != never {
		primary, tail = tail[0].slot, tail[1:]
	}
	changed = t.set(&t.heads[int(row)*t.stride()], primary)
	extras := t.extras(row)
	for i := range extras {
		slot := uint32(noSlot)
		if i < len(t.walk.extras) {
			slot = t.walk.extras[i].slot
		}
		changed = t.set(&extras[i], slot) || changed
	}
	return t.putTail(row, tail) || changed
}

// set says whether another endpoint is there now. A record of it with another
// weight is the same.
func (t *Table) set(place *uint32, slot uint32) (changed bool) {
	old := *place
	*place = slot
	switch {
	case old == slot:
		return false
	case old == noSlot || slot == noSlot:
		return true
	}
	return t.records[old].ID != t.records[slot].ID
}

func (t *Table) putTail(row uint32, tail []contender) (changed bool) {
	i := t.tailOf[row]
	switch {
	case i == 0 && len(tail) == 0:
		return false
	case len(tail) == 0:
		t.tailOf[row] = 0
		t.unused = append(t.unused, i)
		return true
	case i == 0:
		i = t.newTail()
		t.tailOf[row] = i
	}
	slots := t.tails[i]
	changed = len(slots) != len(tail)
	for j, c := range tail {
		if j < len(slots) {
			changed = t.set(&slots[j], c.slot) || changed
		} else {
			slots = append(slots, c.slot)
		}
	}
	t.tails[i] = slots[:len(tail)]
	return changed
}

// newTail returns the index of an empty tail.
func (t *Table) newTail() uint32 {
	n := len(t.unused)
	if n == 0 {
		t.tails = append(t.tails, nil)
		return uint32(len(t.tails) - 1)
	}
	i := t.unused[n-1]
	t.unused = t.unused[:n-1]
	t.tails[i] = t.tails[i][:0]
	return i
}
