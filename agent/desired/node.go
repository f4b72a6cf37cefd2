package desired

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	lbmaps "github.com/penstock-lb/penstock/maps"
)

// NodeState is what an ingress node should do.
type NodeState struct {
	Members  []lbmaps.Member // by address
	Pods     []netip.Addr    // that flows may be delivered to, sorted
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
	m := NewNodeModel()
	m.Apply(Whole(s), site)
	return m.State()
}

// NodeModel keeps what an ingress node should do up to date, at a cost that is
// proportional to what changed. It is for one goroutine.
type NodeModel struct {
	site  Site
	nodes []*corev1.Node
	pods  map[string][]netip.Addr // that are here, by the namespace/name of their Service
	uses  map[netip.Addr]int      // of each pod, by Services
}

// NewNodeModel returns one that knows of no object.
func NewNodeModel() *NodeModel {
	return &NodeModel{pods: map[string][]netip.Addr{}, uses: map[netip.Addr]int{}}
}

// Apply takes over what changed in the source. The site's node stays the same.
func (m *NodeModel) Apply(d Delta, site Site) {
	m.site = site
	if d.Reset || d.NodesChanged {
		m.nodes = d.Nodes
	}
	if d.Reset {
		m.pods, m.uses = map[string][]netip.Addr{}, map[netip.Addr]int{}
	}
	for name, b := range d.Bundles {
		for _, addr := range m.pods[name] {
			if m.uses[addr]--; m.uses[addr] == 0 {
				delete(m.uses, addr)
			}
		}
		delete(m.pods, name)
		if here := podsOn(site.Node, b); len(here) > 0 {
			m.pods[name] = here
			for _, addr := range here {
				m.uses[addr]++
			}
		}
	}
}

// State gives the whole of what the node should do.
func (m *NodeModel) State() NodeState {
	f := newFabric(m.nodes, m.site)
	return NodeState{
		Members:  f.list(),
		Pods:     slices.SortedFunc(maps.Keys(m.uses), netip.Addr.Compare),
		Problems: f.without("backend", "LB nodes send it no tunnel packets", f.own != nil && f.own.backend, true),
	}
}

// podsOn gives the addresses of a Service's endpoints on a node.
func podsOn(node string, b Bundle) (out []netip.Addr) {
	pods := byName(b.Pods)
	for _, slice := range b.Slices {
		for _, ep := range slice.Endpoints {
			if len(ep.Addresses) == 0 || nodeOf(ep, podOf(ep, slice, pods)) != node {
				continue
			}
			if addr, why := unicast(ep.Addresses[0]); why == "" {
				out = append(out, addr)
			}
		}
	}
	return out
}
