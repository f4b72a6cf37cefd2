package bgp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// Passive peers of both families share the listeners, one with a password of its own that changes under
// the living session.
func TestPassivePeers(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, 1)
	var routers []*fixture.FRR
	for i := range l.tors {
		lines := []string{"timers connect 1"}
		if i == 0 {
			lines = append(lines, "password first")
		}
		routers = append(routers, fixture.StartFRR(t, l.tors[i], frrConf(v4(i+1, 1, 1),
			neighbor{addr: v4(i+1, 1, 2), asn: lbASN, lines: lines}, neighbor{addr: v6(i+1, 1, 2), asn: lbASN, lines: lines})))
	}
	cfg := l.config(1)
	secret := func(password string) []bgp.Peer {
		for i := range cfg.Peers {
			cfg.Peers[i].Passive, cfg.Peers[i].Password = true, ""
			if i < 2 { // those of the first router
				cfg.Peers[i].Password = password
			}
		}
		return cfg.Peers
	}
	secret("first")
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	for _, tor := range l.tors {
		waitFIB(t, tor, vipA4, "lb1")
		waitFIB(t, tor, vipA6, "lb1")
	}

	// The router connects anew after its own restart, whatever became of the old connection.
	routers[1].Kill(t)
	routers[1].Restart(t)
	s.waitEstablished("tor2-v4", "tor2-v6")
	before := s.peer("tor1-v4")

	s.call("SetPeers", secret("second"))
	if lines(s.proc.Output(), "session goes on", "peer=tor1-v4") != 1 {
		t.Errorf("the log does not say that the session goes on:\n%s", s.proc.Output())
	}
	routers[0].Configure(t, "router bgp 64512\n neighbor "+v4(1, 1, 2)+" password second\n neighbor "+v6(1, 1, 2)+" password second\n")
	// FRR begins anew with another password; it finds ours.
	fixture.Wait(t, 30*time.Second, "sessions with the new password", func() error {
		return fibIs(l.tors[0], vipA4, "lb1")
	})
	s.waitEstablished("tor1-v4", "tor1-v6")
	if got := s.peer("tor1-v4"); got.Flaps > before.Flaps+1 {
		t.Errorf("the session flapped: %+v", got)
	}
}

// FRR that found nobody after a crash waits to be called, and would drop the routes that it kept.
func TestPassiveRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	r := l.startFRR(1)
	r.Configure(t, "router bgp 64512\n neighbor "+v4(1, 1, 2)+" timers connect 1\n neighbor "+v6(1, 1, 2)+" timers connect 1\n")
	cfg := restartable(l)
	for i := range cfg.Peers {
		cfg.Peers[i].Passive = true
	}
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	m := monitorRoutes(t, l.tors[0])
	s.crash()
	fixture.Wait(t, 30*time.Second, "FRR to wait to be called", func() error {
		for _, addr := range []string{v4(1, 1, 2), v6(1, 1, 2)} {
			var neighbors map[string]struct{ BGPState string }
			if err := r.Query("show bgp neighbors "+addr+" json", &neighbors); err != nil {
				return err
			}
			if got := neighbors[addr].BGPState; got != "Active" {
				return fmt.Errorf("neighbor %s is %s", addr, got)
			}
		}
		return nil
	})
	cfg.Restarting = true
	again := startSpeaker(t, l.lbs[0], cfg)
	again.sync(vipA4, vipA6)
	again.waitEstablished("tor1-v4", "tor1-v6")
	waitStale(t, false, r)
	if got := m.changes(vipA4, vipA6); len(got) != 0 {
		t.Errorf("routes that stayed were changed: %q", got)
	}
}
