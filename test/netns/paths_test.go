package netns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// secondArm gives an LB node a link of its own to an ingress node, and the routes
// that make both use it. The LB node's end is device.
func secondArm(t *testing.T, b *lab.LB, n *lab.Node, device string) {
	t.Helper()
	fixture.Link(t, b.Netns, "eth1", n.Netns, "eth1", fixture.LinkOptions{NoOffload: true, XDPPassB: true})
	if device != "eth1" {
		b.Run(t, "ip", "link", "add", device, "type", "bridge")
		b.Run(t, "ip", "link", "set", "eth1", "master", device)
		b.Run(t, "ip", "link", "set", device, "up")
	}
	b.AddAddr(t, device, "172.16.0.1/24")
	b.AddAddr(t, device, "fd00:2::1/64")
	n.AddAddr(t, "eth1", "172.16.0.2/24")
	n.AddAddr(t, "eth1", "fd00:2::2/64")
	b.AddRoute(t, n.Addr4.String()+"/32", "172.16.0.2")
	b.AddRoute(t, n.Addr6.String()+"/128", "fd00:2::2")
}

// TestWays sends packets out of an LB node by each way that there is: back by the
// device that they came in, by another one, and through the kernel where the
// device can't be redirected to.
func TestWays(t *testing.T) {
	for _, way := range []struct{ name, interfaces, mode, device, verdict string }{
		{"native redirect", "[eth0, eth1]", "native", "eth1", "forward"},
		{"generic redirect", "[eth0, eth1]", "generic", "eth1", "forward"},
		{"generic transmit", "[eth0]", "generic", "", "forward"},
		{"kernel", "[eth0, br0]", "auto", "br0", "forward_kernel"},
	} {
		t.Run(way.name, func(t *testing.T) {
			l := lab.New(t, lab.Options{LBs: 1, Nodes: 1, Interfaces: way.interfaces, Mode: way.mode})
			b := l.LBs[0]
			if way.device != "" {
				secondArm(t, b, l.Nodes[0], way.device)
			}
			l.Apply(t, lab.Web(l.Nodes...))
			b.StartAgent(t)
			l.WaitRoutes(t, 1)
			for name, vip := range vips {
				body, err := curl(l, url(vip, 80, "/"))
				if err != nil {
					t.Errorf("%s: %v\n%v", name, err, verdicts(t, b))
					continue
				}
				if source := sourceOf(b, vip, way.device != ""); !strings.Contains(body, "client="+source) {
					t.Errorf("%s: the node saw %q, want the source %s", name, body, source)
				}
			}
			if n := verdicts(t, b)[way.verdict]; n == 0 {
				t.Errorf("no %s: %v", way.verdict, verdicts(t, b))
			}
		})
	}
}

func sourceOf(b *lab.LB, vip netip.Addr, secondArm bool) string {
	switch {
	case secondArm && vip.Is4():
		return "172.16.0.1"
	case secondArm:
		return "fd00:2::1"
	case vip.Is4():
		return b.Addr4.String()
	}
	return b.Addr6.String()
}

// TestUpgrade restarts an agent under load with `shutdown: restart`, and then with
// a program that was changed and compiled on the node.
func TestUpgrade(t *testing.T) {
	l := lab.New(t, lab.Options{LBs: 1, Nodes: 2, Config: "shutdown: restart\n"})
	b := l.LBs[0]
	l.Apply(t, lab.Web(l.Nodes...))
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	sources := filepath.Join(b.Dir, "sources")
	if out, err := b.Penstock("sources", sources); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(sources, "reject.h")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "#define ERROR_TTL 64", "#define ERROR_TTL 33", 1)
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	w4 := startLoad(t, l, lab.VIP4, 10*time.Second)
	w6 := startLoad(t, l, lab.VIP6, 10*time.Second, "-H", "Connection: close")
	for _, args := range [][]string{nil, {"--compile", "--datapath-clang", "clang-19", "--datapath-sources", sources}} {
		if code := b.Agent.Stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		b.StartAgent(t, args...)
		fixture.Wait(t, 30*time.Second, "the agent", func() error {
			_, err := b.Penstock("status")
			return err
		})
	}
	w4.check(t)
	w6.check(t)
	out, err := l.Client.Output("ping", "-c", "1", "-W", "5", lab.VIP4.String())
	if want := fmt.Sprintf("ttl=%d", 33-1); err != nil || !strings.Contains(out, want) {
		t.Errorf("no %s, so the changed program does not run: %v\n%s", want, err, out)
	}
}
