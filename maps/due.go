package maps

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// retryAfter is how long Sync leaves alone what it could not do.
const retryAfter = time.Second

// NextChange is when time alone changes the rows, because something leaves the
// retention, or when there may be room for what had none: then there is something for
// Sync to do. It is zero if that never happens.
func (t *Tables) NextChange() (next time.Time) {
	soon := t.now().Add(retryAfter)
	for _, s := range t.services {
		if s.table != nil {
			next = sooner(next, s.table.NextChange())
		}
		if s.crowded() && len(t.chains.freed) > 0 {
			next = sooner(next, soon)
		}
		next = sooner(next, s.nat.end(t.opts.Chain.Retention))
	}
	if !next.IsZero() && next.Before(soon) { // or a service that Sync refuses would make it a busy loop
		return soon
	}
	return next
}

// sooner is the earlier time, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Warnings are what the last Sync could not bring about without being in the way of
// any packet. The services are in force.
func (t *Tables) Warnings() (warnings []*ServiceError) {
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		s := t.services[name]
		if s.crowded() {
			warnings = append(warnings, &ServiceError{name, fmt.Errorf(
				"%d of %d rows have no chain, so flows that were displaced there break: all %d chains are in use, raise chains.max",
				min(s.short, s.region.rows), s.region.rows, len(t.chains.refs))})
		}
	}
	return warnings
}
