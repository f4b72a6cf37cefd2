package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/bgp"
)

// A VIP has the peers of each route that brings packets to it, and says which those are.
func TestExplainAggregates(t *testing.T) {
	for _, c := range []struct {
		name       string
		suppressed bool
		how, how6  string
		peers      []string
	}{
		{"in its stead", true, "by aggregate 192.0.2.0/24", "by aggregate 2001:db8::/64", []string{"tor-2", "tor-3"}},
		{"beside it", false, "by its own prefix and aggregate 192.0.2.0/24", "by its own prefix and aggregate 2001:db8::/64", []string{"tor-1", "tor-2", "tor-3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := dual()
			a.routes = nil
			for i, prefix := range []string{"192.0.2.0/24", "2001:db8::/64"} {
				v := &a.status.VIPs[i]
				v.Suppressed, v.Within = c.suppressed, []netip.Prefix{netip.MustParsePrefix(prefix)}
				a.routes = append(a.routes, bgp.Route{Prefix: v.Within[0], Since: time.Unix(50, 0), Peers: []bgp.RoutePeer{{Peer: "tor-2"}, {Peer: "tor-3"}}})
				if !c.suppressed {
					a.routes = append(a.routes, bgp.Route{Prefix: v.Prefix, Since: time.Unix(100, 0), Peers: []bgp.RoutePeer{{Peer: "tor-1"}, {Peer: "tor-2"}}})
				}
			}
			a.routes = append(a.routes, bgp.Route{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Since: time.Unix(1, 0), Peers: []bgp.RoutePeer{{Peer: "tor-9"}}})
			e, found, err := Explain(a, "a/web")
			if !found || err != nil || e.Force != InForce || len(e.VIPs) != 2 {
				t.Fatalf("found: %v, %v, %+v", found, err, e)
			}
			for i, how := range []string{c.how, c.how6} {
				v := e.VIPs[i]
				var peers []string
				for _, p := range v.Peers {
					peers = append(peers, p.Peer)
				}
				if d := cmp.Diff(c.peers, peers, cmpopts.SortSlices(func(a, b string) bool { return a < b })); d != "" || v.How() != how || !v.Since.Equal(time.Unix(50, 0)) {
					t.Errorf("VIP %s %q since %s, peers: want -, got +\n%s", v.VIP, v.How(), v.Since, d)
				}
			}
		})
	}
}
