package chain

import (
	"testing"
	"time"

	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// day is a retention that no simulation outlasts, for flows that never end.
var day = Options{Retention: 24 * time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 32}

// rolling replaces all pods, three at a time, again and again.
func rolling(s *sim) {
	ready, coming, draining := 0, 0, 0
	var oldest []*pod
	for _, p := range s.pods {
		switch {
		case p.leaving:
			draining++
		case !p.EligibleSince.IsZero():
			ready++
			oldest = append(oldest, p)
		default:
			coming++
		}
	}
	if ready > s.simConfig.pods {
		s.drain(oldest[0], 30)
	}
	if coming == 0 && ready <= s.simConfig.pods && draining < 3 && s.tick%1200 < 600 {
		for range 3 {
			s.create(3 + s.r.IntN(12))
		}
	}
}

func scaleUp(s *sim) {
	if s.tick%20 == 0 && s.born < 30 {
		s.create(2 + s.r.IntN(10))
	}
}

func scaleIn(s *sim) {
	if ready := s.ready(); s.tick%20 == 0 && len(ready) > 5 {
		s.drain(s.pick(ready), 60)
	}
}

// churn is far more than a cluster has: every few seconds a pod comes or goes,
// and every few others lose their readiness for a while.
func churn(s *sim) {
	ready := s.ready()
	if s.oneIn(8) && len(s.pods) < 40 {
		s.create(s.r.IntN(20))
	}
	if s.oneIn(8) && len(ready) > 8 {
		s.drain(s.pick(ready), 5+s.r.IntN(60))
	}
	if s.oneIn(4) && len(ready) > 8 {
		s.lose(s.pick(ready), 1+s.r.IntN(20))
	}
	if s.oneIn(100) {
		s.restart(s.nodes[s.r.IntN(len(s.nodes))])
	}
}

func reweigh(s *sim) {
	if s.oneIn(20) {
		p := s.pick(s.pods)
		p.Endpoint = p.Reweighted(at(s.tick), 1+s.r.Uint32N(5), s.opts.Retention)
	}
}

func resized(pods int) uint32 { return rendezvous.RowsFor(pods, 64) / 32 }

// burst adds a dozen at once, ready at once, as endpoints are whose pods nobody
// knows, and clients rush in. The older ones leave later.
func burst(s *sim) {
	switch s.tick % 60 {
	case 10:
		for range 12 {
			s.create(0)
		}
		s.rush = s.tick + 5
	case 40:
		for _, p := range s.ready()[:12] {
			s.drain(p, 30)
		}
	}
}

// agreed is three nodes whose views do not differ.
func agreed(c simConfig) simConfig {
	c.nodes, c.opts.Slack = 3, 0
	return c
}

// skewed is two nodes whose views differ by up to five seconds.
func skewed(c simConfig) simConfig {
	c.nodes, c.lag = 2, 5
	return c
}

var scenarios = []struct {
	name     string
	c        simConfig
	stormy   bool // more in motion than views that differ can always follow
	reshaped bool // needs to know the weights or sizes of before
}{
	{name: "rolling updates of 10", c: simConfig{pods: 10, act: rolling}},
	{name: "scale-up 3 to 30", c: simConfig{pods: 3, act: scaleUp}},
	{name: "draining scale-in 30 to 5", c: simConfig{pods: 30, act: scaleIn}},
	{name: "churn with flapping", c: simConfig{pods: 20, act: churn}, stormy: true},
	{name: "bursts", c: simConfig{pods: 20, act: burst}},
	{name: "changing weights", c: simConfig{pods: 10, act: reweigh}, stormy: true, reshaped: true},
	{name: "scale-up 3 to 30, growing table", c: simConfig{pods: 3, act: scaleUp, rows: resized}, stormy: true, reshaped: true},
	{name: "scale-in 30 to 5, shrinking table", c: simConfig{pods: 30, act: scaleIn, rows: resized}, stormy: true, reshaped: true},
	{name: "all at once", c: simConfig{pods: 20, act: func(s *sim) { churn(s); reweigh(s) }, rows: resized}, stormy: true, reshaped: true},
}

func run(t *testing.T, c simConfig, what string) simStats {
	c.ticks, c.flows = 900, 400
	stats := simulate(c)
	t.Logf("%s, seed %d: %s", what, c.seed, stats)
	return stats
}

func TestEveryFlowStaysInItsChain(t *testing.T) {
	for _, sc := range scenarios {
		for seed := range uint64(2) {
			c := sc.c
			c.seed, c.opts = seed, day
			if s := run(t, agreed(c), sc.name); s.outside > 0 || s.displaced == 0 {
				t.Errorf("%s, seed %d: %d packets outside their chains, %d displaced", sc.name, seed, s.outside, s.displaced)
			}
		}
	}
}

// Nodes whose views differ lose next to nothing with slack, and nothing with the
// extra ranks too, but for packets to a pod that a node has not heard of. Where
// many ranks are in motion at once, or the ranks themselves change, by weight or
// size, a packet in some 100,000 may find neither.
func TestSkewedViews(t *testing.T) {
	for _, sc := range scenarios {
		for _, observed := range []bool{false, true} {
			c := sc.c
			c.seed, c.opts, c.observed = 3, day, observed
			what := sc.name + ", times from the API"
			if observed {
				// The times of two nodes differ as much as what they know does.
				c.opts.Slack *= 2
				what = sc.name + ", times as observed"
			}
			s := run(t, skewed(c), what)
			if misses := s.outside - s.unheard; float64(misses) > 0.0002*float64(s.checks) {
				t.Errorf("%s: %d of %d packets outside", what, misses, s.checks)
			}
			if lost := s.lost(); lost > 0 && !sc.stormy || float64(lost) > 0.00002*float64(s.checks) {
				t.Errorf("%s: %d of %d packets outside the extra ranks", what, lost, s.checks)
			}
		}
	}
}

// What the simulation would show if the chains were worth nothing.
func TestControls(t *testing.T) {
	noSlack := simConfig{pods: 20, act: burst, seed: 3, opts: day}
	noSlack = skewed(noSlack)
	noSlack.opts.Slack = 0
	if s := run(t, noSlack, "bursts, no slack"); s.outside < s.checks/100 {
		t.Error("without slack nothing gets lost")
	}
	noRetention := agreed(simConfig{pods: 3, act: scaleUp, seed: 3, opts: day})
	noRetention.opts.Retention = 0
	if s := run(t, noRetention, "scale-up, no chains"); s.outside < s.checks/10 {
		t.Error("without chains nothing gets lost")
	}
	for _, sc := range scenarios {
		if !sc.reshaped {
			continue
		}
		c := sc.c
		c.seed, c.opts, c.amnesia = 3, day, true
		if s := run(t, agreed(c), sc.name+", nobody knows what was"); s.lost() < s.checks/1000 {
			t.Errorf("%s: without former weights and sizes nothing gets lost", sc.name)
		}
	}
}
