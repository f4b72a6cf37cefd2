package desired

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// facts are what nodes and the site say to all Services.
type facts struct {
	said  State // what State has of nodes, but for Dead
	ways  *ways
	hosts map[netip.Addr]string // addresses of hosts, each with its node
	area  area
	away  refusal // why this node announces nothing
}

func newFacts(nodes []*corev1.Node, site Site, now time.Time) facts {
	f := newFabric(nodes, site)
	away, drain := refusal{NodeExcluded, "this node has the label " + corev1.LabelNodeExcludeBalancers}, ""
	if !excluded(nodes, site.Node) {
		var problems []Problem
		away = refusal{}
		drain, problems = f.drained(nodes, now)
		f.problems = append(f.problems, problems...)
		slices.SortStableFunc(f.problems, func(a, b Problem) int { return cmp.Compare(a.Name, b.Name) })
	}
	said := State{Members: f.list(), Nodes: f.ingress(), Sources: f.sources(), Drain: drain}
	said.Problems = f.without("lb", "ingress nodes take no tunnel packets from it", f.own != nil && f.own.lb, len(said.Nodes) > 0)
	return facts{said: said, ways: newWays(f, site), hosts: f.addresses(nodeAddresses(nodes)), away: away, area: areaOf(nodes, f)}
}

// same compares what Services depend on, but for the ways to nodes.
func (f facts) same(o facts) bool {
	return f.away == o.away && f.area == o.area && maps.Equal(f.hosts, o.hosts)
}

// way compares ways: two Services of one forwarding take the same to a node if it is the same.
func (f facts) way(node string) way { return f.ways.to(node, ForwardingDSR, "") }
