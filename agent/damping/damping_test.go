package damping

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	usual = Options{HalfLife: 2 * time.Minute, Max: 10 * time.Minute, Suppress: 2500, Reuse: 750}
)

func TestDamping(t *testing.T) {
	for _, tt := range []struct {
		name   string
		losses []time.Duration // since the start
		at     time.Duration
		until  time.Duration // 0: not suppressed
	}{
		{"a crash", []time.Duration{0}, 0, 0},
		{"a rolling update that leaves nobody, twice", []time.Duration{0, time.Minute}, time.Minute, 0},
		{"three losses at once", []time.Duration{0, 0, 0}, 0, 4 * time.Minute},
		{"three losses in a minute", []time.Duration{0, 30 * time.Second, time.Minute}, time.Minute, 4*time.Minute + 32*time.Second},
		{"three losses in five minutes", []time.Duration{0, 150 * time.Second, 5 * time.Minute}, 5 * time.Minute, 0},
		{"a loss while suppressed makes it longer", []time.Duration{0, 0, 0, 2 * time.Minute}, 2 * time.Minute, 2*time.Minute + 3*time.Minute + 28*time.Second},
		{"shortly before the end", []time.Duration{0, 0, 0}, 4*time.Minute - time.Second, 4 * time.Minute},
		{"the end", []time.Duration{0, 0, 0}, 4*time.Minute + time.Second, 0},
		{"the longest", make([]time.Duration, 100), 0, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New[string]()
			for _, after := range tt.losses {
				d.Lose("vip", usual, start.Add(after))
				d.Lose("other", Options{HalfLife: time.Second, Max: time.Second, Suppress: 1e9, Reuse: 1}, start.Add(after))
			}
			until, losses := d.Suppressed("vip", usual, start.Add(tt.at))
			if until.IsZero() != (tt.until == 0) {
				t.Fatalf("suppressed until %s, after %d losses", until, losses)
			}
			if off := until.Sub(start.Add(tt.until)).Abs(); tt.until != 0 && (off > time.Second || losses != len(tt.losses)) {
				t.Errorf("suppressed for %s, after %d losses, want %s, %d", until.Sub(start), losses, tt.until, len(tt.losses))
			}
			if until, _ := d.Suppressed("other", usual, start.Add(tt.at)); !until.IsZero() {
				t.Error("another one is suppressed as well")
			}
		})
	}
}

// Whatever is lost and when: a return that is suppressed may happen at the time that was named
// and not a moment earlier unless it was lost again, never later than Max after the last loss;
// a single loss suppresses nothing; what is pruned would not have been suppressed.
func TestDampingWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			HalfLife: time.Duration(rapid.IntRange(1, 600).Draw(t, "half-life")) * time.Second,
			Max:      time.Duration(rapid.IntRange(1, 3600).Draw(t, "max")) * time.Second,
			Reuse:    float64(rapid.IntRange(1, 2000).Draw(t, "reuse")),
		}
		o.Suppress = o.Reuse + float64(rapid.IntRange(1, 5000).Draw(t, "suppress"))
		d, now, last := New[int](), start, start
		lost := 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 120_000).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "prune") {
				d.Prune(o, now)
			}
			if rapid.Bool().Draw(t, "lose") {
				d.Lose(1, o, now)
				last, lost = now, lost+1
			}
			until, losses := d.Suppressed(1, o, now)
			if until.IsZero() {
				continue
			}
			if lost*Penalty <= int(o.Suppress) || losses == 0 || losses > lost {
				t.Fatalf("suppressed after %d losses, of which %d count", lost, losses)
			}
			if !until.After(now) || until.Sub(last) > o.Max+3*time.Millisecond {
				t.Fatalf("suppressed until %s at %s, last lost %s", until, now, last)
			}
			probe := d.clone()
			if again, _ := probe.Suppressed(1, o, until.Add(-3*time.Millisecond)); again.IsZero() && until.Sub(now) > 3*time.Millisecond {
				t.Fatal("it may return before the time that was named")
			}
			if again, _ := probe.Suppressed(1, o, until); !again.IsZero() {
				t.Fatalf("at %s it is suppressed until %s", until, again)
			}
		}
	})
}

func (d *Damper[K]) clone() *Damper[K] {
	c := New[K]()
	maps.Copy(c.figures, d.figures)
	return c
}

func TestPruneAndReset(t *testing.T) {
	d := New[string]()
	for range 3 {
		d.Lose("vip", usual, start)
	}
	d.Lose("once", usual, start)
	if d.Prune(usual, start.Add(3*time.Minute)); len(d.figures) != 2 {
		t.Errorf("after 3 minutes there are %d", len(d.figures))
	}
	if d.Prune(usual, start.Add(8*time.Minute)); len(d.figures) != 1 {
		t.Errorf("after 8 minutes there are %d", len(d.figures))
	}
	if d.Prune(usual, start.Add(time.Hour)); len(d.figures) != 0 {
		t.Errorf("after an hour there are %d", len(d.figures))
	}
	d.Lose("vip", usual, start)
	if d.Reset(); len(d.figures) != 0 {
		t.Error("reset left some")
	}
}
