package bgp_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// graceful is node lb with graceful restart.
func (g *rig) graceful(lb int, restarting bool) bgp.Config {
	cfg := g.config(lb)
	cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true, RestartTime: 60 * time.Second}
	cfg.Restarting = restarting
	return cfg
}

// keeps waits until a router has no session with a node, and still its route.
func (g *rig) keeps(r router, lb, n int) {
	g.t.Helper()
	addr := g.at(1, lb, 2)
	fixture.Wait(g.t, 20*time.Second, "the router to keep the routes of a dead session", func() error {
		if up, err := r.established(addr); err != nil || up {
			return errors.Join(err, errors.New("it is established"))
		}
		return nil
	})
	got, err := r.told(g.vip(n))
	if err != nil || len(got) == 0 {
		g.t.Fatalf("the router has %+v of %s, %v", got, g.vip(n), err)
	}
}

// untouched fails if the kernel's route of a VIP was removed.
func (g *rig) untouched(m *routeMonitor, vip string) {
	g.t.Helper()
	if got := m.changes(vip); len(got) != 0 {
		g.t.Errorf("the route was changed: %q", got)
	}
}

var restartRows = []row{
	{feature: "crash and restart, graceful", run: func(g *rig) {
		g.restartOne(func(s *speaker) { s.crash() })
	}},
	{feature: "StopRestart and restart, graceful", run: func(g *rig) {
		g.restartOne(func(s *speaker) {
			s.call("Stop", bgp.StopRestart)
			s.proc.Stop(g.t, syscall.SIGTERM)
		})
	}},
	{feature: "crash, not graceful", run: func(g *rig) {
		g.build(1, 1)
		g.router(1, longNeighbor)
		s := g.speaker(1, long)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		start := time.Now()
		s.crash()
		g.leaves(1, g.vip(0))
		g.note("routes gone in %s", since(start))
	}},
	{feature: "crash, and no return in time", run: func(g *rig) {
		g.build(1, 1)
		g.router(1)
		cfg := g.graceful(1, false)
		cfg.GracefulRestart.RestartTime = 2 * time.Second
		s := startSpeaker(g.t, g.lbs[0], cfg)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		start := time.Now()
		s.crash()
		g.leaves(1, g.vip(0))
		if took := since(start); took < 1500*time.Millisecond {
			g.t.Errorf("the routes went after %s, before the restart time of 2s", took)
		} else {
			g.note("routes gone in %s of 2s", took)
		}
	}},
	{feature: "both nodes restart at once", run: func(g *rig) {
		g.build(1, 2)
		g.router(1)
		client := g.client(g.vip(0))
		var speakers []*speaker
		for j := range g.lbs {
			s := startSpeaker(g.t, g.lbs[j], g.graceful(j+1, false))
			s.sync(g.vip(0))
			speakers = append(speakers, s)
		}
		g.leaves(1, g.vip(0), "lb1", "lb2")
		m, p := monitorRoutes(g.t, g.tors[0]), g.ping(client, g.vip(0))
		for _, s := range speakers {
			s.crash()
		}
		for j := range g.lbs {
			speakers[j] = startSpeaker(g.t, g.lbs[j], g.graceful(j+1, true))
			speakers[j].sync(g.vip(0))
		}
		for j, s := range speakers {
			s.waitEstablished("tor1")
			s.sync(g.vip(0), g.vip(1+j))
			g.leaves(1, g.vip(1+j), fmt.Sprintf("lb%d", j+1))
		}
		g.leaves(1, g.vip(0), "lb1", "lb2")
		g.untouched(m, g.vip(0))
		p.none()
	}},
	{feature: "router and node restart at once", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := startSpeaker(g.t, g.lbs[0], g.graceful(1, false))
		s.sync(g.vip(0), g.vip(1))
		g.leaves(1, g.vip(0), "lb1")
		s.crash()
		r.signal(g.t, syscall.SIGKILL)
		start := time.Now()
		again := startSpeaker(g.t, g.lbs[0], g.graceful(1, true))
		again.sync(g.vip(0))
		r.restart(g.t)
		g.leaves(1, g.vip(0), "lb1")
		g.leaves(1, g.vip(1))
		g.note("back in %s", since(start))
		again.waitEstablished("tor1")
	}},
	{feature: "long-lived graceful restart", run: func(g *rig) {
		g.build(1, 1)
		side := g.side(1)
		if g.kind == frr {
			side.lines = fmt.Sprintf("router bgp %d\n bgp graceful-restart\n bgp long-lived-graceful-restart stale-time 600\n", torASN)
		}
		r := g.start(1, side)
		config := func(restarting bool) bgp.Config {
			cfg := g.graceful(1, restarting)
			cfg.GracefulRestart.RestartTime, cfg.GracefulRestart.LongLived = 2*time.Second, 600*time.Second
			return cfg
		}
		s := startSpeaker(g.t, g.lbs[0], config(false))
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		m := monitorRoutes(g.t, g.tors[0])
		s.crash()
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513", communities: "65535:6", stale: true})
		g.leaves(1, g.vip(0), "lb1")
		again := startSpeaker(g.t, g.lbs[0], config(true))
		again.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		for _, change := range m.changes(g.vip(0)) {
			if strings.HasPrefix(change, "Deleted") {
				g.t.Errorf("the route was removed: %q", change)
			}
		}
	}},
}

// restartOne ends a speaker and starts it again, with fewer VIPs, under ping.
func (g *rig) restartOne(end func(*speaker)) {
	g.build(1, 1)
	r := g.router(1)
	client := g.client(g.vip(0))
	s := startSpeaker(g.t, g.lbs[0], g.graceful(1, false))
	s.sync(g.vip(0), g.vip(1))
	g.leaves(1, g.vip(0), "lb1")
	g.leaves(1, g.vip(1), "lb1")
	m, p := monitorRoutes(g.t, g.tors[0]), g.ping(client, g.vip(0))
	end(s)
	g.keeps(r, 1, 0)
	p.more()
	again := startSpeaker(g.t, g.lbs[0], g.graceful(1, true))
	again.sync(g.vip(0))
	g.leaves(1, g.vip(1)) // which goes with the End-of-RIB
	again.waitEstablished("tor1")
	again.sync(g.vip(0), g.vip(2))
	g.leaves(1, g.vip(2), "lb1")
	g.untouched(m, g.vip(0))
	p.none()
}
