package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// tunnelSite is a lab of one LB node, unless it is to have more, and two ingress nodes with a pod each.
func tunnelSite(t *testing.T, opts lab.Options) (*lab.Lab, *lab.Cluster) {
	t.Helper()
	opts.LBs, opts.Ingress = max(1, opts.LBs), 2
	l := lab.New(t, opts)
	c := &lab.Cluster{
		Name: "web", VIPs: []netip.Addr{lab.VIP4, lab.VIP6},
		Ports: []lab.ServicePort{{Port: 80, Target: 8080, Protocol: "TCP"}},
	}
	for i, g := range l.Ingress {
		p := g.NewPod(t, fmt.Sprintf("pod%d", i))
		fixture.StartNginx(t, p.Netns, p.Name, fixture.NginxOptions{Listen: []string{"8080", "[::]:8080"}})
		p.Begin(time.Now().Add(-time.Minute))
		p.SetReady(true, time.Now().Add(-time.Minute))
		c.Pods = append(c.Pods, p)
	}
	l.ApplyCluster(t, c)
	return l, c
}

// status asks a host's agent.
func statusOf(h *lab.Host) (s api.Status, err error) {
	out, err := h.Penstock("status", "-o", "json")
	if err != nil && out == "" {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// nodeStates waits until the LB node's agent says that of its ingress nodes.
func nodeStates(t *testing.T, b *lab.LB, want string) {
	t.Helper()
	fixture.Wait(t, 20*time.Second, "ingress nodes "+want, func() error {
		s, err := statusOf(&b.Host)
		if err != nil {
			return err
		}
		if s.Tunnels == nil {
			return errors.New("no tunnels")
		}
		var states []string
		for _, n := range s.Tunnels.Nodes {
			states = append(states, string(n.State))
		}
		if got := strings.Join(states, " "); got != want {
			return fmt.Errorf("they are %q: %+v", got, s.Tunnels)
		}
		return nil
	})
}

// modes are the modes and reasons of all backends.
func modes(t *testing.T, b *lab.LB) (all []string) {
	t.Helper()
	out, err := b.Penstock("backends", "-o", "json")
	var backends []struct {
		Mode   string         `json:"mode"`
		Reason desired.Reason `json:"reason"`
	}
	if err != nil || json.Unmarshal([]byte(out), &backends) != nil {
		t.Fatalf("backends: %v\n%s", err, out)
	}
	for _, be := range backends {
		all = append(all, be.Mode+" "+string(be.Reason))
	}
	return all
}

func TestTunnels(t *testing.T) {
	for name, underlay6 := range map[string]bool{"IPv4 underlay": false, "IPv6 underlay": true} {
		t.Run(name, func(t *testing.T) {
			l, _ := tunnelSite(t, lab.Options{Underlay6: underlay6})
			for _, g := range l.Ingress {
				g.StartAgent(t)
			}
			b := l.LBs[0]
			b.StartAgent(t)
			l.WaitRoutes(t, 1)
			nodeStates(t, b, "alive alive")
			for _, mode := range modes(t, b) {
				if mode != "dsr Answering" {
					t.Errorf("a backend is %s", mode)
				}
			}
			for family, vip := range vips {
				for range 20 {
					client, err := curl(l, url(vip, 80, "/"))
					if want := map[string]string{"ipv4": lab.Client4.String(), "ipv6": lab.Client6.String()}[family]; err != nil || !strings.Contains(client, " client="+want+" ") {
						t.Fatalf("%s: the pod saw %q, want %s: %v", vip, client, want, err)
					}
				}
			}
		})
	}
}

// TestDeadNode takes the programs off one ingress node: its pod gets no more flows, within
// a second and something for the tables, and again once it is back.
func TestDeadNode(t *testing.T) {
	l, _ := tunnelSite(t, lab.Options{})
	for _, g := range l.Ingress {
		g.StartAgent(t)
	}
	b := l.LBs[0]
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	nodeStates(t, b, "alive alive")

	gone := l.Ingress[1]
	gone.KillAgent(t)
	nodeStates(t, b, "alive alive") // the programs go on
	if out, err := gone.Penstock("cleanup"); err != nil || !strings.Contains(out, "detached from eth0") {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	nodeStates(t, b, "alive dead")
	for range 20 {
		if _, err := curl(l, "--max-time", "2", url(lab.VIP4, 80, "/")); err != nil {
			t.Errorf("a request went to the dead node: %v", err)
		}
	}
	gone.StartAgent(t)
	nodeStates(t, b, "alive alive")
}

// TestIngressNodeThatKnowsNoLB takes nothing out of tunnels, and says so at both ends. The
// LB node translates instead.
func TestIngressNodeThatKnowsNoLB(t *testing.T) {
	l, c := tunnelSite(t, lab.Options{})
	for _, g := range l.Ingress {
		if err := g.Put("cluster.yaml", strings.ReplaceAll(c.YAML(l), "role: lb", "role: backend")); err != nil {
			t.Fatal(err)
		}
		g.StartAgent(t)
	}
	b := l.LBs[0]
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	nodeStates(t, b, "silent silent")
	for _, mode := range modes(t, b) {
		if mode != "nat NeverAnswered" {
			t.Errorf("a backend is %s", mode)
		}
	}
	if out, err := curl(l, url(lab.VIP4, 80, "/")); err != nil || !strings.Contains(out, " client="+b.Addr4.String()+" ") {
		t.Errorf("translated: %q, %v", out, err)
	}
	g := l.Ingress[0]
	fixture.Wait(t, 10*time.Second, "the ingress node's status", func() error {
		s, err := statusOf(&g.Host)
		if err == nil && !strings.Contains(strings.Join(s.Degraded, " "), "no LB node is known") {
			err = fmt.Errorf("degraded: %q", s.Degraded)
		}
		return err
	})
	out, err := g.Penstock("verdicts")
	if err != nil || !strings.Contains(out, "drop_tunnel_source") || strings.Contains(out, "probe_answered") {
		t.Errorf("verdicts: %v\n%s", err, out)
	}
}

// TestIngressAgentCrash ends the agent of an ingress node while a flow goes through it.
func TestIngressAgentCrash(t *testing.T) {
	l, _ := tunnelSite(t, lab.Options{})
	for _, g := range l.Ingress {
		g.StartAgent(t)
	}
	b := l.LBs[0]
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	nodeStates(t, b, "alive alive")
	upload := l.Client.Start(t, "sh", "-c", fmt.Sprintf("(for i in $(seq 60); do echo x; sleep 0.2; done) | curl -sS --fail -T - %s", url(lab.VIP6, 80, "/files/slow")))
	for _, g := range l.Ingress {
		g.KillAgent(t)
		out, err := g.Penstock("status")
		if err == nil || !strings.Contains(out, "not running") || !strings.Contains(out, "xdp-native") {
			t.Errorf("status without an agent: %v\n%s", err, out)
		}
	}
	nodeStates(t, b, "alive alive")
	for _, g := range l.Ingress {
		g.StartAgent(t)
		fixture.Wait(t, 20*time.Second, "the agent to take over", func() error {
			s, err := statusOf(&g.Host)
			if err == nil && (!s.Sync.Synced || !s.Datapath.Survived) {
				err = fmt.Errorf("status %+v", s)
			}
			return err
		})
	}
	if code, err := upload.Wait(time.Minute); err != nil || code != 0 {
		t.Errorf("the flow broke: exit code %d, %v\n%s", code, err, upload.Output())
	}
}
