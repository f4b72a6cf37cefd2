package bgp_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

// Each field of a peer either takes a new session or does not; one that is forgotten here fails the test.
func TestPeerResets(t *testing.T) {
	addr := netip.MustParseAddr
	peer := bgp.Peer{Name: "tor1", Address: addr("192.0.2.254"), ASN: torASN}
	tried := map[string]bool{}
	for _, c := range []struct {
		field string // as Go has it
		edit  func(p *bgp.Peer)
		want  []string
	}{
		{"Name", func(p *bgp.Peer) { p.Name = "tor2" }, []string{"name"}},
		{"Address", func(p *bgp.Peer) { p.Address = addr("192.0.2.253") }, []string{"address"}},
		{"Address", func(p *bgp.Peer) { p.Address = addr("2001:db8::1") }, []string{"address", "families"}},
		{"Address", func(p *bgp.Peer) { p.Address = addr("::ffff:192.0.2.254") }, nil},
		{"Interface", func(p *bgp.Peer) { p.Interface = "eth0" }, []string{"interface"}},
		{"ASN", func(p *bgp.Peer) { p.ASN = 65000 }, []string{"asn"}},
		{"LocalASN", func(p *bgp.Peer) { p.LocalASN = 65000 }, []string{"localASN"}},
		{"LocalAddress", func(p *bgp.Peer) { p.LocalAddress = addr("192.0.2.7") }, []string{"localAddress"}},
		{"LocalInterface", func(p *bgp.Peer) { p.LocalInterface = "lo" }, []string{"localInterface"}},
		{"Passive", func(p *bgp.Peer) { p.Passive = true }, []string{"passive"}},
		{"Port", func(p *bgp.Peer) { p.Port = 1790 }, []string{"port"}},
		{"HoldTime", func(p *bgp.Peer) { p.HoldTime = 9 * time.Second }, []string{"holdTime", "keepaliveTime"}},
		{"HoldTime", func(p *bgp.Peer) { p.HoldTime = 90 * time.Second }, nil},
		{"KeepaliveTime", func(p *bgp.Peer) { p.KeepaliveTime = time.Second }, []string{"keepaliveTime"}},
		{"MultihopTTL", func(p *bgp.Peer) { p.MultihopTTL = 3 }, []string{"multihopTTL"}},
		{"TTLSecurity", func(p *bgp.Peer) { p.TTLSecurity = true }, []string{"ttlSecurity"}},
		{"Families", func(p *bgp.Peer) { p.Families = []bgp.Family{bgp.IPv6, bgp.IPv4} }, []string{"families"}},
		{"Families", func(p *bgp.Peer) { p.Families = []bgp.Family{bgp.IPv4} }, nil},
		{"NextHop4", func(p *bgp.Peer) { p.NextHop4 = addr("192.0.2.9") }, nil},
		{"NextHop4", func(p *bgp.Peer) { p.NextHop4 = addr("2001:db8::9") }, []string{"nextHop4"}},
		{"NextHop6", func(p *bgp.Peer) { p.NextHop6 = addr("2001:db8::9") }, []string{"families"}},
		{"Password", func(p *bgp.Peer) { p.Password = "secret" }, nil},
		{"ConnectRetry", func(p *bgp.Peer) { p.ConnectRetry = 9 * time.Second }, nil},
		{"MaxPrefixes", func(p *bgp.Peer) { p.MaxPrefixes = 10 }, nil},
		{"MaxPrefixesRestart", func(p *bgp.Peer) { p.MaxPrefixesRestart = time.Minute }, nil},
		{"BFD", func(p *bgp.Peer) { p.BFD.Enabled = true }, nil},
	} {
		edited := peer
		c.edit(&edited)
		tried[c.field] = true
		for _, got := range [][]string{peer.Resets(edited), edited.Resets(peer)} {
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.field, got, c.want)
			}
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[bgp.Peer]()) {
		if !tried[f.Name] {
			t.Errorf("field %s is not tried", f.Name)
		}
	}
}
