package netns

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestAgentCrash kills an agent under load and starts it again: the pinned data
// path forwards, graceful restart keeps the route.
func TestAgentCrash(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 2})
	w4 := startLoad(t, l, lab.VIP4, 12*time.Second)
	w6 := startLoad(t, l, lab.VIP6, 12*time.Second, "-H", "Connection: close")
	monitor := l.Router.Start(t, "stdbuf", "-oL", "ip", "-ts", "monitor", "route")
	probe := 0
	fixture.Wait(t, 10*time.Second, "the monitor", func() error {
		probe++
		l.Router.Run(t, "ip", "route", "add", "blackhole", fmt.Sprintf("203.0.113.%d", probe))
		if !strings.Contains(monitor.Output(), "203.0.113.") {
			return errors.New("nothing seen yet")
		}
		return nil
	})
	l.LBs[0].KillAgent(t)
	l.LBs[0].StartAgent(t)
	w4.check(t)
	w6.check(t)
	l.WaitRoutes(t, 1)
	for line := range strings.Lines(monitor.Output()) {
		if strings.Contains(line, "Deleted") {
			t.Errorf("the router lost the route: %s", line)
		}
	}
}

// TestDrain ends one of two agents by SIGTERM. The router moves the node's flows
// to the other one at once, which does not know their translation: with NAT the
// requests under way there fail, and none that begin later.
func TestDrain(t *testing.T) {
	l := site(t, lab.Options{LBs: 2, Nodes: 2})
	w := startLoad(t, l, lab.VIP4, 6*time.Second, "-H", "Connection: close")
	if code := l.LBs[0].Agent.Stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	l.WaitRoutes(t, 1)
	for _, vip := range vips {
		servers(t, l, vip, 20)
	}
	w.atMost(t, w.connections)
}

// TestEndpoints follows the L7 tier: one leaves, all leave, one comes back.
func TestEndpoints(t *testing.T) {
	l := site(t, lab.Options{LBs: 2, Nodes: 2})
	l.Apply(t, lab.Web(l.Nodes[1]))
	for name, vip := range vips {
		fixture.Wait(t, 10*time.Second, name+" leaves node1", func() error {
			if count := servers(t, l, vip, 10); count["node1"] > 0 {
				return fmt.Errorf("%v", count)
			}
			return nil
		})
		if count := servers(t, l, vip, 20); count["node2"] != 20 {
			t.Errorf("%s: node1 has left, and still %v", name, count)
		}
	}
	l.Apply(t, lab.Web())
	l.WaitRoutes(t, 0)
	out, err := l.LBs[0].Penstock("services")
	if err != nil || !strings.Contains(out, "NoEndpoints") {
		t.Errorf("no endpoint, and the reason is not told: %v\n%s", err, out)
	}
	l.Apply(t, lab.Web(l.Nodes[0]))
	l.WaitRoutes(t, 2)
	if count := servers(t, l, lab.VIP4, 5); count["node1"] != 5 {
		t.Errorf("node1 is back, and still %v", count)
	}
}

// TestHalfWritten breaks the manifest in every agent's hands. Nothing changes,
// and it is said.
func TestHalfWritten(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b, text := l.LBs[0], lab.Web(l.Nodes...).YAML()
	w := startLoad(t, l, lab.VIP4, 4*time.Second, "-H", "Connection: close")
	b.Write(t, "web.yaml", text[:len(text)/2]+"\n  : {")
	fixture.Wait(t, 10*time.Second, "the problem in status", func() error {
		out, _ := b.Penstock("status") // it exits with 3 while there is a problem
		if !strings.Contains(out, "web.yaml") {
			return fmt.Errorf("status says\n%s", out)
		}
		return nil
	})
	l.WaitRoutes(t, 1)
	w.check(t)
	b.Write(t, "web.yaml", text)
	fixture.Wait(t, 10*time.Second, "no problem in status", func() error {
		out, err := b.Penstock("status")
		if strings.Contains(out, "web.yaml") {
			err = fmt.Errorf("status says\n%s", out)
		}
		return err
	})
}

// TestRouterRestart loses every session; routes come back by themselves.
func TestRouterRestart(t *testing.T) {
	l := site(t, lab.Options{LBs: 2, Nodes: 1})
	l.FRR.Stop(t)
	l.WaitRoutes(t, 0)
	l.FRR.Restart(t)
	l.WaitRoutes(t, 2)
	servers(t, l, lab.VIP6, 3)
}

// TestCommandLineWithoutAgent reads the pinned tables.
func TestCommandLineWithoutAgent(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	servers(t, l, lab.VIP4, 3)
	l.LBs[0].KillAgent(t)
	out, err := l.LBs[0].Penstock("backends")
	if err != nil || !strings.Contains(out, "10.1.1.2:8080") {
		t.Errorf("backends: %v\n%s", err, out)
	}
	if n := verdicts(t, l.LBs[0])["forward"]; n == 0 {
		t.Error("no packet was forwarded, say the pinned counters")
	}
}
