package chain

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// The reference: the rule as it is written down, on sorted ranks, with times as
// they come.

// place is an endpoint with one of its weights.
type place struct {
	id        netip.AddrPort
	weight    uint32
	born      time.Time
	eligible  bool
	forgotten bool      // not eligible for longer than the retention
	since     time.Time // of eligible ones
}

var bigBang, doomsday = time.Unix(1, 0), time.Unix(math.MaxInt32*2, 0)

type bruteRow struct {
	Primary netip.AddrPort
	Chain   []netip.AddrPort
	Extra   []netip.AddrPort
}

func brute(row uint32, o Options, now time.Time, rows uint32, eps []Endpoint, sizes ...Size) (b bruteRow) {
	ranked := rank(row, o, now, eps)
	var own []netip.AddrPort
	b.Primary, own = bruteWalk(ranked, o, now)
	chains := [][]netip.AddrPort{own}
	for _, size := range sizes {
		if !size.Until.After(now.Add(-o.Retention)) {
			continue
		}
		known := slices.DeleteFunc(slices.Clone(eps), func(e Endpoint) bool {
			return !e.BornAt.Before(size.Until.Add(o.Slack))
		})
		for source := range max(size.Rows, rows) {
			if source < size.Rows && source != row && (source%rows == row || row%size.Rows == source) {
				_, more := bruteWalk(rank(source, o, now, known), o, now)
				chains = append(chains, more)
			}
		}
	}
	for rank := range o.Longest {
		for _, chain := range chains {
			if rank < len(chain) && len(b.Chain) < o.Longest && !slices.Contains(b.Chain, chain[rank]) {
				b.Chain = append(b.Chain, chain[rank])
			}
		}
	}
	for _, p := range ranked {
		if len(b.Extra) < o.ExtraRanks && !slices.Contains(own, p.id) && !slices.Contains(b.Extra, p.id) {
			b.Extra = append(b.Extra, p.id)
		}
	}
	b.Extra = slices.DeleteFunc(b.Extra, func(id netip.AddrPort) bool { return slices.Contains(b.Chain, id) })
	return b
}

func bruteWalk(ranked []place, o Options, now time.Time) (primary netip.AddrPort, chain []netip.AddrPort) {
	guard := doomsday
	tenures := map[netip.AddrPort]time.Duration{}
	for _, p := range ranked {
		taken := guard.Equal(doomsday) || p.born.Before(guard.Add(o.Slack))
		if taken && !p.forgotten {
			tenure := time.Duration(math.MaxInt64)
			if !guard.Equal(doomsday) && p.born.After(bigBang) {
				tenure = guard.Sub(p.born)
			}
			tenures[p.id] = max(tenures[p.id], tenure)
			if !slices.Contains(chain, p.id) {
				tenures[p.id] = tenure
				chain = append(chain, p.id)
			}
		}
		if p.eligible && p.since.Before(guard) {
			guard = p.since
		}
		if p.eligible && !primary.IsValid() {
			primary = p.id
		}
		if !guard.After(now.Add(-o.Retention)) {
			break
		}
	}
	if primary.IsValid() {
		i := slices.Index(chain, primary)
		chain = slices.Insert(slices.Delete(chain, i, i+1), 0, primary)
	}
	// Off with whoever had the least time to own flows, the lowest rank first.
	for len(chain) > o.Longest {
		least := 1
		for i := range chain {
			if i > 0 && tenures[chain[i]] <= tenures[chain[least]] {
				least = i
			}
		}
		chain = slices.Delete(chain, least, least+1)
	}
	return primary, chain
}

func rank(row uint32, o Options, now time.Time, eps []Endpoint) []place {
	type ranked struct {
		place
		c rendezvous.Candidate
	}
	var all []ranked
	for _, e := range eps {
		for _, p := range places(e, o, now) {
			all = append(all, ranked{p, rendezvous.NewCandidate(testSeed, rendezvous.Endpoint{ID: p.id, Weight: p.weight})})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		if rendezvous.Before(&a.c, a.c.Draw(row), &b.c, b.c.Draw(row)) {
			return -1
		}
		return 1
	})
	var places []place
	for _, r := range all {
		places = append(places, r.place)
	}
	return places
}

func places(e Endpoint, o Options, now time.Time) (places []place) {
	start := now.Add(-o.Retention)
	forgotten := e.EligibleSince.IsZero() && !e.LostAt.IsZero() && !e.LostAt.After(start)
	if e.BornAt.IsZero() {
		e.BornAt = bigBang
	}
	// The times at which the weight became another one.
	turns := []time.Time{e.BornAt}
	for _, f := range e.Former {
		if f.Until.After(e.BornAt) {
			turns = append(turns, f.Until)
		}
	}
	slices.SortFunc(turns, time.Time.Compare)
	weights := map[uint32]bool{}
	for _, t := range turns {
		weights[e.weightAt(t)] = true
	}
	for w := range weights {
		if w == 0 {
			continue
		}
		p := place{id: e.ID, forgotten: forgotten, weight: w, born: doomsday, eligible: !e.EligibleSince.IsZero() && e.Weight >= w}
		recent := e.Weight == w
		held := e.BornAt
		for i, t := range turns {
			if e.weightAt(t) == w {
				if t.Before(p.born) {
					p.born = t
				}
				recent = recent || i+1 < len(turns) && turns[i+1].After(start)
			}
			if e.weightAt(t) < w && i+1 < len(turns) {
				held = turns[i+1]
			}
		}
		if !recent {
			continue
		}
		if p.eligible {
			p.since = e.EligibleSince
			if held.After(p.since) {
				p.since = held
			}
			if p.since.Before(p.born) {
				p.born = p.since
			}
		}
		places = append(places, p)
	}
	return places
}

// weightAt is the weight from a time on.
func (e Endpoint) weightAt(t time.Time) uint32 {
	weight, until := e.Weight, doomsday
	for _, f := range e.Former {
		if f.Until.After(t) && f.Until.Before(until) {
			weight, until = f.Weight, f.Until
		}
	}
	return weight
}
