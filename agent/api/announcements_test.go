package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
)

func TestAnnouncements(t *testing.T) {
	since := time.Unix(1_700_000_000, 0)
	prefix := netip.MustParsePrefix
	vip := func(p string, reason desired.Reason, detail string) VIPStatus {
		return VIPStatus{VIP: prefix(p).Addr(), Prefix: prefix(p), Reason: reason, Detail: detail, Services: []string{"default/web:http/tcp/" + p}}
	}
	aggregated := func(p, within string) VIPStatus {
		v := vip(p, desired.Announceable, "")
		v.Announced, v.Suppressed, v.Within = true, true, []netip.Prefix{prefix(within)}
		return v
	}
	both := []bgp.FamilyState{{Family: bgp.IPv4}, {Family: bgp.IPv6}}
	peers := []bgp.PeerState{
		{Name: "tor1", State: bgp.Established, Families: both},
		{Name: "tor2", State: bgp.Established, Families: both},
		{Name: "tor3", State: bgp.Active, DownReason: "hold timer expired", Families: both[1:]},
	}
	hop := bgp.RoutePeer{Peer: "tor1", NextHop: netip.MustParseAddr("10.0.0.1"), Since: since, Attributes: bgp.Attributes{Prepend: 2}}
	got := Announcements([]VIPStatus{
		vip("2001:db8::2/128", "NoSession", "no session that carries ipv6 routes is up"),
		vip("192.0.2.2/32", desired.NoUsableEndpoints, "2 endpoints, none ready"),
		vip("192.0.2.1/32", desired.Announceable, ""),
		vip("2001:db8::1/128", desired.Announceable, ""),
		aggregated("192.0.2.3/32", "192.0.2.0/24"),
		aggregated("2001:db8::3/128", "2001:db8::/64"),
	}, []bgp.Route{
		{Prefix: prefix("192.0.2.1/32"), Since: since, Peers: []bgp.RoutePeer{hop}},
		{Prefix: prefix("2001:db8::1/128"), Since: since, Peers: []bgp.RoutePeer{hop, {Peer: "tor2"}}},
		{Prefix: prefix("2001:db8::2/128"), Since: since},
	}, peers)
	down := MissingPeer{"tor3", "the session is active: hold timer expired"}
	refused := func(peer string) MissingPeer { return MissingPeer{peer, "it is not offered to this peer"} }
	of := func(p string) []string { return []string{"default/web:http/tcp/" + p} }
	want := []Announcement{
		{Prefix: prefix("192.0.2.1/32"), Announced: true, Since: since, Peers: []bgp.RoutePeer{hop}, Missing: []MissingPeer{refused("tor2")}, Services: of("192.0.2.1/32")},
		{Prefix: prefix("192.0.2.2/32"), Peers: []bgp.RoutePeer{}, Reason: desired.NoUsableEndpoints, Detail: "2 endpoints, none ready", Services: of("192.0.2.2/32")},
		{Prefix: prefix("192.0.2.3/32"), Peers: []bgp.RoutePeer{}, Detail: "by aggregate 192.0.2.0/24", Services: of("192.0.2.3/32")},
		{Prefix: prefix("2001:db8::1/128"), Announced: true, Since: since, Peers: []bgp.RoutePeer{hop, {Peer: "tor2"}}, Missing: []MissingPeer{down}, Services: of("2001:db8::1/128")},
		{Prefix: prefix("2001:db8::2/128"), Since: since, Peers: []bgp.RoutePeer{}, Missing: []MissingPeer{refused("tor1"), refused("tor2"), down},
			Reason: "NoSession", Detail: "no session that carries ipv6 routes is up", Services: of("2001:db8::2/128")},
		{Prefix: prefix("2001:db8::3/128"), Peers: []bgp.RoutePeer{}, Detail: "by aggregate 2001:db8::/64", Services: of("2001:db8::3/128")},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}
