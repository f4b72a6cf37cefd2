package peers

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
)

// gateways gives a peer for each gateway of the family. Where there is none, those that the
// node had stay.
func (s *Set) gateways(p *config.Peer, node Node, had []Peer) (out []Peer) {
	family := bgp.Family(p.Gateway)
	found := slices.Compact(slices.SortedFunc(slices.Values(node.Gateways[family]), netip.Addr.Compare))
	if len(found) == 0 {
		const none = "this node has no %s default route with a gateway; %s"
		switch {
		case len(had) > 0:
			for _, h := range had {
				if h.Address.IsValid() {
					out = append(out, one(p, h.Name, h.Address))
				}
			}
			s.complain(p, none, p.Gateway, "the router of before is kept until there is another")
		default:
			s.complain(p, none, p.Gateway, "add one, or give the router's address")
		}
		return out
	}
	names := namesOf(p.Name, found, had)
	for _, a := range found {
		out = append(out, one(p, names[a], a))
	}
	return out
}

// namesOf gives each gateway a name: the one that it has, or the entry's where it is alone, or
// that with the least number that is free. The entry's own name stands for number 1.
func namesOf(entry string, found []netip.Addr, had []Peer) map[netip.Addr]string {
	names, taken := map[netip.Addr]string{}, map[string]bool{}
	for _, h := range had {
		if slices.Contains(found, h.Address) {
			names[h.Address], taken[h.Name] = h.Name, true
		}
	}
	numbered := func(n int) string { return fmt.Sprintf("%s-%d", entry, n) }
	taken[numbered(1)] = taken[numbered(1)] || taken[entry]
	for _, a := range found {
		if names[a] != "" {
			continue
		}
		name, n := entry, 1
		for len(found) > 1 && (name == entry || taken[name]) {
			name = numbered(n)
			n++
		}
		names[a], taken[name] = name, true
	}
	return names
}

// one is the peer of an entry with a router's address. The routes are those of the entry's
// family, also where its gateway is of the other (RFC 8950).
func one(p *config.Peer, name string, router netip.Addr) Peer {
	q := p.BGP()
	q.Name, q.Address = name, router
	if len(q.Families) == 0 && router.Is4() != (p.Gateway == string(bgp.IPv4)) {
		q.Families = []bgp.Family{bgp.Family(p.Gateway)}
	}
	return Peer{q, p.Name}
}
