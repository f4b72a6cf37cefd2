package chain

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// Times are nanoseconds of Unix time. Those that lie before the retention window
// are all alike.
const (
	always = math.MinInt64 // before the window
	never  = math.MaxInt64
	aside  = math.MaxInt64 // as a limit: in no chain, but among the extra ranks
)

func nanos(t time.Time) int64 {
	if t.Unix() <= 0 { // and the zero time
		return always
	}
	return t.UnixNano()
}

// record is a place in the rankings: an endpoint with the weight it has or one
// it had.
type record struct {
	rendezvous.Candidate
	// guard is the time since when the endpoint has been eligible with this
	// weight or a greater one: no flow was opened at a lower rank since then.
	// always if that is longer than the retention, never if it is not eligible.
	guard int64
	// limit is the latest guard of a higher rank that keeps the record out of a
	// chain: the time at which it can first have owned flows, less the slack.
	limit int64
	least int64 // the lesser of the limit and the one that it had at the Set before
	born  int64 // the time at which it can first have owned flows; always for time immemorial
	live  bool  // false: to be forgotten
}

// window is the time in which what happened counts.
type window struct {
	from  int64 // now less the retention
	slack int64
	next  int64 // when the first of what it has seen leaves it
	opts  Options
}

func newWindow(now time.Time, opts Options) *window {
	return &window{
		from:  now.UnixNano() - int64(opts.Retention),
		slack: int64(opts.Slack),
		next:  never,
		opts:  opts,
	}
}

// clip returns always for what happened before the window, and otherwise notes
// when it will leave.
func (w *window) clip(t int64) int64 {
	if t <= w.from {
		return always
	}
	if t < never-int64(w.opts.Retention) {
		w.next = min(w.next, t+int64(w.opts.Retention))
	}
	return t
}

// whenever returns always for a limit before the window, as only guards in it are
// compared with limits.
func (w *window) whenever(limit int64) int64 {
	if limit <= w.from {
		return always
	}
	return limit
}

// limit is that of a record that can have owned flows since born.
func (w *window) limit(born int64) int64 {
	if born == always {
		return always
	}
	return w.whenever(born - w.slack)
}

// records returns the places of an endpoint, at most one for each weight.
func (w *window) records(seed [16]byte, e Endpoint) (records []record) {
	eligible := !e.EligibleSince.IsZero()
	forgotten := !eligible && !e.LostAt.IsZero() && w.clip(nanos(e.LostAt)) == always
	spans := e.spans()
	for i, s := range spans {
		last := !slices.ContainsFunc(spans[i+1:], func(later span) bool { return later.weight == s.weight })
		if s.weight == 0 || !last {
			continue
		}
		if s.until != never && w.clip(s.until) == always {
			continue
		}
		born := spans[slices.IndexFunc(spans, func(first span) bool { return first.weight == s.weight })].from
		guard := int64(never)
		if eligible && e.Weight >= s.weight {
			guard = max(nanos(e.EligibleSince), heldSince(spans, s.weight))
			born = min(born, guard) // or a record that is kept out could keep others out
			guard = w.clip(guard)
		}
		r := record{
			Candidate: rendezvous.NewCandidate(seed, rendezvous.Endpoint{ID: e.ID, Weight: s.weight}),
			guard:     guard,
			limit:     w.limit(born),
			born:      born,
			live:      true,
		}
		if forgotten {
			r.limit = aside
		}
		records = append(records, r)
	}
	return records
}

// heldSince is the time since when no weight was below the given one.
func heldSince(spans []span, weight uint32) int64 {
	i := len(spans) - 1
	for i > 0 && spans[i-1].weight >= weight {
		i--
	}
	return spans[i].from
}

// key is what a record's rank in each row follows from. It never changes.
type key struct {
	id     netip.AddrPort
	weight uint32
}
