package peers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/config"
)

// answer is whether a node has a peer.
type answer int

const (
	no answer = iota
	unknown
	yes
)

// has tells whether the node has a peer, and if not, why.
func (n Node) has(p *config.Peer) (answer, string) {
	if len(p.Nodes) > 0 && !slices.Contains(p.Nodes, n.Name) {
		return no, fmt.Sprintf("%s is for nodes %s", p.Name, list(p.Nodes))
	}
	if p.NodeSelector == "" {
		return yes, ""
	}
	selector, err := config.ParseSelector(p.NodeSelector)
	switch {
	case err != nil: // the configuration is valid, and has none
		return unknown, fmt.Sprintf("nodeSelector %s: %v", p.NodeSelector, err)
	case !n.Known:
		return unknown, fmt.Sprintf("nodeSelector %s cannot be judged, as the source has no Node %s; add it, or correct `node`, or list the nodes by name", p.NodeSelector, n.Name)
	case !selector.Matches(n.Labels):
		return no, fmt.Sprintf("%s is for nodes with %s", p.Name, p.NodeSelector)
	}
	return yes, ""
}

// most is how many names a list has before it says how many more there are.
const most = 4

func list(names []string) string {
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Why says why a node has no peer at all: the words of the reason NoPeers. Empty where none is
// configured.
func (s Set) Why(node string) string {
	var parts []string
	for _, p := range s.Problems {
		parts = append(parts, p.Peer+": "+p.Text)
	}
	parts = append(parts, s.Absent...)
	if len(parts) == 0 {
		return ""
	}
	more := ""
	if len(parts) > most+1 {
		more = fmt.Sprintf("; and %d more", len(parts)-most)
		parts = parts[:most]
	}
	return fmt.Sprintf("no entry of bgp.peers is for node %s: %s%s", node, strings.Join(parts, "; "), more)
}
