// Package ledger says what is wrong once, and once more when it is mended; and how long
// to wait between attempts to mend it.
package ledger

import (
	"context"
	"log/slog"
	"time"
)

// Ledger logs a problem when it appears, when its words change and when it is
// gone, and not in every pass between.
type Ledger struct {
	log   *slog.Logger
	level slog.Level // of a problem that appears
	known map[problem]string
	now   map[problem]string
}

// problem is what something is wrong with: a kind, as in "service", and a name.
type problem struct{ kind, name string }

// New returns an empty ledger, which logs problems at a level.
func New(log *slog.Logger, level slog.Level) *Ledger {
	return &Ledger{log: log, level: level, known: map[problem]string{}, now: map[problem]string{}}
}

// Note records a problem of the pass under way.
func (l *Ledger) Note(kind, name, text string) { l.now[problem{kind, name}] = text }

// Keep records again, for the pass under way, the known problems that are told to be kept.
func (l *Ledger) Keep(still func(kind, name string) bool) {
	for p, text := range l.known {
		if still(p.kind, p.name) {
			l.now[p] = text
		}
	}
}

// Settle ends a pass.
func (l *Ledger) Settle() {
	for p, text := range l.now {
		if l.known[p] != text {
			l.log.Log(context.Background(), l.level, "problem", p.kind, p.name, "err", text)
		}
	}
	for p := range l.known {
		if _, still := l.now[p]; !still {
			l.log.Log(context.Background(), min(l.level, slog.LevelInfo), "problem solved", p.kind, p.name)
		}
	}
	l.known, l.now = l.now, map[problem]string{}
}

// Backoff is the growing delay between attempts.
type Backoff struct{ delay time.Duration }

// The least and the greatest delay.
const (
	FirstRetry = time.Second
	LastRetry  = 30 * time.Second
)

// Next returns how long to wait now.
func (b *Backoff) Next() time.Duration {
	b.delay = min(max(2*b.delay, FirstRetry), LastRetry)
	return b.delay
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.delay = 0 }
