package bgp_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// A router of our own AS takes a path that is prepended for others, and Routes tells what each was told.
func TestPrependedForOthers(t *testing.T) {
	for name, asn := range map[string]int{"iBGP": torASN, "eBGP": lbASN} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1, 1)
			fixture.StartFRR(t, l.tors[0], frrConf(v4(1, 1, 1), neighbor{addr: v4(1, 1, 2), asn: asn}, neighbor{addr: v6(1, 1, 2), asn: asn}))
			cfg := l.config(1)
			cfg.ASN = uint32(asn)
			s := startSpeaker(t, l.lbs[0], cfg)
			var wanted []bgp.Path
			for _, vip := range []string{vipA4, vipA6} {
				wanted = append(wanted, bgp.Path{Prefix: netip.MustParsePrefix(vip), Offers: []bgp.Offer{{Attributes: bgp.Attributes{Prepend: 2, LocalPref: new(uint32(200))}}}})
			}
			s.call("Sync", wanted)
			waitFIB(t, l.tors[0], vipA4, "lb1")
			waitFIB(t, l.tors[0], vipA6, "lb1")
			want := bgp.Attributes{Prepend: 2}
			if asn == torASN {
				want = bgp.Attributes{LocalPref: new(uint32(200))}
			}
			for _, route := range s.routes() {
				if len(route.Peers) != 1 || !route.Peers[0].Equal(want) {
					text, _ := json.Marshal(route)
					t.Errorf("Routes has %s, want one peer that was told %+v", text, want)
				}
			}
		})
	}
}
