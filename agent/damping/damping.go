// Package damping holds back the return of what comes and goes again and again, as RFC 2439
// does with routes: each loss adds [Penalty], which decays by half in each half-life. Above one
// limit the return is suppressed, until the penalty has decayed below a lower one. A loss itself
// is never held back.
//
// RFC 2439 damps what others announce. Here it is what this node announces itself, so that it
// costs routers and their neighbours nothing; the arithmetic is the same.
package damping

import (
	"math"
	"time"
)

// Penalty of one loss.
const Penalty = 1000

// Options are RFC 2439's: the cutoff and reuse thresholds, the half-life and the longest time
// that a suppression lasts after the last loss.
type Options struct {
	HalfLife, Max   time.Duration
	Suppress, Reuse float64
}

// Damper remembers the losses of things by their keys. Its zero value is not valid, see New.
// It is for one goroutine.
type Damper[K comparable] struct {
	figures map[K]figure
}

// figure of merit, in RFC 2439's words.
type figure struct {
	penalty    float64 // as of at
	at         time.Time
	losses     int // since the penalty was last forgotten
	suppressed bool
}

// New returns a damper that knows of no loss.
func New[K comparable]() *Damper[K] { return &Damper[K]{figures: map[K]figure{}} }

// Lose notes a loss.
func (d *Damper[K]) Lose(k K, o Options, now time.Time) {
	f := d.figures[k].decayed(o, now)
	f.losses++
	// No more than decays to the reuse threshold in the longest time (RFC 2439, 4.2).
	f.penalty = min(f.penalty+Penalty, o.Reuse*math.Exp2(o.Max.Seconds()/o.HalfLife.Seconds()))
	f.suppressed = f.suppressed || f.penalty > o.Suppress
	d.figures[k] = f
}

// Suppressed tells until when k may not return, after how many losses; zero: it may now.
func (d *Damper[K]) Suppressed(k K, o Options, now time.Time) (until time.Time, losses int) {
	f, known := d.figures[k]
	if !known || !f.suppressed {
		return time.Time{}, 0
	}
	if f = f.decayed(o, now); !f.suppressed {
		d.figures[k] = f
		return time.Time{}, 0
	}
	halves := math.Log2(f.penalty / o.Reuse)
	// Milliseconds later, so that at that time it is below however this was rounded.
	wait := time.Duration(halves*float64(o.HalfLife)).Truncate(time.Millisecond) + 2*time.Millisecond
	return now.Add(wait), f.losses
}

// Prune forgets what has decayed to less than a tenth of one loss's.
func (d *Damper[K]) Prune(o Options, now time.Time) {
	for k, f := range d.figures {
		if f = f.decayed(o, now); !f.suppressed && f.penalty < Penalty/10 {
			delete(d.figures, k)
		}
	}
}

// Reset forgets all.
func (d *Damper[K]) Reset() { clear(d.figures) }

func (f figure) decayed(o Options, now time.Time) figure {
	if passed := now.Sub(f.at); passed > 0 && !f.at.IsZero() {
		f.penalty *= math.Exp2(-passed.Seconds() / o.HalfLife.Seconds())
	}
	f.at = now
	if f.suppressed && f.penalty < o.Reuse {
		f.suppressed = false
	}
	if !f.suppressed && f.penalty < Penalty/10 {
		f.losses = 0
	}
	return f
}
