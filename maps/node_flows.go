package maps

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// A flow's key is its tuple from the client to the pod.
type nodeFlowTest func(bpf.Tuple, bpf.NodeFlow) bool

// Sweep removes the flows that have been idle for longer than their state allows, and
// those of pods that are not there. What the data path does not evict, nobody else
// removes.
func (t *NodeTables) Sweep(ctx context.Context) (SweepStats, error) {
	now, err := tick()
	if err != nil {
		return SweepStats{}, err
	}
	return t.sweep(ctx, func(key bpf.Tuple, f bpf.NodeFlow) bool {
		return t.homeless(key, f) || int32(now-f.Seen) > int32(t.timeout(f)+sweepSlack)
	})
}

// halfClosed is how many times the closing timeout a flow may be idle after its pod's
// FIN. A client that has vanished then would keep its entry as long as an open flow;
// one that does go on is known again by the pod's socket.
const halfClosed = 10

func (t *NodeTables) timeout(f bpf.NodeFlow) uint32 {
	limit := t.opts.Timeouts.Timeout(f.State)
	if f.State == bpf.FlowEstablished && f.Flags&bpf.FlowFinBackend != 0 {
		limit = min(limit, halfClosed*t.opts.Timeouts.Timeout(bpf.FlowClosing))
	}
	return limit
}

func (t *NodeTables) homeless(key bpf.Tuple, _ bpf.NodeFlow) bool {
	_, ok := t.pods[key.Dst.Netip()]
	return !ok
}

// sweep removes the flows that are over. One that is in both tables, as it is on its
// way from one to the other, counts twice.
func (t *NodeTables) sweep(ctx context.Context, over nodeFlowTest) (stats SweepStats, err error) {
	for _, m := range []*ebpf.Map{t.m.flows, t.m.young} {
		err = errors.Join(err, walkBatches(ctx, m, func(keys []bpf.Tuple, values []bpf.NodeFlow) error {
			stats.Scanned += len(keys)
			for i, f := range values {
				if !over(keys[i], f) {
					continue
				}
				deleted, err := deleteIf(m, keys[i], over)
				if err != nil {
					return fmt.Errorf("delete flow: %w", err)
				}
				if deleted {
					stats.Deleted++
				}
			}
			return nil
		}))
	}
	return stats, err
}

// deleteIf looks once more, for since the batch was read the flow may have gone on.
func deleteIf(m *ebpf.Map, key bpf.Tuple, over nodeFlowTest) (bool, error) {
	var now bpf.NodeFlow
	if err := m.Lookup(key, &now); err != nil || !over(key, now) {
		return false, ignoreMissing(err)
	}
	err := m.Delete(key)
	return err == nil, ignoreMissing(err)
}
