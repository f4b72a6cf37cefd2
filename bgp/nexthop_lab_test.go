package bgp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// A session over IPv4 that is up before its device has a global IPv6 address announces IPv6 once it has.
func TestNextHopComesLater(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	l.lbs[0].Run(t, "ip", "-6", "addr", "flush", "dev", "tor1", "scope", "global")
	r := fixture.StartFRR(t, l.tors[0], frrConf(v4(1, 1, 1), neighbor{addr: v4(1, 1, 2), asn: lbASN, families: []string{"ipv4", "ipv6"}}))
	cfg := l.config(1)
	cfg.Peers = cfg.Peers[:1]
	cfg.Peers[0].Families = []bgp.Family{bgp.IPv4, bgp.IPv6}
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	waitRIB(t, r, vipA4, v4(1, 1, 2))
	if got := s.peer("tor1-v4").Families[1]; got.Family != bgp.IPv6 || got.Reason == "" {
		t.Errorf("without an address: %+v", got)
	}
	since := s.peer("tor1-v4").Since
	l.lbs[0].AddAddr(t, "tor1", v6(1, 1, 2)+"/64")
	fixture.Wait(t, 20*time.Second, "the reason to go", func() error {
		if got := s.peer("tor1-v4").Families[1]; got.Reason != "" {
			return fmt.Errorf("%s", got.Reason)
		}
		return nil
	})
	waitRIB(t, r, vipA6, v6(1, 1, 2))
	if got := s.peer("tor1-v4"); !got.Since.Equal(since) {
		t.Errorf("the session was reset: %+v", got)
	}
	for _, route := range s.routes() {
		if route.Prefix == netip.MustParsePrefix(vipA6) && route.Peers[0].NextHop.String() != v6(1, 1, 2) {
			t.Errorf("next hop %s", route.Peers[0].NextHop)
		}
	}
}
