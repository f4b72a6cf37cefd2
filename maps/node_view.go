package maps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// NodeView reads an ingress node's tables. Its methods may be called from any
// goroutine, and see the kernel's state of the moment.
type NodeView struct {
	m struct {
		members, pods, flows, young, settings, verdicts, events *ebpf.Map
	}
	owned []*ebpf.Map
}

// NodeEvents counts what happened to flows on an ingress node since the maps were
// made.
type NodeEvents struct {
	Collisions uint64 `json:"collisions"` // flows that got another client port on the pod's side
	Witnessed  uint64 `json:"witnessed"`  // flows that were found again by the pod's socket
	Full       uint64 `json:"full"`       // flows for which node_flows had no room, so that they can be evicted
	Clamped    uint64 `json:"clamped"`    // SYN-ACKs whose MSS was lowered
}

// OpenNodeView opens the pinned tables for reading, with or without an agent.
func OpenNodeView(pins string) (*NodeView, error) {
	opened, err := bpf.OpenNodeTables(pins)
	if err != nil {
		return nil, err
	}
	v := newNodeView(func(name string) *ebpf.Map { return opened[name] })
	v.owned = slices.Collect(maps.Values(opened))
	return v, nil
}

func newNodeView(m func(name string) *ebpf.Map) *NodeView {
	v := &NodeView{}
	v.m.members, v.m.pods, v.m.settings = m("members"), m("pods"), m("node_settings")
	v.m.flows, v.m.young = m("node_flows"), m("young_flows")
	v.m.verdicts, v.m.events = m("verdicts"), m("node_events")
	return v
}

// Close lets go of the maps.
func (v *NodeView) Close() error {
	var errs []error
	for _, m := range v.owned {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// Verdicts lists all counters in the order of the programs' enum.
func (v *NodeView) Verdicts() ([]VerdictCount, error) { return readVerdicts(v.m.verdicts) }

// Flows counts the entries of the flow tables.
func (v *NodeView) Flows() (FlowStats, error) {
	stats := FlowStats{Capacity: v.m.flows.MaxEntries(), YoungCapacity: v.m.young.MaxEntries()}
	count := func(n *uint32) func([]bpf.Tuple, []bpf.NodeFlow) error {
		return func(keys []bpf.Tuple, _ []bpf.NodeFlow) error {
			*n += uint32(len(keys))
			return nil
		}
	}
	return stats, errors.Join(
		walkBatches(context.Background(), v.m.flows, count(&stats.Entries)),
		walkBatches(context.Background(), v.m.young, count(&stats.Young)),
	)
}

// Pods lists the pods by address.
func (v *NodeView) Pods() (pods []Pod, err error) {
	err = walk(v.m.pods, func(addr bpf.Addr, p bpf.Pod) error {
		pods = append(pods, Pod{Addr: addr.Netip(), Netns: p.Netns})
		return nil
	})
	slices.SortFunc(pods, func(a, b Pod) int { return a.Addr.Compare(b.Addr) })
	return pods, err
}

// Members lists the members by address.
func (v *NodeView) Members() (list []Member, err error) {
	err = walk(v.m.members, func(addr bpf.Addr, m bpf.Member) error {
		list = append(list, memberOf(addr.Netip(), m.Flags))
		return nil
	})
	slices.SortFunc(list, func(a, b Member) int { return a.Addr.Compare(b.Addr) })
	return list, err
}

func memberOf(addr netip.Addr, flags bpf.MemberFlags) Member {
	return Member{
		Addr: addr, Self: flags&bpf.MemberSelf != 0,
		LB: flags&bpf.MemberLB != 0, Backend: flags&bpf.MemberBackend != 0,
	}
}

// MTU is what NodeWant has under this name.
func (v *NodeView) MTU() (uint32, error) {
	var s bpf.Settings
	err := v.m.settings.Lookup(uint32(0), &s)
	return s.Mtu, err
}

// Events sums the counters of all CPUs.
func (v *NodeView) Events() (e NodeEvents, err error) {
	for event, sum := range map[bpf.NodeEvent]*uint64{
		bpf.EventCollision: &e.Collisions, bpf.EventWitness: &e.Witnessed, bpf.EventFull: &e.Full, bpf.EventMSS: &e.Clamped,
	} {
		var perCPU []uint64
		if err := v.m.events.Lookup(uint32(event), &perCPU); err != nil {
			return e, fmt.Errorf("event %d: %w", event, err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	return e, nil
}
