package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
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

func TestECMPAndDrain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 2)
	l.startFRR(1)
	var speakers []*speaker
	for j := range l.lbs {
		cfg := l.config(j + 1)
		cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true}
		s := startSpeaker(t, l.lbs[j], cfg)
		s.sync(vipA4, vipA6)
		speakers = append(speakers, s)
	}
	waitFIB(t, l.tors[0], vipA4, "lb1", "lb2")
	waitFIB(t, l.tors[0], vipA6, "lb1", "lb2")

	// Draining must not look like a crash: the router forgets the routes although graceful restart
	// is agreed, also if the process ends right after Stop.
	speakers[0].call("Stop", bgp.StopDrain)
	speakers[0].call("End", Nothing(0))
	speakers[0].crash()
	fixture.Wait(t, 5*time.Second, "the drained node to leave", func() error {
		if err := fibIs(l.tors[0], vipA4, "lb2"); err != nil {
			return err
		}
		return fibIs(l.tors[0], vipA6, "lb2")
	})
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

func TestPassword(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 2)
	secret := []string{"password right"}
	fixture.StartFRR(t, l.tors[0], frrConf(v4(1, 1, 1),
		neighbor{addr: v4(1, 1, 2), asn: lbASN, lines: secret}, neighbor{addr: v6(1, 1, 2), asn: lbASN, lines: secret},
		neighbor{addr: v4(1, 2, 2), asn: lbASN, lines: secret}, neighbor{addr: v6(1, 2, 2), asn: lbASN, lines: secret}))
	start := func(j int, password string) *speaker {
		cfg := l.config(j)
		for i := range cfg.Peers {
			cfg.Peers[i].Password = password
		}
		s := startSpeaker(t, l.lbs[j-1], cfg)
		s.sync(vipA4, vipA6)
		return s
	}
	right, wrong := start(1, "right"), start(2, "wrong")
	right.waitEstablished("tor1-v4", "tor1-v6")
	waitFIB(t, l.tors[0], vipA4, "lb1")
	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		fixture.Wait(t, 20*time.Second, "the reason of "+name, func() error {
			got := wrong.peer(name)
			if got.State == bgp.Established || !strings.Contains(got.DownReason, "password") {
				return fmt.Errorf("%s, %q", got.State, got.DownReason)
			}
			return nil
		})
	}
}

func TestWrongASN(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	// Of the first session the router expects another ASN, of the second one we do.
	fixture.StartFRR(t, l.tors[0], frrConf(v4(1, 1, 1), neighbor{addr: v4(1, 1, 2), asn: 65000}, neighbor{addr: v6(1, 1, 2), asn: lbASN}))
	cfg := l.config(1)
	cfg.Peers[1].ASN = 65001
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	for name, want := range map[string]string{"tor1-v4": "refused our OPEN", "tor1-v6": "it is in AS 64512, and the configuration expects AS 65001"} {
		fixture.Wait(t, 20*time.Second, "the reason of "+name, func() error {
			if got := s.peer(name); got.State == bgp.Established || !strings.Contains(strings.ToLower(got.DownReason), strings.ToLower(want)) {
				return fmt.Errorf("%s, %q", got.State, got.DownReason)
			}
			if lines(strings.ToLower(s.proc.Output()), "level=warn", "peer="+name, strings.ToLower(want)) == 0 {
				return errors.New("the log does not say so")
			}
			return nil
		})
	}
}

func TestRouterRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	r := l.startFRR(1)
	s := startSpeaker(t, l.lbs[0], l.config(1))
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	r.Stop(t)
	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		fixture.Wait(t, 10*time.Second, "the loss of "+name, func() error {
			if got := s.peer(name); got.State == bgp.Established || got.Flaps != 1 || !strings.Contains(got.DownReason, "cease") && !strings.Contains(got.DownReason, "refused") {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
	}
	r.Restart(t)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	if got := s.peer("tor1-v4"); got.Flaps != 1 || got.DownReason == "" || strings.Contains(got.DownReason, "refused") {
		t.Errorf("after the router's restart: %+v; want one flap and the reason of the loss", got)
	}
}

func TestNoTransit(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, 1)
	r1, r2 := l.startFRR(1), l.startFRR(2)
	r1.Configure(t, fmt.Sprintf(`router bgp %d
 no bgp network import-check
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:99::/48
 exit-address-family
`, torASN))
	// So that nothing but our policy stands in the way.
	r2.Configure(t, fmt.Sprintf(`router bgp %[1]d
 address-family ipv4 unicast
  no neighbor %[2]s prefix-list VIPS in
  neighbor %[2]s allowas-in
 exit-address-family
 address-family ipv6 unicast
  no neighbor %[3]s prefix-list VIPS in
  neighbor %[3]s allowas-in
 exit-address-family
`, torASN, v4(2, 1, 2), v6(2, 1, 2)))
	s := startSpeaker(t, l.lbs[0], l.config(1))
	s.sync(vipA4, vipA6)
	fixture.Wait(t, 30*time.Second, "the router's routes", func() error {
		for _, name := range []string{"tor1-v4", "tor1-v6"} {
			if got := s.peer(name); len(got.Families) != 1 || got.Families[0].Received == 0 {
				return fmt.Errorf("peer %s: %+v", name, got)
			}
		}
		return nil
	})
	waitRIB(t, r2, vipA4, v4(2, 1, 2))
	waitRIB(t, r2, vipA6, v6(2, 1, 2))
	// A later announcement has passed the sessions after anything that would have been passed on.
	s.sync(vipA4, vipA6, vipB4, vipB6)
	waitRIB(t, r2, vipB4, v4(2, 1, 2))
	waitRIB(t, r2, vipB6, v6(2, 1, 2))
	for family, want := range map[string][]string{"ipv4": {vipA4, vipB4}, "ipv6": {vipA6, vipB6}} {
		table, err := rib(r2, family)
		if err != nil {
			t.Fatal(err)
		}
		if len(table) != len(want) {
			t.Errorf("%s RIB of the second router: %v, want only %v", family, table, want)
		}
	}
}
