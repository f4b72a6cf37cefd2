package drain

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/bgp"
)

func TestPath(t *testing.T) {
	num := func(n uint32) *uint32 { return &n }
	gshut := []bgp.Community{bgp.GracefulShutdown}
	for _, tt := range []struct {
		name    string
		options Options
		offers  []bgp.Offer
		want    []bgp.Offer
	}{
		{"plain, for all", Options{}, nil, []bgp.Offer{{Attributes: bgp.Attributes{Communities: gshut, LocalPref: num(0)}}}},
		{"MED and prepend", Options{MED: 7, Prepend: 2}, nil,
			[]bgp.Offer{{Attributes: bgp.Attributes{Communities: gshut, LocalPref: num(0), MED: num(7), Prepend: 2}}}},
		{"each offer keeps its peers and the rest of its attributes", Options{MED: 7, Prepend: 30},
			[]bgp.Offer{
				{Peers: []string{"tor1"}, Attributes: bgp.Attributes{
					Communities: []bgp.Community{100}, LargeCommunities: []bgp.LargeCommunity{{Global: 1}}, LocalPref: num(200), MED: num(1), Prepend: 3, Bandwidth: 5,
				}},
				{Attributes: bgp.Attributes{Communities: []bgp.Community{bgp.GracefulShutdown, 5}}},
			},
			[]bgp.Offer{
				{Peers: []string{"tor1"}, Attributes: bgp.Attributes{
					Communities: []bgp.Community{100, bgp.GracefulShutdown}, LargeCommunities: []bgp.LargeCommunity{{Global: 1}}, LocalPref: num(0), MED: num(7), Prepend: bgp.MaxPrepend, Bandwidth: 5,
				}},
				{Attributes: bgp.Attributes{Communities: []bgp.Community{bgp.GracefulShutdown, 5}, LocalPref: num(0), MED: num(7), Prepend: 30}},
			}},
		{"a MED of its own stays where none is configured", Options{}, []bgp.Offer{{Attributes: bgp.Attributes{MED: num(3)}}},
			[]bgp.Offer{{Attributes: bgp.Attributes{Communities: gshut, LocalPref: num(0), MED: num(3)}}}},
	} {
		for _, prefix := range []string{"192.0.2.1/32", "2001:db8::1/128"} {
			t.Run(tt.name+" "+prefix, func(t *testing.T) {
				p := bgp.Path{Prefix: netip.MustParsePrefix(prefix), Offers: tt.offers}
				before := bgp.Path{Prefix: p.Prefix, Offers: slices.Clone(tt.offers)}
				got := tt.options.Path(p)
				compare := cmpopts.EquateComparable(netip.Prefix{})
				if d := cmp.Diff(bgp.Path{Prefix: p.Prefix, Offers: tt.want}, got, compare); d != "" {
					t.Errorf("want -, got +\n%s", d)
				}
				if d := cmp.Diff(before, p, compare); d != "" {
					t.Errorf("the path itself changed: was -, is +\n%s", d)
				}
				if !got.Equal(tt.options.Path(p)) || got.Equal(p) {
					t.Error("made twice it differs, or it is as the path is")
				}
			})
		}
	}
}
