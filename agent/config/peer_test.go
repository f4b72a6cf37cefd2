package config

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/bgp"
)

func TestPeerBGP(t *testing.T) {
	common := bgp.Peer{ASN: 64513, Port: 179, HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, ConnectRetry: 2 * time.Second}
	tests := []struct {
		peer string
		want func(*bgp.Peer)
	}{
		{"address: 192.0.2.1", func(p *bgp.Peer) { p.Name, p.Address = "192.0.2.1", netip.MustParseAddr("192.0.2.1") }},
		{"address: fe80::1, interface: eth1", func(p *bgp.Peer) {
			p.Name, p.Address, p.Interface = "fe80::1", netip.MustParseAddr("fe80::1%eth1"), "eth1"
		}},
		{"interface: eth1", func(p *bgp.Peer) { p.Name, p.Interface = "eth1", "eth1" }},
		{"gateway: ipv6", func(p *bgp.Peer) { p.Name = "gateway-ipv6" }},
		{"gateway: ipv4, maxPrefixes: 5", func(p *bgp.Peer) {
			p.Name, p.MaxPrefixes, p.MaxPrefixesRestart = "gateway-ipv4", 5, 5*time.Minute
		}},
		{`address: "2001:db8::1", bfd: true, bfdMultihop: true`, func(p *bgp.Peer) {
			p.Name, p.Address = "2001:db8::1", netip.MustParseAddr("2001:db8::1")
			p.BFD = bgp.BFD{Enabled: true, Interval: 300 * time.Millisecond, Multiplier: 3, Multihop: true}
		}},
	}
	for _, tt := range tests {
		cfg := mustParse(t, "bgp: {asn: 64512, peers: [{asn: 64513, "+tt.peer+"}]}")
		want := common
		tt.want(&want)
		if d := cmp.Diff(want, cfg.BGP.Peers[0].BGP(), cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.peer, d)
		}
	}
}

// Each key of a peer makes a difference to the speaker, but for those that say which nodes
// have it, how its router is found, and what a password's file is called.
func TestPeerKeysReachTheSpeaker(t *testing.T) {
	elsewhere := map[string]bool{"nodes": true, "nodeSelector": true, "gateway": true, "passwordFile": true}
	for _, s := range peerSettings {
		before := defaultPeer()
		before.BFD, before.MaxPrefixes = true, 5
		after := before
		at := s.at(&after)
		for _, text := range []string{"true", "false", "17", "17s", "ipv6", "fe80::1%eth1", "eth1"} {
			if err := at.Set(text); err == nil && at.String() != s.at(&before).String() {
				break
			}
		}
		if same := reflect.DeepEqual(before.BGP(), after.BGP()); same != elsewhere[s.Name] {
			t.Errorf("%s = %s: the same to the speaker: %v", s.Name, at, same)
		}
	}
}
