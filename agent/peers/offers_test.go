package peers

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bgp"
)

func TestPaths(t *testing.T) {
	configured := parse(t, "name: g, gateway: ipv4", "name: a, address: 192.0.2.9", "name: b, address: 192.0.2.8, nodes: [lb2]")
	paths := []bgp.Path{{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Offers: []bgp.Offer{
		{Peers: []string{"g", "a"}, Attributes: bgp.Attributes{Prepend: 1}}, {Peers: []string{"b"}}, {},
	}}}
	for gateways, want := range map[string][][]string{
		"192.0.2.1":           {{"g", "a"}, {"b"}, nil},
		"192.0.2.1 192.0.2.2": {{"g-1", "g-2", "a"}, {"b"}, nil},
	} {
		s := Resolve(configured, node("", gateways), Set{})
		got := s.Paths(paths)
		for i, o := range got[0].Offers {
			if d := cmp.Diff(want[i], o.Peers); d != "" || o.Prepend != paths[0].Offers[i].Prepend {
				t.Errorf("with gateways %s, offer %d: %s", gateways, i, d)
			}
		}
		for _, p := range s.Peers {
			if s.Entry(p.Name) != p.Of {
				t.Errorf("%s is of %s, want %s", p.Name, s.Entry(p.Name), p.Of)
			}
		}
	}
	if d := cmp.Diff([]string{"g", "a"}, paths[0].Offers[0].Peers); d != "" {
		t.Errorf("the paths that were given are changed: %s", d)
	}
}
