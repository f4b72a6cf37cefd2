package desired

import (
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps"
)

// NodeState is what an ingress node should do.
type NodeState struct {
	Members  []maps.Member // by address
	Pods     []netip.Addr  // that flows may be delivered to, sorted
	Problems []Problem
}

// LBs counts the addresses from which tunnel packets are taken.
func (s NodeState) LBs() (n int) {
	for _, m := range s.Members {
		if m.LB && !m.Self {
			n++
		}
	}
	return n
}

// ForNode computes what the ingress node of a site should do. Its pods are the
// endpoints of any Service that are on it, ready or not: LB nodes choose.
func ForNode(s Snapshot, site Site) NodeState {
	f := newFabric(s.Nodes, site)
	out := NodeState{Members: f.list(), Problems: f.without("backend", "LB nodes send it no tunnel packets", f.own != nil && f.own.backend, true)}
	pods := byName(s.Pods)
	for _, slice := range s.Slices {
		for _, ep := range slice.Endpoints {
			if len(ep.Addresses) == 0 || nodeOf(ep, podOf(ep, slice, pods)) != site.Node {
				continue
			}
			if addr, why := unicast(ep.Addresses[0]); why == "" {
				out.Pods = append(out.Pods, addr)
			}
		}
	}
	slices.SortFunc(out.Pods, netip.Addr.Compare)
	out.Pods = slices.Compact(out.Pods)
	return out
}
