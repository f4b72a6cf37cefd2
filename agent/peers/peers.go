package peers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
)

// Node is what decides which peers a node has.
type Node struct {
	Name     string
	Labels   map[string]string           // of its Node object
	Known    bool                        // there is one
	Gateways map[bgp.Family][]netip.Addr // of the default routes; link-local ones with their zone
}

// Peer is a peer that the node has.
type Peer struct {
	bgp.Peer
	Of string // name of its entry of bgp.peers, which may be several peers
}

// Set is what peers a node has.
type Set struct {
	Peers    []Peer // in the order of their entries
	Problems []Problem
	Absent   []string // why the node does not have the others, as in "tor1 is for nodes lb2, lb3"
}

// Problem is why a peer is not as configured.
type Problem struct {
	Peer string `json:"peer"` // name of its entry
	Text string `json:"text"` // with what is done about it
}

// BGP gives the peers as the speaker takes them.
func (s Set) BGP() []bgp.Peer {
	out := make([]bgp.Peer, len(s.Peers))
	for i, p := range s.Peers {
		out[i] = p.Peer
	}
	return out
}

// Of gives the names of the peers that an entry of bgp.peers is here.
func (s Set) Of(entry string) (names []string) {
	for _, p := range s.Peers {
		if p.Of == entry {
			names = append(names, p.Name)
		}
	}
	return names
}

// Resolve tells which of the configured peers a node has, that has had the ones of before.
// Configured are valid, and their names differ.
//
// Gateways come last: one that is the router of an entry with an address takes nothing from it.
func Resolve(configured []config.Peer, node Node, before Set) Set {
	var s Set
	place := map[string]int{}
	for _, gateways := range []bool{false, true} {
		for i := range configured {
			p := &configured[i]
			if place[p.Name] = i; gateways == (p.Gateway != "") {
				s.decide(p, node, before.entry(p.Name))
			}
		}
	}
	slices.SortStableFunc(s.Peers, func(a, b Peer) int { return cmp.Compare(place[a.Of], place[b.Of]) })
	return s
}

// decide takes in an entry that the node has, and one that it had if that is not known.
func (s *Set) decide(p *config.Peer, node Node, had []Peer) {
	has, why := node.has(p)
	switch has {
	case no:
		s.Absent = append(s.Absent, why)
		return
	case unknown:
		s.complain(p, "%s", why)
		if len(had) == 0 {
			return
		}
	}
	s.add(p, node, had)
}

func (s Set) entry(name string) (out []Peer) {
	for _, p := range s.Peers {
		if p.Of == name {
			out = append(out, p)
		}
	}
	return out
}

func (s *Set) complain(p *config.Peer, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{p.Name, fmt.Sprintf(format, args...)})
}

// add takes in what an entry is on the node, unless the node has such a router already: only
// one can have the session. A gateway may be one that the rest of its entry does not fit, as a
// link-local address does not fit multihop BFD; the speaker would take none of the others with it.
func (s *Set) add(p *config.Peer, node Node, had []Peer) {
	found := []Peer{{p.BGP(), p.Name}}
	if p.Gateway != "" {
		found = s.gateways(p, node, had)
	}
	for _, q := range found {
		i := slices.IndexFunc(s.Peers, func(o Peer) bool {
			return o.Name == q.Name || o.Address == q.Address && (q.Address.IsValid() || o.Interface == q.Interface)
		})
		if i >= 0 {
			s.complain(p, "%s is peer %s already; only one of the two can be, so give them other nodes, or remove one", where(q.Peer), s.Peers[i].Name)
			continue
		}
		if err := q.Check(); err != nil {
			s.complain(p, "%s cannot be a peer: %s", where(q.Peer), strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		s.Peers = append(s.Peers, q)
	}
}

func where(p bgp.Peer) string {
	if p.Address.IsValid() {
		return "the router " + p.Address.String()
	}
	return "the router on " + p.Interface
}
