package maps

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
)

// retryAfter is how long Sync leaves alone what it could not do.
const retryAfter = time.Second

// queue has the services that time alone changes, the first one first.
type queue []*service

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

func (q *queue) Push(x any) {
	s := x.(*service)
	*q = append(*q, s)
	s.place = len(*q)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	s.place = 0
	*q = slices.Delete(*q, last, last+1)
	return s
}

// schedule notes what of the service is left to time, and to room in chains. To be
// called after each change of its rows.
func (t *Tables) schedule(s *service) {
	s.due = s.nat.end(t.opts.Chain.Retention)
	if s.table != nil {
		s.due = sooner(s.due, s.table.NextChange())
	}
	switch {
	case !s.due.IsZero() && s.place == 0:
		heap.Push(&t.queue, s)
	case !s.due.IsZero():
		heap.Fix(&t.queue, s.place-1)
	case s.place != 0:
		heap.Remove(&t.queue, s.place-1)
	}
	if s.crowded() {
		t.crowded[s] = true
	} else {
		delete(t.crowded, s)
	}
}

// unschedule forgets a service that goes.
func (t *Tables) unschedule(s *service) {
	if s.place != 0 {
		heap.Remove(&t.queue, s.place-1)
	}
	delete(t.crowded, s)
}

// NextChange is when time alone changes the rows, because something leaves the
// retention, or when there may be room for what had none: then there is something for
// Sync to do. It is zero if that never happens.
func (t *Tables) NextChange() (next time.Time) {
	soon := t.now().Add(retryAfter)
	if len(t.queue) > 0 {
		next = t.queue[0].due
	}
	if len(t.crowded) > 0 && len(t.chains.freed) > 0 {
		next = sooner(next, soon)
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

// ageAll does what is due by now of the services that this Sync has left alone, and
// gives the crowded ones what room there is.
func (t *Tables) ageAll(now time.Time) {
	for range len(t.queue) { // each at most once
		if len(t.queue) == 0 || t.queue[0].due.After(now) {
			break
		}
		t.age(t.queue[0], now)
	}
	if len(t.chains.free) == 0 {
		return
	}
	for _, s := range t.crowdedByName() {
		if s.filled != t.syncs {
			t.putRows(s)
			t.schedule(s)
		}
	}
}

// age brings the service's rows up to date, as it was wanted last.
func (t *Tables) age(s *service, now time.Time) {
	if s.table != nil {
		t.rank(s, now)
		if s.crowded() {
			t.putRows(s)
		}
	}
	s.nat.see(s.nat.backends, now, t.opts.Chain.Retention)
	raw := t.published.get(s.id)
	if !s.nat.flag() && raw.Flags&bpf.RegionNAT != 0 {
		raw.Flags &^= bpf.RegionNAT
		t.published.set(s.id, raw)
	}
	t.schedule(s)
	s.settle()
}

// Warnings are what the last Sync could not bring about without being in the way of
// any packet. The services are in force.
func (t *Tables) Warnings() (warnings []*ServiceError) {
	for _, s := range t.crowdedByName() {
		warnings = append(warnings, &ServiceError{s.name, fmt.Errorf(
			"%d of %d rows have no chain, so flows that were displaced there break: all %d chains are in use, raise chains.max",
			min(s.short, s.region.rows), s.region.rows, len(t.chains.refs))})
	}
	return warnings
}

func (t *Tables) crowdedByName() []*service {
	list := make([]*service, 0, len(t.crowded))
	for s := range t.crowded {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *service) int { return cmp.Compare(a.name, b.name) })
	return list
}
