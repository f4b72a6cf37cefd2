package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestPeersOfANode has an LB node find its routers by its default routes and its labels, and then
// by their router advertisements, without a restart.
func TestPeersOfANode(t *testing.T) {
	l := lab.New(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	before, after, _ := strings.Cut(read(t, b.Config()), "  - {name: tor4")
	_, after, _ = strings.Cut(after, "metrics:")
	peers := func(lines ...string) {
		t.Helper()
		text := before
		for _, line := range lines {
			text += fmt.Sprintf("  - {asn: %d, holdTime: 3s, keepaliveTime: 1s, %s}\n", lab.RouterASN, line)
		}
		if err := os.WriteFile(b.Config(), []byte(text+"metrics:"+after), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rack := func(name string) {
		b.Write(t, "node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: "+b.Name+", labels: {rack: "+name+"}}\n")
	}
	peers("name: g4, gateway: ipv4", "name: g6, gateway: ipv6, nodeSelector: rack=a")
	rack("a")
	l.Apply(t, lab.Web(l.Nodes...))
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	established(t, b, "g4 10.0.1.1", "g6 fd00:0:1::1")
	since := states(t, b)["g4"].Since

	rack("b")
	withdrawn(t, l, lab.VIP6)
	b.Run(t, "ip", "-4", "route", "del", "default")
	fixture.Wait(t, 20*time.Second, "the agent to miss the default route", func() error {
		out, _ := b.Penstock("status") // which is degraded
		if !strings.Contains(out, "g4: this node has no ipv4 default route") {
			return errors.New(out)
		}
		return nil
	})
	b.Run(t, "ip", "-4", "route", "add", "default", "via", "10.0.1.1")
	rack("a")
	l.WaitRoutes(t, 1)
	if now := states(t, b)["g4"].Since; !now.Equal(since) {
		t.Errorf("the session that nobody touched began at %s, and now at %s", since, now)
	}

	l.FRR.Configure(t, fmt.Sprintf(`interface lb1
 no ipv6 nd suppress-ra
exit
router bgp %d
 neighbor lb1 interface remote-as external
 neighbor lb1 timers 1 3
 address-family ipv4 unicast
  neighbor lb1 activate
  neighbor lb1 prefix-list vips in
 exit-address-family
 address-family ipv6 unicast
  neighbor lb1 activate
  neighbor lb1 prefix-list vips in
 exit-address-family
`, lab.RouterASN))
	peers("name: leaf, interface: eth0")
	fixture.Wait(t, 60*time.Second, "the unnumbered session", func() error {
		leaf := states(t, b)["leaf"]
		if leaf.State != bgp.Established || !leaf.Address.IsLinkLocalUnicast() {
			return fmt.Errorf("leaf is %s with %s: %s", leaf.State, leaf.Address, leaf.DownReason)
		}
		return nil
	})
	for family, vip := range vips {
		fixture.Wait(t, 20*time.Second, "an answer by "+family, func() error {
			_, err := curl(l, url(vip, 80, "/"))
			return err
		})
		servers(t, l, vip, 3)
	}
	out, err := b.Penstock("bgp", "routes")
	if err != nil || strings.Count(out, "leaf") != 2 {
		t.Errorf("routes: %v\n%s", err, out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// states are those of an LB node's peers, by name.
func states(t *testing.T, b *lab.LB) map[string]bgp.PeerState {
	t.Helper()
	out, err := b.Penstock("bgp", "peers", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list []bgp.PeerState
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("peers: %v in %s", err, out)
	}
	byName := map[string]bgp.PeerState{}
	for _, s := range list {
		byName[s.Name] = s
	}
	return byName
}

// established waits for the sessions with exactly these peers, each a name and an address.
func established(t *testing.T, b *lab.LB, want ...string) {
	t.Helper()
	fixture.Wait(t, 30*time.Second, "the sessions", func() error {
		var got []string
		for name, s := range states(t, b) {
			if s.State == bgp.Established {
				got = append(got, name+" "+s.Address.String())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("sessions with %q, want %q", got, want)
		}
		return nil
	})
}

func withdrawn(t *testing.T, l *lab.Lab, vip netip.Addr) {
	t.Helper()
	fixture.Wait(t, 20*time.Second, vip.String()+" to be withdrawn", func() error {
		hops, err := l.Routes(vip)
		if err == nil && len(hops) > 0 {
			err = fmt.Errorf("the router has %v", hops)
		}
		return err
	})
}
