package config

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bgp"
)

// What bgp says of an edit that resets a session is told in keys of the configuration.
func TestResets(t *testing.T) {
	peer := func(edit string) bgp.Peer {
		return mustParse(t, "bgp: {asn: 64512, peers: [{name: a, address: 192.0.2.1, asn: 64513"+edit+"}]}").BGP.Peers[0].BGP()
	}
	for edit, want := range map[string][]string{
		"":                                  nil,
		", maxPrefixes: 5":                  nil,
		", bfd: true, bfdInterval: 50ms":    nil,
		", nextHop4: 192.0.2.9":             nil,
		", nodes: [lb1], nodeSelector: a=b": nil,
		", holdTime: 30s":                   {"holdTime"},
		", passive: true, localASN: 64600":  {"localASN", "passive", "port"},
		", ttlSecurity: true":               {"ttlSecurity"},
		", port: 1179, localInterface: lo":  {"localInterface", "port"},
	} {
		if d := cmp.Diff(want, peer("").Resets(peer(edit))); d != "" {
			t.Errorf("edit%s: %s", edit, d)
		}
	}
	all := bgp.Peer{Name: "b", Address: netip.MustParseAddr("2001:db8::1"), Interface: "x", ASN: 1, LocalASN: 2, LocalInterface: "y", LocalAddress: netip.MustParseAddr("2001:db8::2"),
		Passive: true, Port: 3, HoldTime: 1, KeepaliveTime: 1, MultihopTTL: 4, TTLSecurity: true, NextHop4: netip.MustParseAddr("::1")}
	for _, key := range all.Resets(peer("")) {
		if !slices.ContainsFunc(peerSettings, func(s setting[Peer]) bool { return s.Name == key }) {
			t.Errorf("%s is no key of a peer", key)
		}
	}
}
