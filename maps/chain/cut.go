package chain

import "slices"

// measure notes the tenures of an overlong chain.
func (w *walk) measure() {
	for _, c := range w.chain {
		w.tenures = append(w.tenures, w.tenure(c))
	}
}

// unite leaves each endpoint in the chain once, with the longest of its tenures.
func (w *walk) unite() {
	measured := len(w.tenures) == len(w.chain)
	n := 0
	for i, c := range w.chain {
		at := slices.IndexFunc(w.chain[:n], func(other contender) bool { return other.is(c) })
		if at < 0 {
			at, n = n, n+1
			w.chain[at] = c
			if measured {
				w.tenures[at] = w.tenures[i]
			}
		} else if measured {
			w.tenures[at] = max(w.tenures[at], w.tenures[i])
		}
	}
	w.chain = w.chain[:n]
}

// cut takes those out of an overlong chain that had the least time to own flows,
// of equal ones the lowest rank. The primary stays.
func (w *walk) cut(longest int) {
	for len(w.chain) > longest {
		least := 1
		for i := range w.chain {
			if i > 0 && w.tenures[i] <= w.tenures[least] {
				least = i
			}
		}
		w.chain = slices.Delete(w.chain, least, least+1)
		w.tenures = slices.Delete(w.tenures, least, least+1)
	}
}

// tenure is for how long a member of the chain can have owned the row: until the first
// that ranks higher became eligible for good. It is negative where only the slack
// says that it can, and never ends if none did or if it began in time immemorial.
func (w *walk) tenure(c contender) int64 {
	if c.born == always {
		return never
	}
	for _, g := range w.guards {
		if w.contender(g.index).before(c) {
			return g.since - c.born
		}
	}
	return never
}
