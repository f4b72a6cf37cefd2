package churn

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// Mode is how flows are carried.
type Mode struct {
	Name   string
	Config string // more lines of the LB nodes' configuration
	way    string // of every backend as the agents say it: dsr or nat
	nft    bool   // LB nodes without Penstock
}

// Modes are the ways to carry flows, and the controls.
var Modes = []Mode{
	{Name: "dsr", way: "dsr"},
	{Name: "no chains", way: "dsr", Config: "chains: {longest: 1, extraRanks: 0}\n"},
	{Name: "nat", way: "nat", Config: "forwarding: nat\n"},
	{Name: "nftables", nft: true},
}

// balancer is what stands on the LB nodes. Nodes are named by their position.
type balancer interface {
	start(lb int) // the node joins
	die(lb int)   // the node loses its power
	follow()      // the cluster has changed
	await()       // returns when all that is ready takes flows, by all nodes that are up
}

func (m Mode) balancer(s *Site) balancer {
	if m.nft {
		return &nftBalancer{Site: s}
	}
	for _, g := range s.Ingress {
		g.StartAgent(s.tb)
	}
	return &penstock{Site: s, feeds: map[*lab.Host]*feed{}}
}

// penstock is our own agent on LB nodes and ingress nodes.
type penstock struct {
	*Site
	feeds   map[*lab.Host]*feed
	version int
}

func (b *penstock) start(lb int) { b.LBs[lb].StartAgent(b.tb) }

// die takes the link down, whose other end the router watches, and what a reboot forgets.
func (b *penstock) die(lb int) {
	n := b.LBs[lb]
	b.views.keep(&n.Host)
	n.Run(b.tb, "ip", "link", "set", "eth0", "down")
	n.KillAgent(b.tb)
	if err := errors.Join(os.RemoveAll(n.Pins()), os.RemoveAll(n.Socket())); err != nil {
		b.tb.Fatalf("pins of %s: %v", n.Name, err)
	}
}

// follow tells the agents, each one skew later than the one before.
func (b *penstock) follow() {
	b.version++
	text := b.cluster.YAML(b.Lab)
	for i, h := range b.Hosts() {
		f := b.feeds[h]
		if f == nil {
			f = &feed{host: h}
			b.feeds[h] = f
			b.tb.Cleanup(f.running.Wait)
		}
		f.deliver(b.tb, b.version, text, time.Duration(i)*b.skew)
	}
}

// feed is one agent's source. What comes late does not replace what is newer.
type feed struct {
	host    *lab.Host
	running sync.WaitGroup
	mu      sync.Mutex
	version int
}

func (f *feed) deliver(tb fixture.TB, version int, text string, delay time.Duration) {
	write := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if version < f.version {
			return
		}
		f.version = version
		if err := f.host.Put("cluster.yaml", text); err != nil {
			tb.Errorf("manifest of %s: %v", f.host.Name, err)
		}
	}
	if delay == 0 {
		write()
		return
	}
	f.running.Go(func() {
		time.Sleep(delay)
		write()
	})
}

func (b *penstock) await() {
	b.tb.Helper()
	b.WaitRoutes(b.tb, len(b.lbsUp()))
	for _, i := range b.lbsUp() {
		b.awaitNode(b.LBs[i])
	}
}

// awaitNode waits until an LB node has every ready pod as the mode wants it.
func (b *penstock) awaitNode(n *lab.LB) {
	b.tb.Helper()
	ready := 0
	for _, p := range b.living() {
		if p.Ready {
			ready += 2 * len(b.cluster.Ports)
		}
	}
	fixture.Wait(b.tb, 30*time.Second, "the tables of "+n.Name, func() error {
		out, err := n.Penstock("backends", "-o", "json")
		if err != nil {
			return err
		}
		var all []struct {
			Addr, Mode string
			Rows       int
		}
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			return err
		}
		good := 0
		for _, x := range all {
			if x.Rows > 0 && x.Mode == b.mode.way {
				good++
			}
		}
		if good != ready {
			return fmt.Errorf("%d of %d backends take flows by %s: %s", good, ready, b.mode.way, out)
		}
		return nil
	})
}

// views are the counters of machines, with those of their former lives.
type views struct{ before map[string]map[string]uint64 }

// keep remembers the counters of a machine that is about to lose them.
func (v *views) keep(h *lab.Host) {
	if v.before == nil {
		v.before = map[string]map[string]uint64{}
	}
	v.before[h.Name] = v.verdicts(h)
}

func (v *views) verdicts(h *lab.Host) map[string]uint64 {
	counts := map[string]uint64{}
	maps.Copy(counts, v.before[h.Name])
	out, err := h.Penstock("verdicts", "-o", "json")
	if err != nil {
		return counts // no agent and no pins: a control, or a dead node
	}
	var list []struct {
		Name    string
		Packets json.Number
	}
	if json.Unmarshal([]byte(out), &list) != nil {
		return counts
	}
	for _, x := range list {
		if n, err := strconv.ParseUint(x.Packets.String(), 10, 64); err == nil {
			counts[x.Name] += n
		}
	}
	return counts
}

// restartAgent kills an agent without a word and starts it after a while.
func (s *Site) restartAgent(h *lab.Host, sig syscall.Signal, meanwhile func()) {
	s.tb.Helper()
	s.note("agent of %s: %s", h.Name, sig)
	h.Agent.Stop(s.tb, sig)
	meanwhile()
	s.note("agent of %s starts", h.Name)
	h.StartAgent(s.tb)
	h.WaitAgent(s.tb)
}
