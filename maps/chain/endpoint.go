package chain

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Endpoint is what can own flows. It is one as long as its pod exists, ready or
// not.
type Endpoint struct {
	ID netip.AddrPort // IPv4-mapped addresses count as IPv4

	// Weight is its share of the rows in relation to the others, 0 for none. It
	// stays what it is while the endpoint is not eligible.
	Weight uint32
	// BornAt is the earliest time at which it can have owned flows: the start of
	// its pod. Zero stands for time immemorial.
	BornAt time.Time
	// EligibleSince is the time since when it has taken new flows without a
	// break; zero if it does not now, that is, if it is not ready or terminating.
	EligibleSince time.Time
	// LostAt is the time since when it has not been eligible, if it is not and
	// this is known. It takes the endpoint out of the chains once it is older than
	// the retention. Zero keeps it there for as long as it exists.
	LostAt time.Time
	// Former are the weights that it had before Weight, in any order.
	Former []Former
}

// Former is a weight that an endpoint had until some time.
type Former struct {
	Weight uint32
	Until  time.Time
}

// Reweighted returns the endpoint with another weight since now, and with the
// former weights that are younger than the retention.
func (e Endpoint) Reweighted(now time.Time, weight uint32, retention time.Duration) Endpoint {
	former := slices.DeleteFunc(slices.Clone(e.Former), func(f Former) bool {
		return !f.Until.After(now.Add(-retention))
	})
	if weight != e.Weight {
		former = append(former, Former{Weight: e.Weight, Until: now})
	}
	e.Weight, e.Former = weight, former
	return e
}

// merge returns the endpoints by identity. One that is given more than once has
// been there since the earliest, is eligible if it is so anywhere, and counts
// with its greatest weight.
func merge(eps []Endpoint) []Endpoint {
	merged := make(map[netip.AddrPort]Endpoint, len(eps))
	for _, e := range eps {
		e.ID = netip.AddrPortFrom(e.ID.Addr().Unmap(), e.ID.Port())
		other, twice := merged[e.ID]
		if twice {
			e = e.with(other)
		}
		merged[e.ID] = e
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b Endpoint) int { return a.ID.Compare(b.ID) })
}

func (e Endpoint) with(other Endpoint) Endpoint {
	e.Weight = max(e.Weight, other.Weight)
	if e.BornAt.After(other.BornAt) {
		e.BornAt = other.BornAt
	}
	if e.EligibleSince.IsZero() || !other.EligibleSince.IsZero() && other.EligibleSince.Before(e.EligibleSince) {
		e.EligibleSince = other.EligibleSince
	}
	switch {
	case e.LostAt.IsZero() || other.LostAt.IsZero():
		e.LostAt = time.Time{}
	case e.LostAt.Before(other.LostAt):
		e.LostAt = other.LostAt
	}
	e.Former = slices.Concat(e.Former, other.Former)
	return e
}

// span is a time during which an endpoint had one weight.
type span struct {
	weight      uint32
	from, until int64 // nanoseconds of Unix time; always, never
}

// spans is the endpoint's history, the present weight last.
func (e Endpoint) spans() []span {
	former := slices.Clone(e.Former)
	slices.SortFunc(former, func(a, b Former) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Weight, b.Weight))
	})
	spans := make([]span, 0, len(former)+1)
	from := nanos(e.BornAt)
	for _, f := range former {
		if until := nanos(f.Until); until > from {
			spans = append(spans, span{f.Weight, from, until})
			from = until
		}
	}
	return append(spans, span{e.Weight, from, never})
}
