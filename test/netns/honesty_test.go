package netns

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// said is what these tests read of a status.
type said struct {
	NotReady, Degraded []string
	VIPs               []struct {
		VIP       netip.Addr
		Announced bool
		Reason    string
	}
}

// waitStatus waits until an LB node's status is as it should be.
func waitStatus(t *testing.T, b *lab.LB, what string, check func(said) error) {
	t.Helper()
	fixture.Wait(t, 45*time.Second, what, func() error { // beyond a resync
		out, _ := b.Penstock("status", "-o", "json") // exits with 3 where degraded
		var s said
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return fmt.Errorf("%w in %q", err, out)
		}
		if err := check(s); err != nil {
			return fmt.Errorf("%w; degraded %q, not ready %q, VIPs %v", err, s.Degraded, s.NotReady, s.VIPs)
		}
		return nil
	})
}

// is says of each VIP whether it is announced ("") or why it is not.
func (s said) is(want map[netip.Addr]string) error {
	for _, v := range s.VIPs {
		reason := v.Reason
		if v.Announced {
			reason = ""
		}
		if reason != want[v.VIP] {
			return fmt.Errorf("%s is %q, not %q", v.VIP, reason, want[v.VIP])
		}
	}
	if len(s.VIPs) != len(want) {
		return fmt.Errorf("%d VIPs, not %d", len(s.VIPs), len(want))
	}
	return nil
}

// TestForwardingOff switches a family's forwarding off and on again: its route
// goes and comes back, the other one stays.
func TestForwardingOff(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	b.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=0")
	waitStatus(t, b, "IPv4 is given up", func(s said) error {
		if !slices.ContainsFunc(s.Degraded, func(d string) bool { return strings.Contains(d, "net.ipv4.ip_forward is 0") }) || len(s.NotReady) != 1 {
			return fmt.Errorf("not told")
		}
		return s.is(map[netip.Addr]string{lab.VIP4: "ForwardingOff", lab.VIP6: ""})
	})
	if hops, err := l.Routes(lab.VIP6); err != nil || len(hops) != 1 {
		t.Errorf("IPv6: the router has %v, %v", hops, err)
	}
	fixture.Wait(t, 10*time.Second, "the route of IPv4 to go", func() error {
		hops, err := l.Routes(lab.VIP4)
		if err == nil && len(hops) > 0 {
			err = fmt.Errorf("the router has %v", hops)
		}
		return err
	})
	b.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	waitStatus(t, b, "IPv4 comes back", func(s said) error {
		return s.is(map[netip.Addr]string{lab.VIP4: "", lab.VIP6: ""})
	})
	l.WaitRoutes(t, 1)
	servers(t, l, lab.VIP4, 5)
}

// TestBackendsBehindAnotherInterface gives an LB node a second arm, without a
// program, that leads to the pod of one Service.
func TestBackendsBehindAnotherInterface(t *testing.T) {
	l := lab.New(t, lab.Options{LBs: 1, Nodes: 1})
	b, pod := l.LBs[0], fixture.NewNetns(t, "pod")
	fixture.Link(t, b.Netns, "eth1", pod, "eth0", fixture.LinkOptions{
		AddrsA: []string{"10.9.9.1/24"}, AddrsB: []string{"10.9.9.2/24"}, NoOffload: true, XDPPassB: true,
	})
	pod.AddRoute(t, "default", "10.9.9.1")
	fixture.StartNginx(t, pod, "pod", fixture.NginxOptions{Listen: []string{"8080"}})
	s := lab.Web(l.Nodes[0])
	s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e lab.Endpoint) bool { return e.Addr.Is4() })
	s.Endpoints = append(s.Endpoints, lab.Endpoint{Addr: netip.MustParseAddr("10.9.9.2"), Ready: true})
	l.Apply(t, s)
	b.StartAgent(t)
	waitStatus(t, b, "the second arm is named", func(s said) error {
		want := "backends of default/web (10.9.9.2) are reached by eth1, which is not in datapath.interfaces: their replies are not translated; add eth1"
		if !slices.Contains(s.Degraded, want) {
			return fmt.Errorf("not told")
		}
		return s.is(map[netip.Addr]string{lab.VIP4: "RepliesNotSeen", lab.VIP6: ""})
	})
	if hops, err := l.Routes(lab.VIP4); err != nil || len(hops) > 0 {
		t.Errorf("the router has %v, %v", hops, err)
	}
	b.Run(t, "sed", "-i", `s/interfaces: \[eth0\]/interfaces: [eth0, eth1]/`, b.Config())
	waitStatus(t, b, "it is added", func(s said) error {
		if len(s.Degraded) > 0 {
			return fmt.Errorf("still degraded")
		}
		return s.is(map[netip.Addr]string{lab.VIP4: "", lab.VIP6: ""})
	})
	l.WaitRoutes(t, 1)
	if count := servers(t, l, lab.VIP4, 5); count["pod"] != 5 {
		t.Errorf("answered by %v", count)
	}
}

// TestSessionOfOneFamily takes the IPv4 session away: IPv4's VIP counts as not
// announced, IPv6's does.
func TestSessionOfOneFamily(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	l.FRR.Vtysh(t, fmt.Sprintf("configure terminal\nrouter bgp %d\nneighbor %s shutdown", lab.RouterASN, b.Addr4))
	waitStatus(t, b, "no session for IPv4", func(s said) error {
		if !slices.Equal(s.NotReady, []string{"no BGP session up for ipv4"}) {
			return fmt.Errorf("ready")
		}
		return s.is(map[netip.Addr]string{lab.VIP4: "NoSession", lab.VIP6: ""})
	})
	if out, err := b.Output("curl", "-sS", "http://127.0.0.1:9470/metrics"); err != nil ||
		!strings.Contains(out, fmt.Sprintf(`penstock_vip_announced{reason="NoSession",vip="%s"} 0`, lab.VIP4)) {
		t.Errorf("the metric does not tell: %v", err)
	}
}
