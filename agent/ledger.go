package agent

import (
	"context"
	"log/slog"
	"time"
)

// ledger logs a problem when it appears, when its words change and when it is
// gone, and not in every pass between.
type ledger struct {
	log   *slog.Logger
	level slog.Level // of a problem that appears
	known map[problem]string
	now   map[problem]string
}

// problem is what something is wrong with: a kind, as in "service", and a name.
type problem struct{ kind, name string }

func newLedger(log *slog.Logger, level slog.Level) *ledger {
	return &ledger{log: log, level: level, known: map[problem]string{}, now: map[problem]string{}}
}

// note records a problem of the pass under way.
func (l *ledger) note(kind, name, text string) { l.now[problem{kind, name}] = text }

// settle ends a pass.
func (l *ledger) settle() {
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

// backoff is the growing delay between attempts.
type backoff struct{ delay time.Duration }

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

func (b *backoff) next() time.Duration {
	b.delay = min(max(2*b.delay, firstRetry), lastRetry)
	return b.delay
}

func (b *backoff) reset() { b.delay = 0 }
