package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/maps"
)

// verdictsIn bounds the wait for ingress nodes of which nothing is known yet. One that is
// there answers at once; one that is not is known to be silent after its probes' time.
const verdictsIn = 2 * time.Second

// learn takes over what changed, with what the objects do not tell.
//
// Ingress nodes that were never asked are asked first, and the pass waits for their
// answers: otherwise their flows would begin translated, and an LB node that joins would
// translate those that others send through tunnels. The program lets answers in
// only from nodes that it knows, so it has to know them before.
func (a *Agent) learn(ctx context.Context, delta desired.Delta, site desired.Site, now time.Time) desired.Change {
	change := a.model.Apply(delta, site, now)
	if !change.Fabric {
		return change
	}
	fabric := a.model.Fabric()
	if a.deps.Prober.Set(a.targets(fabric, site.Sticky)) && !a.ending {
		a.reconciler.introduce(ctx, fabric.Members)
		waiting, cancel := context.WithTimeout(ctx, verdictsIn)
		a.deps.Prober.Await(waiting)
		cancel()
		seen := a.deps.Prober.Result()
		site.Answering, site.Dead, site.FailOpen = seen.Answering, seen.Dead, seen.Open
		change.Add(a.model.Apply(desired.Delta{}, site, now))
	}
	return change
}

// targets are the ingress nodes, asked from the address that tunnel packets come from.
func (a *Agent) targets(fabric desired.State, used map[netip.Addr]bool) []probe.Target {
	out := make([]probe.Target, len(fabric.Nodes))
	for i, n := range fabric.Nodes {
		out[i] = probe.Target{Name: n.Name, Addr: n.Tunnel, Used: used[n.Tunnel]}
		if source := fabric.Source(n.Tunnel); a.reconciler.own(source) {
			out[i].Source = source
		}
	}
	return out
}

// introduce writes members into tables that stay as they are otherwise. What fails is tried
// again with the rest, and reported there.
func (r *reconciler) introduce(ctx context.Context, members []maps.Member) {
	if r.synced {
		_ = r.tables.Sync(ctx, maps.Want{Partial: true, NextHops: r.hops, Members: members, Dead: r.dead})
	}
}

// remember has what was seen kept, and sets the time of the next pass for time's sake.
func (a *Agent) remember(now time.Time) {
	if err := a.history.Save(); err != nil {
		a.log.Debug("history", "err", err) // it logs the first one of its kind itself
	}
	a.due.Stop()
	next := a.reconciler.tables.NextChange()
	if at := a.life.next(now); next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	if !next.IsZero() {
		a.due.Reset(max(next.Sub(now), leastWait))
	}
	if a.remeasure() { // other devices are attached than when the pass began
		a.due.Reset(0)
	}
}

// leastWait is between two passes for time's sake: endpoints that leave the retention one
// by one are dealt with together.
const leastWait = time.Second

// tunnels is the state of the ways to ingress nodes. Readers get the nodes' of the
// moment from probed.
func (a *Agent) tunnels(want desired.State) *api.TunnelStatus {
	s := &api.TunnelStatus{Port: a.booted.Tunnel.Port}
	for _, n := range want.Nodes {
		node := api.IngressNode{MTU: a.reconciler.hops[n.Tunnel].MTU}
		node.Name, node.Addr = n.Name, n.Tunnel
		s.Nodes = append(s.Nodes, node)
	}
	return s
}

// probed is what the last pass published with the answers up to now.
func (a *Agent) probed(last *api.TunnelStatus) *api.TunnelStatus {
	if last == nil {
		return nil
	}
	mtu := map[netip.Addr]uint16{}
	for _, n := range last.Nodes {
		mtu[n.Addr] = n.MTU
	}
	s := &api.TunnelStatus{Port: last.Port, Nodes: []api.IngressNode{}, Open: a.deps.Prober.Result().Open}
	if err := a.deps.Prober.Err(); err != nil {
		s.Error = err.Error()
	}
	for _, n := range a.deps.Prober.Nodes() {
		s.Nodes = append(s.Nodes, api.IngressNode{Node: n, MTU: mtu[n.Addr]})
	}
	return s
}

// What the tunnel adds to a packet, in bytes: the outer IP header, UDP, Geneve and its
// option (bpf/README.md).
const (
	outer4, outer6 = 20 + 8, 40 + 8
	geneve4        = 8 + 4 + 4 + 4
	geneve6        = 8 + 4 + 16 + 4
)

// clientMTU is the largest packet that clients are likely to send.
const clientMTU = 1500

// tunnelWarnings says where clients' packets do not fit the way to an ingress node. It works
// all the same: the ingress node has TCP send less, and UDP senders are told.
func (a *Agent) tunnelWarnings(want desired.State) []string {
	type path struct {
		mtu  uint16
		ipv6 bool
	}
	nodes := map[path][]string{}
	for _, n := range want.Nodes {
		mtu := a.reconciler.hops[n.Tunnel].MTU
		outer := outer4
		if n.Tunnel.Is6() {
			outer = outer6
		}
		if mtu != 0 && int(mtu) < clientMTU+outer+geneve6 {
			p := path{mtu, n.Tunnel.Is6()}
			nodes[p] = append(nodes[p], n.Name)
		}
	}
	var out []string
	for p, names := range nodes {
		outer := outer4
		if p.ipv6 {
			outer = outer6
		}
		out = append(out, fmt.Sprintf("the path to %s carries packets of %d bytes: clients' of more than %d (IPv4) or %d (IPv6) "+
			"do not fit the tunnel; TCP is made to send less, and UDP senders are told; an MTU of %d on the way takes all of %d",
			abridge(names), p.mtu, int(p.mtu)-outer-geneve4, int(p.mtu)-outer-geneve6, clientMTU+outer+geneve6, clientMTU))
	}
	slices.Sort(out)
	return out
}

// abridge names a few nodes.
func abridge(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return cmp.Or(text, "none")
}

// isOwn tells whether an address is this node's.
func (a *Agent) isOwn(addr netip.Addr) bool {
	_, own := a.own[addr]
	return own
}
