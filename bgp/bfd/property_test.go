package bfd

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	maxMultiplier  = 5
	maxSimInterval = 2 * time.Second
)

func drawTimers(t *rapid.T, name string, minMultiplier int) timers {
	interval := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.SampledFrom([]int{10, 50, 300, 1000, 2000}).Draw(t, "ms")) * ms
	})
	return timers{
		minTx: interval.Draw(t, name+" minTx"), minRx: interval.Draw(t, name+" minRx"),
		multiplier: uint8(rapid.IntRange(minMultiplier, maxMultiplier).Draw(t, name+" multiplier")),
	}
}

// drawSim has a link whose variation is less than the jitter at a multiplier of 1 leaves.
func drawSim(t *rapid.T, minMultiplier int) *sim {
	s := newSim(rapid.Uint64().Draw(t, "seed"), drawTimers(t, "A", minMultiplier), drawTimers(t, "B", minMultiplier))
	for _, sd := range s.sides {
		sd.delay = time.Duration(rapid.IntRange(0, 2).Draw(t, sd.name+" delay")) * ms
		sd.variation = 900 * time.Microsecond
	}
	return s
}

func (s *sim) check(t *rapid.T) {
	t.Helper()
	if err := errors.Join(s.errs...); err != nil {
		t.Fatal(err)
	}
}

// longUp is enough for three packets at the slowest pace, each lost once.
const longUp = 8 * maxSimInterval

func (s *sim) comeUp(t *rapid.T) {
	t.Helper()
	if !s.until(longUp, s.bothUp) {
		t.Fatalf("after %s they are %s and %s", longUp, s.sides[0].m.state, s.sides[1].m.state)
	}
}

// checkFormulas: the timers in force are what the wanted ones of both sides give.
func (s *sim) checkFormulas(t *rapid.T) {
	t.Helper()
	for i, sd := range s.sides {
		own, other := sd.m.want, s.sides[1-i].m.want
		if got, want := sd.m.interval(), max(own.minTx, other.minRx); got != want {
			t.Errorf("%s sends every %s, want %s", sd.name, got, want)
		}
		if got, want := sd.m.detection(), time.Duration(other.multiplier)*max(own.minRx, other.minTx); got != want {
			t.Errorf("%s detects in %s, want %s", sd.name, got, want)
		}
		if sd.m.poll != noPoll {
			t.Errorf("%s still polls", sd.name)
		}
	}
}

func TestPropertyCleanLink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 1)
		s.comeUp(t)
		s.run(10 * maxSimInterval)
		for _, sd := range s.sides {
			if sd.ups != 1 || len(sd.downs) != 0 {
				t.Errorf("%s came up %d times and went down by %+v", sd.name, sd.ups, sd.downs)
			}
		}
		s.checkFormulas(t)
		s.check(t)
	})
}

// Fewer packets in a row are lost than the multiplier, less one for the packet that jitter may cost,
// and timers change meanwhile.
func TestPropertyStaysUpWithLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 3)
		for _, sd := range s.sides {
			sd.losses = 1
		}
		s.comeUp(t)
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			sd := rapid.IntRange(0, 1).Draw(t, "side")
			want := drawTimers(t, "new", 3)
			s.event(sd, func(m *machine) output { return m.setTimers(s.now, want) })
			s.run(time.Duration(rapid.IntRange(0, 5000).Draw(t, "pause")) * ms)
		}
		s.sides[0].losses, s.sides[1].losses = 0, 0
		s.run(10 * maxSimInterval)
		for _, sd := range s.sides {
			if len(sd.downs) != 0 {
				t.Errorf("%s went down by %+v", sd.name, sd.downs)
			}
		}
		s.checkFormulas(t)
		s.check(t)
	})
}

func TestPropertyCutIsDetected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 1)
		s.comeUp(t)
		s.run(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "up for")) * ms)
		both := rapid.Bool().Draw(t, "both directions")
		s.sides[0].wall, s.sides[1].wall = true, both
		var deadlines [2]time.Time
		for i, sd := range s.sides {
			// Packets on their way still count.
			deadlines[i] = s.now.Add(sd.m.detection() + s.sides[1-i].delay + s.sides[1-i].variation)
		}
		deaf, other := s.sides[1], s.sides[0]
		s.run(deadlines[1].Sub(s.now) + time.Nanosecond)
		if len(deaf.downs) != 1 || deaf.downs[0].diag != DetectionTimeExpired {
			t.Errorf("%s went down by %+v", deaf.name, deaf.downs)
		}
		want := DetectionTimeExpired
		if !both {
			want = NeighborSignaledDown
			s.run(deaf.delay + deaf.variation)
		} else if deadlines[0].After(s.now) {
			s.run(deadlines[0].Sub(s.now) + time.Nanosecond)
		}
		if len(other.downs) != 1 || other.downs[0].diag != want && other.downs[0].diag != DetectionTimeExpired {
			t.Errorf("%s went down by %+v, want %s", other.name, other.downs, want)
		}
		s.check(t)
	})
}

// Whatever happens, the invariants of sim hold, and once the link is whole both come up with the right
// timers.
func TestPropertyTurmoil(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 1)
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			i := rapid.IntRange(0, 1).Draw(t, "side")
			sd := s.sides[i]
			switch rapid.SampledFrom([]string{"timers", "wall", "admin", "path", "restart", "reorder"}).Draw(t, "event") {
			case "timers":
				want := drawTimers(t, "new", 1)
				s.event(i, func(m *machine) output { return m.setTimers(s.now, want) })
			case "wall":
				sd.wall = !sd.wall
			case "admin":
				s.event(i, func(m *machine) output { return m.setAdminDown(s.now, m.state != AdminDown) })
			case "path":
				s.event(i, func(m *machine) output { return m.pathLost(s.now) })
			case "restart":
				sd.m = newMachine(s.now, sd.m.local+2, sd.m.want, s.random.Float64)
				sd.next, sd.since, sd.paced = s.now, s.now, time.Time{}
			case "reorder":
				sd.variation, sd.losses, sd.reorder = 500*ms, 3, true
			}
			s.run(time.Duration(rapid.IntRange(0, 8000).Draw(t, "pause")) * ms)
		}
		for i, sd := range s.sides {
			sd.wall, sd.losses, sd.variation, sd.reorder = false, 0, 900*time.Microsecond, false
			s.event(i, func(m *machine) output { return m.setAdminDown(s.now, false) })
		}
		// What was still under way may cost another session.
		s.run(time.Duration(maxMultiplier) * maxSimInterval)
		s.comeUp(t)
		s.run(10 * maxSimInterval)
		if !s.bothUp() {
			t.Errorf("they are %s and %s", s.sides[0].m.state, s.sides[1].m.state)
		}
		s.checkFormulas(t)
		s.check(t)
	})
}
