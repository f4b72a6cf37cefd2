package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

const (
	webPort = 80 // of the VIPs: pods on ingress nodes
	natPort = 81 // a node without an agent
	podPort = 8080
)

var vips = []netip.Addr{lab.VIP4, lab.VIP6}

// site is the whole network, with what the API server would have of it.
type site struct {
	*stage
	*lab.Lab
	up      []*lab.LB // those that are to work
	cluster lab.Cluster
	pods    []*pod // that take new connections
	made    int
	leaving sync.Map // names of pods that were told to end
}

// pod is nginx in a namespace of its own, behind a veth of its ingress node.
type pod struct {
	*lab.Pod
	nginx *fixture.Nginx
}

// buildSite makes everything but the agents' processes. The last LB node is a spare.
func buildSite(s *stage, binary string) *site {
	s.must(os.MkdirAll(runDir, 0o755))
	s.Cleanup(func() {
		if err := os.RemoveAll(runDir); err != nil {
			s.Errorf("remove %s: %v", runDir, err)
		}
	})
	l := &site{stage: s, Lab: lab.New(s, lab.Options{LBs: 3, Nodes: 1, Ingress: 3, Penstock: binary})}
	l.up = slices.Clone(l.LBs[:2])
	for _, h := range l.Hosts() {
		s.must(os.Symlink(h.Dir, filepath.Join(runDir, h.Name)))
	}
	l.cluster = lab.Cluster{Name: "web", VIPs: vips, Ports: []lab.ServicePort{{Port: webPort, Target: podPort, Protocol: "TCP"}}}
	old := lab.Web(l.Nodes...)
	old.Name, old.Port = "old", natPort
	l.Apply(s, old)
	l.addPods(6)
	return l
}

// addPods starts pods on the ingress nodes in turn, and makes them ready.
func (l *site) addPods(n int) {
	for range n {
		g := l.Ingress[l.made%len(l.Ingress)]
		l.made++
		p := &pod{Pod: g.NewPod(l, fmt.Sprintf("pod%d", l.made))}
		p.Begin(time.Now())
		p.nginx = fixture.StartNginx(l, p.Netns, p.Name, fixture.NginxOptions{Listen: []string{"8080", "[::]:8080"}})
		p.SetReady(true, time.Now())
		l.pods = append(l.pods, p)
		l.cluster.Pods = append(l.cluster.Pods, p.Pod)
	}
	l.ApplyCluster(l, &l.cluster)
}

// retire ends the oldest pods as Kubernetes does: no new connections, a grace in which those that there are go on,
// then SIGQUIT, on which nginx closes them.
func (l *site) retire(n int, grace time.Duration) {
	old := l.pods[:n]
	l.pods = l.pods[n:]
	for _, p := range old {
		p.Delete(time.Now(), grace)
	}
	l.ApplyCluster(l, &l.cluster)
	l.awaitPods()
	l.pause(grace)
	for _, p := range old {
		l.leaving.Store(p.Name, true)
		p.nginx.Quit(l)
		l.cluster.Pods = slices.DeleteFunc(l.cluster.Pods, func(other *lab.Pod) bool { return other == p.Pod })
	}
	l.ApplyCluster(l, &l.cluster)
}

func (l *site) startAgents() {
	for _, g := range l.Ingress {
		g.StartAgent(l)
	}
	for _, lb := range l.up {
		lb.StartAgent(l)
	}
}

// awaitPaths waits until the router has n equal paths to the VIPs, in both families.
func (l *site) awaitPaths(n int) time.Duration {
	return l.wait(30*time.Second, fmt.Sprintf("%d paths in the router", n), func() error {
		for _, vip := range vips {
			if via := l.pathsTo(vip); len(via) != n {
				return fmt.Errorf("it has %v to %s\n%s", via, vip, l.agentsEnd())
			}
		}
		return nil
	})
}

// pathsTo are the next hops that the router has for an address.
func (l *site) pathsTo(vip netip.Addr) []netip.Addr {
	via, err := l.Routes(vip)
	l.must(err)
	return via
}

// showRoute prints the router's route to an address.
func (l *site) showRoute(vip netip.Addr) {
	command := "ip -4 route show exact " + vip.String()
	if vip.Is6() {
		command = "ip -6 route show exact " + vip.String()
	}
	out, err := l.Router.Output(strings.Fields(command)...)
	l.must(err)
	if out == "" {
		out = "(nothing)"
	}
	l.say.output("router", command, out, 4)
}

// awaitPods waits until the LB nodes give new connections to the pods, through tunnels, and to no others.
func (l *site) awaitPods() time.Duration {
	want := map[string]bool{}
	for _, p := range l.pods {
		want[p.Addr4.String()], want[p.Addr6.String()] = true, true
	}
	return l.wait(30*time.Second, "the LB nodes to follow the pods", func() error {
		for _, lb := range l.up {
			all, err := l.backends(lb)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, l.agentsEnd())
			}
			found := 0
			for _, b := range all {
				if !strings.HasPrefix(b.Service, "default/web:") || b.Rows == 0 {
					continue
				}
				if !want[b.Addr.Addr().String()] || b.Mode != maps.DSR {
					return fmt.Errorf("%s takes new connections by %s on %s", b.Addr, b.Mode, lb.Name)
				}
				found++
			}
			if found != len(want) {
				return fmt.Errorf("%d of %d addresses of pods take new connections on %s", found, len(want), lb.Name)
			}
		}
		return nil
	})
}

// backends asks the node's tables, with or without its agent.
func (l *site) backends(lb *lab.LB) (all []api.Backend, err error) {
	return all, penstockJSON(&lb.Host, &all, "backends")
}

// penstockJSON reads what a command says on a host into v.
func penstockJSON(h *lab.Host, v any, command string) error {
	out, err := h.Penstock(command, "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("penstock %s on %s: %w: %q", command, h.Name, err, out)
	}
	return nil
}

// forwarded is how many packets the node has sent to backends so far.
func (l *site) forwarded(lb *lab.LB) (packets uint64) {
	all, err := l.backends(lb)
	l.must(err)
	for _, b := range all {
		packets += b.Packets
	}
	return packets
}

// hops is how many packets the LB nodes have sent on to a former owner of their row.
func (l *site) hops() (packets uint64) {
	for _, lb := range l.up {
		packets += l.hopsOf(lb)
	}
	return packets
}

func (l *site) hopsOf(lb *lab.LB) (packets uint64) {
	var all []maps.VerdictCount
	l.must(penstockJSON(&lb.Host, &all, "verdicts"))
	for _, v := range all {
		if strings.HasPrefix(v.Name, "encap_next") {
			packets += v.Packets
		}
	}
	return packets
}

// awaitReady waits for `penstock status` to find nothing wrong.
func (l *site) awaitReady(h *lab.Host) time.Duration {
	return l.wait(30*time.Second, "the agent of "+h.Name+" to be well", func() error {
		if out, err := h.Penstock("status"); err != nil {
			return fmt.Errorf("%w%s", err, out)
		}
		return nil
	})
}

// agentsEnd quotes an agent that has ended by itself.
func (l *site) agentsEnd() string {
	for _, h := range l.Hosts() {
		if h.Agent == nil {
			continue
		}
		select {
		case <-h.Agent.Done():
			return fmt.Sprintf("agent of %s ended: %s", h.Name, h.Agent.Output())
		default:
		}
	}
	return ""
}

// pause lets the load run for a while: here time itself is the point.
func (l *site) pause(d time.Duration) {
	select {
	case <-l.ctx.Done():
		l.Helper()
	case <-time.After(d):
	}
}
