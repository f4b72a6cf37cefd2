package bgp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// birdConf is the configuration of a BIRD router with a session per family to every node.
func birdConf(routerID string, nodes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "router id %s;\nprotocol device { scan time 1; }\n", routerID)
	for _, channel := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol kernel { %s { export where source = RTS_BGP; }; merge paths yes; }\n", channel)
	}
	for j := range nodes {
		for _, s := range []struct{ channel, addr, length string }{{"ipv4", v4(1, j+1, 2), "32"}, {"ipv6", v6(1, j+1, 2), "128"}} {
			fmt.Fprintf(&b, `protocol bgp lb%d_%s {
	local as %d;
	neighbor %s as %d;
	hold time 3;
	connect retry time 2;
	error wait time 1, 3;
	graceful restart aware;
	%s {
		import filter { if net.len = %s then accept; reject; };
		export none;
	};
}
`, j+1, s.channel, torASN, s.addr, lbASN, s.channel, s.length)
		}
	}
	return b.String()
}

func TestBIRD(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 2)
	router := fixture.StartBIRD(t, l.tors[0], birdConf(v4(1, 1, 1), 2))
	var speakers []*speaker
	for j := range l.lbs {
		cfg := l.config(j + 1)
		cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true, RestartTime: 60 * time.Second}
		s := startSpeaker(t, l.lbs[j], cfg)
		s.sync(vipA4, vipB4, vipA6, vipB6)
		speakers = append(speakers, s)
	}
	waitBIRDRoutes(t, l, 10, []string{vipA4, vipB4, vipA6, vipB6}, "lb1", "lb2")

	// Withdrawn from one node, then from both.
	speakers[0].sync(vipA4, vipA6)
	waitBIRDRoutes(t, l, 10, []string{vipB4, vipB6}, "lb2")
	speakers[1].sync(vipA4, vipA6)
	waitBIRDRoutes(t, l, 10, []string{vipB4, vipB6})

	// A crash keeps the routes, and the restart takes them over without a gap.
	m := monitorRoutes(t, l.tors[0])
	speakers[0].crash()
	fixture.Wait(t, 10*time.Second, "BIRD to keep the routes of a dead session", func() error {
		out, err := router.Birdc("show", "protocols", "all", "lb1_ipv4")
		if err != nil || strings.Contains(out, "Established") || !strings.Contains(out, "Neighbor graceful restart active") {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	cfg := l.config(1)
	cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true, RestartTime: 60 * time.Second}
	cfg.Restarting = true
	again := startSpeaker(t, l.lbs[0], cfg)
	again.sync(vipA4, vipA6)
	again.waitEstablished("tor1-v4", "tor1-v6")
	// A new route has passed the session after everything that could have been flushed.
	again.sync(vipA4, vipA6, vipB4, vipB6)
	waitBIRDRoutes(t, l, 30, []string{vipB4, vipB6}, "lb1")
	if got := m.changes(vipA4, vipA6); len(got) != 0 {
		t.Errorf("routes that stayed were changed: %q", got)
	}

	speakers[1].call("Stop", bgp.StopDrain)
	waitBIRDRoutes(t, l, 5, []string{vipA4, vipA6}, "lb1")

	router.Restart(t)
	waitBIRDRoutes(t, l, 30, []string{vipA4, vipA6}, "lb1")
}

// waitBIRDRoutes waits up to some seconds until the kernel sends all the prefixes to these devices.
func waitBIRDRoutes(t *testing.T, l *lab, seconds int, prefixes []string, devs ...string) {
	t.Helper()
	fixture.Wait(t, time.Duration(seconds)*time.Second, fmt.Sprintf("%v to leave by %v", prefixes, devs), func() error {
		for _, prefix := range prefixes {
			if err := fibIs(l.tors[0], prefix, devs...); err != nil {
				return fmt.Errorf("%s: %w", prefix, err)
			}
		}
		return nil
	})
}
