package history

import (
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

// endpoint is what is known of one backend. Whether the objects tell of it is not
// known: what they said before is remembered, as they may stop saying so.
type endpoint struct {
	born   time.Time // when it was found; zero: before anything is known
	weight uint32
	former []chain.Former

	taking bool      // new flows
	since  time.Time // that it does, or does not; zero, where it does not: not known
	gone   time.Time // since when it is not listed; zero: it is
	pass   uint64    // in which it was seen last
}

// maxFormer bounds the former weights of an endpoint. A longer history loses its
// beginning, which is that of the weight after it then.
const maxFormer = 32

// arrive makes an endpoint of a backend that is new. fresh says that its service
// is, too: then it is not known to have been without the backend at the last look.
func arrive(l look, b maps.Backend, fresh bool) *endpoint {
	e := &endpoint{weight: b.Weight, taking: b.Eligible()}
	if !l.first {
		e.born = l.changed
	}
	switch told := told(b); {
	case !told.IsZero() && (fresh || told.After(l.last)):
		e.since = told
	case e.taking || !l.first:
		e.since = l.now
	}
	return e
}

// told is the time that the objects tell of a backend's present state.
func told(b maps.Backend) time.Time {
	if b.Eligible() {
		return stored(b.EligibleSince)
	}
	return stored(b.LostAt)
}

// stored is a time as the file gives it back.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}

// update takes another look at an endpoint that is known, and says whether it is
// another than it was.
func (e *endpoint) update(l look, b maps.Backend) (found bool) {
	found = !e.gone.IsZero()
	e.gone = time.Time{}
	if e.weight != b.Weight {
		e.former = append(e.former, chain.Former{Weight: e.weight, Until: l.now})
		e.former = e.former[max(0, len(e.former)-maxFormer):]
		e.weight, found = b.Weight, true
	}
	e.former = slices.DeleteFunc(e.former, func(f chain.Former) bool { return !f.Until.After(l.horizon) })
	told := told(b)
	switch {
	case e.taking != b.Eligible():
		e.taking, e.since, found = b.Eligible(), l.now, true
		// It was seen in the other state at the last look.
		if told.After(l.last) {
			e.since = told
		}
	case told.After(e.since):
		e.since, found = told, true
	}
	return found
}

// leave notes that the endpoint is not listed any more.
func (e *endpoint) leave(l look) {
	if e.taking {
		e.taking, e.since = false, l.now
	}
	e.gone = l.now
}

// fill puts into the backend what the objects do not tell or this node knows
// better.
func (e *endpoint) fill(b *maps.Backend) {
	if b.BornAt.IsZero() {
		b.BornAt = e.born
	}
	b.EligibleSince, b.LostAt = time.Time{}, time.Time{}
	if e.taking {
		b.EligibleSince = e.since
	} else {
		b.LostAt = e.since
	}
	if len(b.Former) == 0 {
		b.Former = slices.Clone(e.former)
	}
}
