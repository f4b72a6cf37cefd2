package peers

import (
	"slices"

	"github.com/penstock-lb/penstock/bgp"
)

// Entry gives the name of the entry of bgp.peers that a peer is of; its own where it is of none.
func (s Set) Entry(peer string) string {
	for _, p := range s.Peers {
		if p.Name == peer {
			return p.Of
		}
	}
	return peer
}

// Paths gives paths whose offers are for peers in place of entries: those of several gateways have other
// names than the entry that they are of. The result shares what stays as it is.
func (s Set) Paths(paths []bgp.Path) []bgp.Path {
	if !slices.ContainsFunc(s.Peers, func(p Peer) bool { return p.Name != p.Of }) {
		return paths
	}
	out := slices.Clone(paths)
	for i := range out {
		out[i].Offers = slices.Clone(out[i].Offers)
		for j, o := range out[i].Offers {
			out[i].Offers[j].Peers = s.names(o.Peers)
		}
	}
	return out
}

// names keeps an entry that is no peer here: a list without it could be empty, which means all.
func (s Set) names(entries []string) (out []string) {
	for _, e := range entries {
		if of := s.Of(e); len(of) > 0 {
			out = append(out, of...)
		} else {
			out = append(out, e)
		}
	}
	return out
}
