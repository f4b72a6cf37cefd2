package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// No pool may have what BGP sessions need, in either family.
func TestPoolsOfPeers(t *testing.T) {
	for _, tt := range []struct {
		name string
		peer Peer
		want string // of the error; empty: none
	}{
		{"elsewhere", Peer{Address: netip.MustParseAddr("192.0.2.1"), LocalAddress: netip.MustParseAddr("2001:db8::1")}, ""},
		{"router", Peer{Address: netip.MustParseAddr("198.51.100.1")}, `"198.51.100.1": pool main has the address of BGP peer tor`},
		{"router v6", Peer{Address: netip.MustParseAddr("2001:db8:100::1")}, `"2001:db8:100::1": pool main has the address of BGP peer tor`},
		{"our end", Peer{LocalAddress: netip.MustParseAddr("198.51.100.2")}, "has the localAddress of BGP peer tor"},
		{"next hop", Peer{NextHop4: netip.MustParseAddr("198.51.100.3")}, "has the nextHop4 of BGP peer tor"},
		{"next hop v6", Peer{NextHop6: netip.MustParseAddr("2001:db8:100::3")}, "has the nextHop6 of BGP peer tor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.peer.Name = "tor"
			p := ipam.Pool{Name: "main", Ranges: []ipam.Range{
				ipam.RangeOf(netip.MustParsePrefix("198.51.100.0/24")), ipam.RangeOf(netip.MustParsePrefix("2001:db8:100::/64")),
			}}
			err := poolPeers(&p, "pools[0].addresses", []Peer{tt.peer}).join()
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
