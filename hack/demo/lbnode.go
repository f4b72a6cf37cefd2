package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/test/fixture"
)

// lbNode is a load balancer node with its agent.
type lbNode struct {
	uplink
	Dir         string // configuration, manifests, socket
	BPFFS       string
	ASN, TorASN int

	binary string
	agent  *fixture.Process
}

func newLBNode(l *lab, u uplink, bpffs, binary string) *lbNode {
	n := &lbNode{
		uplink: u, Dir: filepath.Join(runDir, u.Name), BPFFS: filepath.Join(bpffs, u.Name),
		ASN: lbASN, TorASN: torASN, binary: binary,
	}
	n.netns.Forward(l) // XDP looks next hops of clients up in the kernel's table for forwarding
	l.must(os.MkdirAll(filepath.Join(n.Dir, "manifests"), 0o755))
	l.must(os.WriteFile(n.config(), []byte(l.render("penstock.yaml", n)), 0o644))
	return n
}

func (n *lbNode) config() string { return filepath.Join(n.Dir, "penstock.yaml") }

func (n *lbNode) startAgent(l *lab) {
	n.agent = n.netns.Start(l, n.binary, "agent", "--config", n.config())
}

func (l *lab) startAgents() {
	for _, lb := range l.lbs {
		lb.startAgent(l)
	}
}

// penstock runs the command line on the node.
func (n *lbNode) penstock(args ...string) (string, error) {
	return n.netns.Output(append([]string{n.binary, "--config", n.config()}, args...)...)
}

// backends asks the node's tables, with or without its agent.
func (n *lbNode) backends() ([]api.Backend, error) {
	out, err := n.penstock("backends", "-o", "json")
	if err != nil {
		return nil, err
	}
	var all []api.Backend
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("penstock backends on %s: %w: %q", n.Name, err, out)
	}
	return all, nil
}

// forwarded is how many packets the node has sent to backends so far.
func (l *lab) forwarded(n *lbNode) (packets uint64) {
	all, err := n.backends()
	l.must(err)
	for _, b := range all {
		packets += b.Packets
	}
	return packets
}

// awaitPaths waits until the router has n equal paths to the VIPs, in both families.
func (l *lab) awaitPaths(n int) time.Duration {
	return l.wait(30*time.Second, fmt.Sprintf("%d paths in the router", n), func() error {
		for _, vip := range []string{vip4, vip6} {
			if got := len(l.pathsTo(vip)); got != n {
				return fmt.Errorf("it has %d to %s\n%s", got, vip, l.agentsEnd())
			}
		}
		return nil
	})
}

// agentsEnd quotes an agent that has ended by itself.
func (l *lab) agentsEnd() string {
	for _, lb := range l.lbs {
		if lb.agent == nil {
			continue
		}
		select {
		case <-lb.agent.Done():
			return fmt.Sprintf("agent of %s ended: %s", lb.Name, lb.agent.Output())
		default:
		}
	}
	return ""
}

// setInSlice puts a web node into the EndpointSlices or takes it out, and waits until both load balancer nodes
// have followed.
func (l *lab) setInSlice(w *webNode, in bool) time.Duration {
	w.InSlice = in
	for _, lb := range l.lbs {
		l.writeManifests(lb)
	}
	return l.wait(10*time.Second, "the load balancer nodes to follow the slices", func() error {
		for _, lb := range l.lbs {
			all, err := lb.backends()
			if err != nil {
				return err
			}
			for _, pod := range []string{w.Pod4, w.Pod6} {
				has := slices.ContainsFunc(all, func(b api.Backend) bool { return b.Addr.Addr().String() == pod && b.Rows > 0 })
				if has != in {
					return fmt.Errorf("%s in the tables of %s: %v", pod, lb.Name, has)
				}
			}
		}
		return nil
	})
}

// bpftool reads a pinned map of the node, by the field names that the map carries (BTF).
func (l *lab) bpftool(n *lbNode, name, filter string) (command, out string) {
	pins, err := filepath.Glob(filepath.Join(n.BPFFS, "tables-*", name))
	l.must(err)
	if len(pins) != 1 {
		l.Fatalf("pinned maps %s of %s under %s: %v, want one", name, n.Name, n.BPFFS, pins)
	}
	command = fmt.Sprintf("bpftool -j map dump pinned %s | jq -c '%s'", pins[0], filter)
	out, err = n.netns.Output("bash", "-o", "pipefail", "-c", command)
	l.must(err)
	return command, out
}
