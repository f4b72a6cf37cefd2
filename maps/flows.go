package maps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// batch is how many flows one system call reads. A bucket of the table that does
// not fit would end the walk; they have one or two entries.
const batch = 4096

// sweepSlack, in ticks, keeps the sweep away from flows that are just ending, for
// it can't delete and look in one step.
const sweepSlack = 2

// SweepStats says what a sweep did, in entries of flows.
type SweepStats struct{ Scanned, Deleted int }

// walkBatches calls each for all entries of a map, in chunks whose slices are reused.
func walkBatches[K, V any](ctx context.Context, m *ebpf.Map, each func([]K, []V) error) error {
	n := min(int(m.MaxEntries()), batch)
	keys, values := make([]K, n), make([]V, n)
	for cursor := new(ebpf.MapBatchCursor); ; {
		n, err := m.BatchLookup(cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read %s: %w", m, err)
		}
		if err := errors.Join(each(keys[:n], values[:n]), ctx.Err()); err != nil || last {
			return err
		}
	}
}

// walk calls each for all entries of a map.
func walk[K, V any](m *ebpf.Map, each func(K, V) error) error {
	return walkBatches(context.Background(), m, func(keys []K, values []V) error {
		for i, key := range keys {
			if err := each(key, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Flows counts the entries of the flow table.
func (v *View) Flows() (FlowStats, error) {
	stats := FlowStats{Capacity: v.m.flows.MaxEntries()}
	err := walkBatches(context.Background(), v.m.flows, func(keys []bpf.Tuple, _ []bpf.Flow) error {
		stats.Entries += uint32(len(keys))
		return nil
	})
	return stats, err
}

// Sweep removes the flows that have been idle in both directions for longer than
// their state allows. The data path would take their ports over by itself; the
// sweep spares live flows from the eviction that a full table brings.
func (t *Tables) Sweep(ctx context.Context) (stats SweepStats, err error) {
	now, err := tick()
	if err != nil {
		return stats, err
	}
	lingering, alive := t.lingering(), make(map[uint32]bool)
	err = walkBatches(ctx, t.m.flows, func(keys []bpf.Tuple, values []bpf.Flow) error {
		stats.Scanned += len(keys)
		for i, f := range values {
			if !t.idle(f, now) || !t.otherIdle(keys[i], f, now) {
				if len(lingering) > 0 {
					alive[t.serviceOf(keys[i])] = true
				}
				continue
			}
			deleted, err := t.deleteIdle(keys[i], f)
			if err != nil {
				return fmt.Errorf("delete flow: %w", err)
			}
			if deleted {
				stats.Deleted++
			}
		}
		return nil
	})
	for id, s := range lingering {
		s.nat.ended = err == nil && !alive[id]
		t.schedule(s)
	}
	return stats, err
}

// deleteIdle looks once more, for since the batch was read a new flow may have
// taken the tuple. Between the look and the delete there are microseconds.
func (t *Tables) deleteIdle(key bpf.Tuple, was bpf.Flow) (bool, error) {
	var now bpf.Flow
	if err := t.m.flows.Lookup(key, &now); err != nil || now != was {
		return false, ignoreMissing(err)
	}
	return true, ignoreMissing(t.m.flows.Delete(key))
}

func (t *Tables) idle(f bpf.Flow, now uint32) bool {
	return int32(now-f.Seen) > int32(t.opts.Timeouts.Timeout(f.State)+sweepSlack)
}

// otherIdle looks at the flow's other half, which is found as flow.h finds it.
func (t *Tables) otherIdle(key bpf.Tuple, f bpf.Flow, now uint32) bool {
	other := bpf.Tuple{Src: f.Dst, Dst: f.Src, Sport: f.Dport, Dport: f.Sport, Proto: key.Proto}
	var o bpf.Flow
	if err := t.m.flows.Lookup(other, &o); err != nil {
		return errors.Is(err, ebpf.ErrKeyNotExist)
	}
	mine := o.Src == key.Dst && o.Dst == key.Src && o.Sport == key.Dport && o.Dport == key.Sport
	return !mine || t.idle(o, now)
}

// tick is the program's clock: units of 2^30 ns of CLOCK_MONOTONIC.
func tick() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, err
	}
	return uint32(time.Duration(ts.Nano()) >> bpf.TickShift), nil
}
