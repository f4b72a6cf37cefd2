package chain

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// walk finds the chain of a row. Instead of sorting the endpoints by rank, it
// goes through them by the time at which they can first have owned flows, and
// keeps the highest rank of those that have been eligible for longer: what ranks
// below that one is not in the chain. That is one pass and no sort, whatever the
// endpoints' ages.
type walk struct {
	// The old ones are eligible for longer than the retention and come by falling
	// weight, the others follow by limit.
	candidates []candidate
	old        int
	guards     []guard // of the young those that guard, by time
	twins      bool    // an endpoint is there with several weights

	// Of the row walked last.
	draws   []uint64    // of the candidates
	chain   []contender // by rank, but the primary first
	tenures []int64     // of an overlong chain
	extras  []contender // by rank
}

type candidate struct {
	record
	slot uint32
}

type guard struct {
	since int64
	index int
}

// contender is a record in a row. The zero one stands for none.
type contender struct {
	*record
	slot uint32
	draw uint64
}

func (c contender) before(other contender) bool {
	return rendezvous.Before(&c.Candidate, c.draw, &other.Candidate, other.draw)
}

// is says whether both are of one endpoint, maybe with different weights.
func (c contender) is(other contender) bool { return c.draw == other.draw && c.ID == other.ID }

// prepare takes in the live records.
func (w *walk) prepare(records []record) {
	w.candidates, w.guards, w.old = w.candidates[:0], w.guards[:0], 0
	for slot, r := range records {
		if r.live {
			w.candidates = append(w.candidates, candidate{r, uint32(slot)})
		}
		if r.live && r.guard == always {
			w.old++
		}
	}
	slices.SortFunc(w.candidates, func(a, b candidate) int {
		aOld, bOld := a.guard == always, b.guard == always
		switch {
		case aOld && bOld:
			return cmp.Compare(b.Weight, a.Weight)
		case aOld:
			return -1
		case bOld:
			return 1
		}
		return cmp.Compare(a.limit, b.limit)
	})
	for i := w.old; i < len(w.candidates); i++ {
		if since := w.candidates[i].guard; since != never {
			w.guards = append(w.guards, guard{since, i})
		}
	}
	slices.SortFunc(w.guards, func(a, b guard) int { return cmp.Compare(a.since, b.since) })
	w.twins = false
	seen := make(map[netip.AddrPort]bool, len(w.candidates))
	for i := range w.candidates {
		w.twins = w.twins || seen[w.candidates[i].ID]
		seen[w.candidates[i].ID] = true
	}
	w.draws = slices.Grow(w.draws[:0], len(w.candidates))[:len(w.candidates)]
}

func (w *walk) contender(i int) contender {
	c := &w.candidates[i]
	return contender{&c.record, c.slot, w.draws[i]}
}

// run finds the row's chain, of no more than longest owners, and the extra ranks.
func (w *walk) run(row uint32, longest, extras int) {
	w.chain = w.chain[:0]
	for i := range w.draws {
		w.draws[i] = w.candidates[i].Draw(row)
	}
	top := w.highestOld()
	if top.record != nil {
		w.chain = append(w.chain, top)
	}
	passed := 0
	for i := w.old; i < len(w.candidates); i++ {
		c := w.contender(i)
		for passed < len(w.guards) && w.guards[passed].since <= c.limit {
			if g := w.contender(w.guards[passed].index); top.record == nil || g.before(top) {
				top = g
			}
			passed++
		}
		if c.limit != aside && (top.record == nil || !top.before(c)) {
			w.chain = append(w.chain, c)
		}
	}
	w.order(longest)
	w.further(extras)
}

func (w *walk) highestOld() (top contender) {
	for i := range w.old {
		// By falling weight: one that drew less is no better.
		if i > 0 && w.draws[i] < top.draw {
			continue
		}
		if c := w.contender(i); i == 0 || c.before(top) {
			top = c
		}
	}
	return top
}

// order sorts the chain by rank, moves the primary to its head, and leaves each
// endpoint in it once.
func (w *walk) order(longest int) {
	for i := 1; i < len(w.chain); i++ {
		for j := i; j > 0 && w.chain[j].before(w.chain[j-1]); j-- {
			w.chain[j], w.chain[j-1] = w.chain[j-1], w.chain[j]
		}
	}
	// The highest of the eligible has nothing above it that guards, so it is here,
	// and with its present weight, which is its greatest that guards.
	for i, c := range w.chain {
		if c.guard != never {
			copy(w.chain[1:i+1], w.chain[:i])
			w.chain[0] = c
			break
		}
	}
	w.tenures = w.tenures[:0]
	if len(w.chain) > longest {
		w.measure()
	}
	if w.twins {
		w.unite()
	}
	w.cut(longest)
}

// further finds the highest ranks that are not in the chain.
func (w *walk) further(extras int) {
	w.extras = w.extras[:0]
	if extras == 0 {
		return
	}
	for i, draw := range w.draws {
		n := len(w.extras)
		if n == extras && draw < w.extras[n-1].draw && w.candidates[i].Weight <= w.extras[n-1].Weight {
			continue
		}
		c := w.contender(i)
		if n == extras && !c.before(w.extras[n-1]) || contains(w.chain, c) {
			continue
		}
		at := n
		for at > 0 && c.before(w.extras[at-1]) {
			at--
		}
		if w.twins && contains(w.extras[:at], c) {
			continue
		}
		w.extras = slices.Insert(w.extras, at, c)
		for j := at + 1; w.twins && j < len(w.extras); j++ {
			if w.extras[j].is(c) {
				w.extras = slices.Delete(w.extras, j, j+1)
			}
		}
		w.extras = w.extras[:min(len(w.extras), extras)]
	}
}

// contains says whether c's endpoint is among the contenders.
func contains(contenders []contender, c contender) bool {
	for i := range contenders {
		if contenders[i].draw == c.draw && contenders[i].ID == c.ID {
			return true
		}
	}
	return false
}
