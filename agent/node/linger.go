package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// linger remembers LB nodes that lbNodes chooses no more. The agent of such a node has just heard of
// that too, and drains: until routers have followed, its packets are those of clients as before.
type linger struct {
	lost  map[string]time.Time // by node: since when it is not chosen; zero: it is
	nodes []*corev1.Node       // as of the last update
	until time.Time            // when the first of those that linger is no more trusted; zero: none does
}

// update takes over all nodes, and who chooses among them.
func (l *linger) update(nodes []*corev1.Node, lbNodes ipam.Selector, now time.Time) {
	known := l.lost
	l.lost, l.nodes = map[string]time.Time{}, nodes
	for _, n := range nodes {
		at, was := known[n.Name]
		switch {
		case lbNodes == nil || lbNodes.Matches(n.Labels):
			l.lost[n.Name] = time.Time{}
		case was && at.IsZero():
			l.lost[n.Name] = now
		case was:
			l.lost[n.Name] = at
		}
	}
}

// names are the nodes that have not been chosen for less than d, sorted.
func (l *linger) names(now time.Time, d time.Duration) (names []string) {
	l.until = time.Time{}
	for name, at := range l.lost {
		end := at.Add(d)
		if at.IsZero() || !now.Before(end) {
			continue
		}
		names = append(names, name)
		if l.until.IsZero() || end.Before(l.until) {
			l.until = end
		}
	}
	slices.Sort(names)
	return names
}
