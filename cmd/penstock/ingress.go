package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// nodeView is the pinned tables of an ingress node.
type nodeView interface {
	view
	Members() ([]maps.Member, error)
	Pods() ([]maps.Pod, error)
	MTU() (uint32, error)
	Events() (maps.NodeEvents, error)
}

// ingressView makes an ingress node's tables a view: it has no services.
type ingressView struct{ *maps.NodeView }

func (ingressView) Services() ([]maps.ServiceStatus, error) { return []maps.ServiceStatus{}, nil }
func (ingressView) ServicesOf(...string) ([]maps.ServiceStatus, error) {
	return []maps.ServiceStatus{}, nil
}
func (ingressView) Usage() (maps.Usage, error) { return maps.Usage{}, nil }

// openPinned opens the pinned tables of whichever role.
func openPinned(pins string) (view, error) {
	lb, err := maps.OpenView(pins)
	if err == nil {
		return lb, nil
	}
	node, nodeErr := maps.OpenNodeView(pins)
	if nodeErr == nil {
		return ingressView{node}, nil
	}
	return nil, err // the likelier role's
}

var errIngressNode = errors.New("this is an ingress node, which has no such thing; ask an LB node, or look at 'penstock status' and 'penstock verdicts' here")

// ofLB refuses what only an LB node's tables have, for an empty list reads like an outage.
func ofLB(v view) error {
	if _, ingress := v.(nodeView); ingress {
		return errIngressNode
	}
	return nil
}

// askedLB is ofLB for an agent that has answered with nothing. One that is down has none to refuse.
func (c *cli) askedLB(ctx context.Context) error {
	status, err := ask(ctx, c, func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) })
	if err == nil && status.Ingress != nil {
		return errIngressNode
	}
	return nil
}

// cleanupAll removes what is pinned, of either role.
func cleanupAll(pins string) ([]string, error) {
	uplinks, err := bpf.CleanupNode(pins)
	if err != nil {
		return uplinks, err
	}
	devices, err := bpf.Cleanup(pins)
	return append(uplinks, devices...), err
}

// pinnedNode is what the tables say of an ingress node whose agent does not run.
func (c *cli) pinnedNode(v nodeView) (api.Status, error) {
	members, err := v.Members()
	pods, podsErr := v.Pods()
	mtu, mtuErr := v.MTU()
	flows, flowsErr := v.Flows()
	events, eventsErr := v.Events()
	_, bpffs := c.places()
	in := &api.IngressStatus{MTU: mtu, Pods: pods, Events: events, LBs: []netip.Addr{}, Own: []netip.Addr{}}
	in.Take(members)
	return api.Status{
		Version: version, State: api.Stopped, Ingress: in,
		Source:   api.SourceStatus{Problems: []desired.Problem{}},
		Datapath: api.DatapathStatus{Loaded: true, Pins: bpffs, Flows: flows, Interfaces: c.pinned(bpffs)},
		BGP:      api.BGPStatus{Peers: []bgp.PeerState{}},
		VIPs:     []api.VIPStatus{}, Services: []api.ServiceStatus{}, Reasons: []desired.ServiceReason{},
		NotReady: []string{"agent is not running"}, Degraded: []string{"agent is not running"}, Warnings: []string{},
	}, errors.Join(err, podsErr, mtuErr, flowsErr, eventsErr)
}

// lbTables is what an LB node's tables hold.
func lbTables(s api.Status) (flows, tables string) {
	d := s.Datapath
	flows = fmt.Sprintf("services: %d, translated flows: %d of %d", len(s.Services), d.Flows.Entries/2, d.Flows.Capacity/2) // a flow has two entries
	tables = fmt.Sprintf("rows: %s, backends: %s, frontends: %s", fill(d.Usage.Rows), fill(d.Usage.Backends), fill(d.Usage.Frontends))
	if u := d.Usage; u.Chains.Used > 0 || u.Learned.Used > 0 {
		tables += fmt.Sprintf(", chains: %s, learned: %s", fill(u.Chains), fill(u.Learned))
	}
	if u := d.Usage.Sources; u.Used > 0 {
		tables += ", source ranges: " + fill(u)
	}
	return flows, tables
}

// nodeTables is what an ingress node's tables hold.
func nodeTables(s api.Status) (flows, tables string) {
	f, e := s.Datapath.Flows, s.Ingress.Events
	return fmt.Sprintf("flows: %d of %d, young: %d of %d", f.Entries, f.Capacity, f.Young, f.YoungCapacity),
		fmt.Sprintf("collisions: %d, found by socket: %d, no room: %d, MSS clamped: %d", e.Collisions, e.Witnessed, e.Full, e.Clamped)
}

// tunnelsTo is an ingress node's end of the tunnels.
func tunnelsTo(s *api.IngressStatus) string {
	if len(s.LBs) == 0 || len(s.Own) == 0 {
		return "none are taken: see below"
	}
	text := fmt.Sprintf("to %s, from %s", list(texts(s.Own)), list(texts(s.LBs)))
	if s.MTU > 0 {
		text += fmt.Sprintf(", MTU %d", s.MTU)
		if s.MTUFrom != "" {
			text += " (" + s.MTUFrom + ")"
		}
	}
	return text
}

func podsHere(s *api.IngressStatus) string {
	unknown := 0
	for _, p := range s.Pods {
		if p.Netns == bpf.PodNetnsUnknown {
			unknown++
		}
	}
	text := number(len(s.Pods)) + " addresses"
	if unknown > 0 {
		text += fmt.Sprintf(", of %d the network namespace is not known", unknown)
	}
	return text
}

// tunnelsFrom is an LB node's end of the tunnels.
func tunnelsFrom(s *api.TunnelStatus) string {
	if s == nil {
		return "not known yet"
	}
	if len(s.Nodes) == 0 {
		return "no ingress nodes, all is translated (nat)"
	}
	states := map[probe.State]int{}
	for _, n := range s.Nodes {
		states[n.State]++
	}
	parts := []string{fmt.Sprintf("%d of %d ingress nodes alive", states[probe.Alive], len(s.Nodes))}
	for _, state := range []probe.State{probe.Dead, probe.Silent, probe.Unknown} {
		if n := states[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

func texts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
