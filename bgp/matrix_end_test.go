package bgp_test

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// long is a hold time that is not what ends a session.
func long(p *bgp.Peer) { p.HoldTime = 90 * time.Second }

func longNeighbor(n *neighbor) { n.keepalive, n.hold = 30, 90 }

var endRows = []row{
	{feature: "hold timer, the router hangs", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		start := time.Now()
		r.signal(g.t, syscall.SIGSTOP)
		g.lost(s, "tor1", 1, bgp.CauseHoldTimer, "hold timer expired: the router was silent for 3s")
		g.note("found in %s", since(start))
		r.signal(g.t, syscall.SIGCONT)
		g.says(r, g.at(1, 1, 2), "hold timer expired")
		s.waitEstablished("tor1")
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "hold timer, we hang", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, longNeighbor) // the lesser of both counts
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		g.signal(s, syscall.SIGSTOP)
		start := time.Now()
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
		g.signal(s, syscall.SIGCONT)
		// Our own timer may run before what the router said is read.
		fixture.Wait(g.t, 10*time.Second, "the reason", func() error {
			if got := s.peer("tor1"); got.Flaps != 1 || !strings.Contains(got.DownReason, "hold timer expired") {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		g.leaves(1, g.vip(0), "lb1")
	}},
	{feature: "shutdown by the router", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		r.shutdown(g.t, g.at(1, 1, 2), "reboot at ten")
		g.lost(s, "tor1", 1, bgp.CauseNotification, "administrative shutdown")
		g.waitLog(s, "level=WARN", "BGP session lost", "reboot at ten")
	}},
	{feature: "shutdown by us", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		s.call("StopWith", Farewell{Mode: bgp.StopDrain, Why: "node lb1 is drained"})
		g.leaves(1, g.vip(0))
		g.says(r, g.at(1, 1, 2), "node lb1 is drained")
	}},
	{feature: "peer removed", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		s.call("SetPeers", []bgp.Peer{})
		g.leaves(1, g.vip(0))
		g.says(r, g.at(1, 1, 2), "de-configured", "deconfigured")
	}},
	{feature: "one peer edited, others undisturbed", run: func(g *rig) {
		g.build(2, 1)
		routers := []router{g.router(1), g.router(2)}
		s := g.speaker(1)
		s.sync(g.vip(0))
		for i := range g.tors {
			g.leaves(i+1, g.vip(0), "lb1")
		}
		s.waitEstablished("tor1", "tor2")
		before := s.peer("tor1")
		m := monitorRoutes(g.t, g.tors[0])
		cfg := g.config(1)
		cfg.Peers[1].HoldTime = 6 * time.Second
		s.call("SetPeers", cfg.Peers)
		g.says(routers[1], g.at(2, 1, 2), "configuration change")
		s.waitEstablished("tor2")
		g.leaves(2, g.vip(0), "lb1")
		if got := s.peer("tor1"); !got.Since.Equal(before.Since) || got.Flaps != 0 {
			g.t.Errorf("the other peer was disturbed: %+v, before %+v", got, before)
		}
		if got := m.changes(g.vip(0)); len(got) != 0 {
			g.t.Errorf("the other router's route was changed: %q", got)
		}
		if lines(s.proc.Output(), "level=WARN", "session lost") != 0 {
			g.t.Errorf("what was asked for is warned of:\n%s", s.proc.Output())
		}
	}},
	{feature: "router restarted", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		r.stop(g.t)
		fixture.Wait(g.t, 10*time.Second, "the loss", func() error {
			if got := s.peer("tor1"); got.State == bgp.Established || got.Flaps != 1 || got.Causes[bgp.CauseNotification] != 1 {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		start := time.Now()
		r.restart(g.t)
		g.leaves(1, g.vip(0), "lb1")
		g.note("back in %s", since(start))
		if got := s.peer("tor1"); got.Flaps != 1 || got.DownReason == "" {
			g.t.Errorf("after the router's restart: %+v; want one flap and the reason of the loss", got)
		}
	}},
	{feature: "router killed and restarted", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		r.signal(g.t, syscall.SIGKILL)
		r.restart(g.t)
		g.leaves(1, g.vip(0), "lb1")
		s.waitEstablished("tor1")
		g.lost(s, "tor1", 1, bgp.CauseConnection, "connection")
	}},
	{feature: "drain of one of two", run: func(g *rig) {
		g.build(1, 2)
		g.router(1)
		var speakers []*speaker
		for j := range g.lbs {
			cfg := g.config(j + 1)
			cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true}
			s := startSpeaker(g.t, g.lbs[j], cfg)
			s.sync(g.vip(0))
			speakers = append(speakers, s)
		}
		g.leaves(1, g.vip(0), "lb1", "lb2")
		// Draining must not look like a crash, although graceful restart is agreed.
		start := time.Now()
		speakers[0].call("Stop", bgp.StopDrain)
		speakers[0].call("End", Nothing(0))
		speakers[0].crash()
		g.leaves(1, g.vip(0), "lb2")
		g.note("%s", since(start))
	}},
}

func (g *rig) signal(s *speaker, sig syscall.Signal) {
	g.t.Helper()
	if err := s.proc.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}
