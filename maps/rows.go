package maps

import (
	"maps"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

// direct says whether a backend answers its clients itself. Then displaced flows are
// looked for, so the service's rows have chains and further ranks.
func (s Service) direct() bool {
	return slices.ContainsFunc(s.Backends, func(b Backend) bool { return b.Tunnel.IsValid() })
}

func (s Service) usable() bool { return slices.ContainsFunc(s.Backends, Backend.Eligible) }

// endpoints are the service's backends as its table ranks them. Translated flows
// stay with their backend as long as they have an entry in flows, so for a service
// that has no others the times mean nothing.
func (s Service) endpoints() []chain.Endpoint {
	direct := s.direct()
	eps := make([]chain.Endpoint, 0, len(s.Backends))
	for _, b := range s.Backends {
		e := chain.Endpoint{ID: b.Addr, Weight: b.Weight}
		if direct {
			e.BornAt, e.LostAt, e.Former = b.BornAt, b.LostAt, b.Former
		}
		if b.Eligible() {
			e.EligibleSince, e.LostAt = time.Unix(0, 0), time.Time{}
			if direct && !b.EligibleSince.IsZero() {
				e.EligibleSince = b.EligibleSince
			}
		}
		if direct || b.Eligible() {
			eps = append(eps, e)
		}
	}
	return eps
}

func sameEndpoint(a, b chain.Endpoint) bool {
	return a.ID == b.ID && a.Weight == b.Weight && a.BornAt.Equal(b.BornAt) &&
		a.EligibleSince.Equal(b.EligibleSince) && a.LostAt.Equal(b.LostAt) &&
		slices.EqualFunc(a.Former, b.Former, func(a, b chain.Former) bool {
			return a.Weight == b.Weight && a.Until.Equal(b.Until)
		})
}

// chainOptions are those of a service's table.
func (t *Tables) chainOptions(direct bool) chain.Options {
	if !direct {
		return chain.Options{Longest: 1}
	}
	o := t.opts.Chain
	o.Longest = min(max(o.Longest, 1), bpf.ChainMax)
	o.ExtraRanks = min(max(o.ExtraRanks, 0), bpf.RanksMax)
	return o
}

// fill makes the rows name their owners: also while no backend is usable, for the
// flows of those that drain go on.
func (t *Tables) fill(s *service, want Service, now time.Time) {
	if s.region.rows == 0 {
		return
	}
	direct, eps := want.direct(), want.endpoints()
	sizes := append(slices.Clone(want.Sizes), s.former...)
	same := slices.EqualFunc(eps, s.given, sameEndpoint)
	if s.settled && same && s.direct == direct && maps.Equal(untils(s.sizes), untils(sizes)) {
		return
	}
	s.settled = false
	if s.table == nil || s.direct != direct || !maps.Equal(untils(s.sizes), untils(sizes)) {
		s.table = chain.New(t.opts.Seed, s.region.rows, t.chainOptions(direct), sizes...)
		s.direct, s.sizes, s.fresh = direct, sizes, true
	}
	next := s.table.NextChange()
	due := !next.IsZero() && !now.Before(next)
	if s.fresh || due || !same {
		s.given = eps
		t.rank(s, now)
	}
	if s.fresh || s.crowded() {
		t.putRows(s)
	}
}

// rank brings the rows that change into the kernel, unless all have to be.
func (t *Tables) rank(s *service, now time.Time) {
	for _, row := range s.table.Set(now, s.given) {
		if !s.fresh && !s.crowded() {
			t.putRow(s, row)
		}
	}
}

// putRows brings all rows into the kernel.
func (t *Tables) putRows(s *service) {
	s.short, s.filled = 0, t.syncs
	for row := range s.region.rows {
		t.putRow(s, row)
	}
	s.fresh = false
}

// settleMax is up to what size, in rows times endpoints, a table is let go: one of that
// size is made again within a millisecond.
const settleMax = 1 << 18

// settle lets go of a table that neither time nor room will change: it takes as much
// memory as the rows in the kernel, and most services stay as they are for long.
func (s *service) settle() {
	if s.table == nil || s.fresh || s.late || s.crowded() || !s.table.NextChange().IsZero() ||
		int(s.region.rows)*len(s.given) > settleMax {
		return
	}
	s.table, s.settled = nil, true
}

// untils is when each size ended last.
func untils(sizes []chain.Size) map[uint32]int64 {
	last := make(map[uint32]int64, len(sizes))
	for _, size := range sizes {
		last[size.Rows] = max(last[size.Rows], size.Until.UnixNano())
	}
	return last
}

// crowded says that rows could not have their chains.
func (s *service) crowded() bool { return s.short > 0 }

// take gives out a region whose rows are empty.
func (t *Tables) take(rows uint32) (region, error) {
	g, err := t.regions.take(rows)
	if err != nil && len(t.freed.regions) > 0 {
		t.reuse()
		g, err = t.regions.take(rows)
	}
	if err != nil {
		return g, err
	}
	for row := g.base; row < g.base+g.rows; row++ {
		t.slots.set(row, noOwner)
		t.ranks.set(row, nil)
	}
	return g, nil
}

// leave gives up a region that no packet is led to any more.
func (t *Tables) leave(g region) {
	if g.rows == 0 {
		return
	}
	for row := g.base; row < g.base+g.rows; row++ {
		if index, ok := t.chainOf(row); ok {
			t.chains.release(index)
		}
	}
	t.freed.regions = append(t.freed.regions, g)
}
