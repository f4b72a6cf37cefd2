package bgp_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bgp"
)

const (
	vipA4, vipB4 = "203.0.113.1/32", "203.0.113.2/32"
	vipA6, vipB6 = "2001:db8::1/128", "2001:db8::2/128"
)

func TestAnnounceAndWithdraw(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	r := l.startFRR(1)
	s := startSpeaker(t, l.lbs[0], l.config(1))
	if got := s.peer("tor1-v4"); got.State != bgp.Idle || got.DownReason == "" {
		t.Errorf("before the first Sync the peer is %s, %q; want idle and a reason", got.State, got.DownReason)
	}

	s.sync(vipA4, vipB4, vipA6, vipB6)
	for _, prefix := range []string{vipA4, vipB4, vipA6, vipB6} {
		waitFIB(t, l.tors[0], prefix, "lb1")
	}
	waitRIB(t, r, vipA4, v4(1, 1, 2))
	waitRIB(t, r, vipA6, v6(1, 1, 2))

	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		got := s.peer(name)
		if got.Uptime <= 0 || got.Flaps != 0 || got.DownReason != "" {
			t.Errorf("peer %s: %+v", name, got)
		}
		if len(got.Families) != 1 || got.Families[0].Announced != 2 {
			t.Errorf("peer %s counts %+v, want 2 announced", name, got.Families)
		}
	}
	wantRoutes := []bgp.Route{
		{Prefix: netip.MustParsePrefix(vipA4), Peers: []bgp.RoutePeer{{Peer: "tor1-v4", NextHop: netip.MustParseAddr(v4(1, 1, 2))}}},
		{Prefix: netip.MustParsePrefix(vipB4), Peers: []bgp.RoutePeer{{Peer: "tor1-v4", NextHop: netip.MustParseAddr(v4(1, 1, 2))}}},
		{Prefix: netip.MustParsePrefix(vipA6), Peers: []bgp.RoutePeer{{Peer: "tor1-v6", NextHop: netip.MustParseAddr(v6(1, 1, 2))}}},
		{Prefix: netip.MustParsePrefix(vipB6), Peers: []bgp.RoutePeer{{Peer: "tor1-v6", NextHop: netip.MustParseAddr(v6(1, 1, 2))}}},
	}
	routes := s.routes()
	for i := range routes {
		if time.Since(routes[i].Since) > time.Minute {
			t.Errorf("route %s since %s", routes[i].Prefix, routes[i].Since)
		}
		routes[i].Since = time.Time{}
		for j := range routes[i].Peers {
			if time.Since(routes[i].Peers[j].Since) > time.Minute {
				t.Errorf("route %s to %+v", routes[i].Prefix, routes[i].Peers[j])
			}
			routes[i].Peers[j].Since = time.Time{}
		}
	}
	if diff := cmp.Diff(wantRoutes, routes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}

	// The same again changes nothing; fewer withdraws only the difference.
	m := monitorRoutes(t, l.tors[0])
	s.sync(vipA4, vipB4, vipA6, vipB6)
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipB4)
	waitFIB(t, l.tors[0], vipB6)
	if got := m.changes(vipA4, vipA6); len(got) != 0 {
		t.Errorf("routes that stayed wanted were touched: %q", got)
	}

	// An empty set withdraws all and keeps the sessions.
	s.sync()
	waitFIB(t, l.tors[0], vipA4)
	waitFIB(t, l.tors[0], vipA6)
	if got := s.peer("tor1-v4"); got.State != bgp.Established || got.Flaps != 0 {
		t.Errorf("after the withdrawal the session is %+v", got)
	}
}

func TestBrokenPathCostsOnlyItself(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	l.startFRR(1)
	s := startSpeaker(t, l.lbs[0], l.config(1))
	err := s.try("Sync", append(paths(vipA4), bgp.Path{Prefix: netip.MustParsePrefix("203.0.113.9/24")}))
	if err == nil || !strings.Contains(err.Error(), "203.0.113.9/24") || !strings.Contains(err.Error(), "203.0.113.0/24") {
		t.Errorf("error %v does not name the path and the way out", err)
	}
	waitFIB(t, l.tors[0], vipA4, "lb1")
}

func TestStoppedSpeakerRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	s := startSpeaker(t, l.lbs[0], l.config(1))
	s.sync(vipA4)
	s.call("Stop", bgp.StopDrain)
	if err := s.try("Sync", paths(vipA4)); err == nil || err.Error() != bgp.ErrStopped.Error() {
		t.Errorf("Sync after Stop: %v, want %v", err, bgp.ErrStopped)
	}
	s.call("End", Nothing(0))
}
