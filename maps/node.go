package maps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/penstock-lb/penstock/bpf"
)

// Pod is an address on this ingress node that flows may be delivered to.
type Pod struct {
	Addr netip.Addr `json:"addr"`
	// Netns is the ID, in this node's network namespace, of the one that the pod's
	// sockets are in; or bpf.PodNetnsOwn or bpf.PodNetnsUnknown.
	Netns int32 `json:"netns"`
}

// NodeWant is the whole content of an ingress node's tables but for the flows.
type NodeWant struct {
	Members []Member
	// Pods have to be there for as long as they have flows, ready or not: the flows
	// of one that is missing are forgotten.
	Pods []Pod
	// MTU is that of the way from the LB nodes, in bytes of IP packet with the tunnel's
	// headers. 0: the MSS of SYN-ACKs is left alone.
	MTU uint32
}

// NodeOptions of an ingress node's tables.
type NodeOptions struct {
	Timeouts bpf.Timeouts // as the programs have them
}

// NodeTables keeps an ingress node's maps as they are wanted. Its own methods are
// for one goroutine; those of NodeView are for any.
type NodeTables struct {
	*NodeView
	log      *slog.Logger
	opts     NodeOptions
	members  *members
	pods     map[netip.Addr]int32 // in the kernel
	settings bpf.Settings         // in the kernel
}

// OpenNode takes over the maps of loaded programs with what is in them.
func OpenNode(n *bpf.Node, opts NodeOptions, log *slog.Logger) (*NodeTables, error) {
	view := newNodeView(n.Map)
	t := &NodeTables{
		NodeView: view,
		log:      log,
		opts:     opts,
		members:  newMembers(view.m.members),
		pods:     make(map[netip.Addr]int32),
	}
	if err := t.members.adopt(); err != nil {
		return nil, fmt.Errorf("adopt members: %w", err)
	}
	pods, err := t.Pods()
	if err != nil {
		return nil, fmt.Errorf("adopt pods: %w", err)
	}
	for _, p := range pods {
		t.pods[p.Addr] = p.Netns
	}
	if err := t.m.settings.Lookup(uint32(0), &t.settings); err != nil {
		return nil, fmt.Errorf("adopt settings: %w", err)
	}
	return t, nil
}

// Sync makes the tables what is wanted. It is idempotent. The flows of pods that went
// are gone when it returns: the next one of that address has none of them.
func (t *NodeTables) Sync(ctx context.Context, want NodeWant) error {
	errs := []error{t.syncSettings(want.MTU), t.members.sync(want.Members)}
	wanted := make(map[netip.Addr]bool, len(want.Pods))
	for _, p := range want.Pods {
		addr := p.Addr.Unmap()
		wanted[addr] = true
		if netns, ok := t.pods[addr]; ok && netns == p.Netns {
			continue
		}
		if err := t.m.pods.Put(bpf.AddrFrom(addr), bpf.Pod{Netns: p.Netns}); err != nil {
			errs = append(errs, fmt.Errorf("pod %s, beside %d others: %w", addr, len(t.pods), err))
			continue
		}
		t.pods[addr] = p.Netns
	}
	gone := 0
	for addr := range t.pods {
		if wanted[addr] {
			continue
		}
		if err := ignoreMissing(t.m.pods.Delete(bpf.AddrFrom(addr))); err != nil {
			errs = append(errs, fmt.Errorf("remove pod %s: %w", addr, err))
			continue
		}
		delete(t.pods, addr)
		gone++
	}
	if gone > 0 {
		stats, err := t.sweep(ctx, t.homeless)
		t.log.Debug("flows of vanished pods removed", "pods", gone, "flows", stats.Deleted, "err", err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (t *NodeTables) syncSettings(mtu uint32) error {
	want := bpf.Settings{Mtu: mtu}
	if t.settings == want {
		return nil
	}
	if err := t.m.settings.Put(uint32(0), want); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	t.settings = want
	return nil
}
