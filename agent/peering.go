package agent

import (
	"context"
	"fmt"
	stdmaps "maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/peers"
	"github.com/penstock-lb/penstock/bgp"
)

// Gateways are those of this node's default routes.
type Gateways interface {
	Run(ctx context.Context) error // until ctx ends
	Gateways() map[bgp.Family][]netip.Addr
	Changed() <-chan struct{}
}

// peering is which peers this node has, and what the speaker has of them. Only the loop uses
// it.
type peering struct {
	node   peers.Node
	set    peers.Set
	doubt  bool // what decides about them may have changed
	given  []bgp.Peer
	resets map[string]time.Time // sessions that an edit has ended, and that are not up again
	seen   map[string]bgp.PeerState
}

// firstPeers are those that a node has as long as nothing is known of its labels and gateways.
func firstPeers(c *config.Config) peers.Set {
	return peers.Resolve(c.BGP.Peers, peers.Node{Name: c.Node}, peers.Set{})
}

// beginPeering notes what the speaker was started with.
func (a *Agent) beginPeering() {
	a.peering = peering{node: peers.Node{Name: a.booted.Node}, set: firstPeers(a.cfg), doubt: true, resets: map[string]time.Time{}}
	a.peering.given = a.peering.set.BGP()
}

// gatewaysChanged is nil, which never receives, where nothing follows them.
func (a *Agent) gatewaysChanged() <-chan struct{} {
	if a.deps.Gateways == nil {
		return nil
	}
	return a.deps.Gateways.Changed()
}

// seePeers finds out which peers this node has by now, and reports whether the speaker has to
// be told. Nothing is decided before the source has synced.
func (a *Agent) seePeers(delta desired.Delta) bool {
	p := &a.peering
	if delta.Reset || delta.NodesChanged {
		p.node.Labels, p.node.Known = labelsOf(delta, p.node.Name)
		p.doubt = true
	}
	if !p.doubt {
		return false
	}
	p.doubt = false
	if a.deps.Gateways != nil {
		p.node.Gateways = a.deps.Gateways.Gateways()
	}
	p.set = peers.Resolve(a.cfg.BGP.Peers, p.node, p.set)
	a.peersPending = !slices.EqualFunc(p.set.BGP(), p.given, samePeer)
	return a.peersPending
}

func samePeer(a, b bgp.Peer) bool { return reflect.DeepEqual(a, b) }

// labelsOf gives the labels of a Node; false where it is not there.
func labelsOf(delta desired.Delta, name string) (map[string]string, bool) {
	for _, n := range delta.Nodes {
		if n.Name == name {
			return n.Labels, true
		}
	}
	return nil, false
}

// syncPeers gives the speaker the peers that this node has by now.
func (a *Agent) syncPeers(ctx context.Context) error {
	if !a.peersPending || a.ending {
		return nil
	}
	want := a.peering.set.BGP()
	a.foretell(want)
	if err := a.reconciler.speaker.SetPeers(ctx, want); err != nil {
		return fmt.Errorf("change BGP peers: %w", err)
	}
	a.peersPending, a.peering.given = false, want
	return nil
}

// spelling is a speaker that is told of peers by the names of their entries.
type spelling struct {
	Speaker
	agent *Agent
}

// Sync is the loop's, as are the peers.
func (s spelling) Sync(ctx context.Context, want []bgp.Path) error {
	return s.Speaker.Sync(ctx, s.agent.peering.set.Paths(want))
}

// foretell warns of sessions that are up and end for an edit.
func (a *Agent) foretell(want []bgp.Peer) {
	up := map[string]bool{}
	for _, s := range a.reconciler.speaker.Peers() {
		up[s.Name] = api.SessionUp(s)
	}
	for _, before := range a.peering.given {
		i := slices.IndexFunc(want, func(p bgp.Peer) bool { return p.Name == before.Name })
		if i < 0 || !up[before.Name] {
			continue
		}
		if keys := before.Resets(want[i]); len(keys) > 0 {
			a.log.Warn("the BGP session is reset, as its peer is changed", "peer", before.Name, "keys", strings.Join(keys, ", "))
			a.peering.resets[before.Name] = time.Now()
		}
	}
}

// seeSessions tells of sessions that ended, and of those that are up again after an edit.
func (a *Agent) seeSessions(states []bgp.PeerState) {
	seen := map[string]bgp.PeerState{}
	for _, s := range states {
		if before, known := a.peering.seen[s.Name]; known && s.Flaps > before.Flaps {
			a.tellEnd(s, causeSince(before, s))
		}
		seen[s.Name] = s
		at, waited := a.peering.resets[s.Name]
		if waited && api.SessionUp(s) && !s.Since.Before(at) {
			a.log.Info("the BGP session is up again after its peer was changed", "peer", s.Name, "after", time.Since(at).Round(time.Millisecond))
			delete(a.peering.resets, s.Name)
		}
	}
	a.peering.seen = seen
	stdmaps.DeleteFunc(a.peering.resets, func(name string, _ time.Time) bool {
		return !slices.ContainsFunc(states, func(s bgp.PeerState) bool { return s.Name == name })
	})
}

// causeSince is of what the newest of the sessions ended that did since before.
func causeSince(before, now bgp.PeerState) bgp.Cause {
	for cause, n := range now.Causes {
		if n > before.Causes[cause] {
			return cause
		}
	}
	return ""
}

// tellEnd has the Node object say that a session ended, unless somebody wanted it so.
func (a *Agent) tellEnd(s bgp.PeerState, cause bgp.Cause) {
	if a.deps.Cluster == nil || cause == bgp.CauseConfig || a.ending {
		return
	}
	router := s.Interface
	if s.Address.IsValid() {
		router = s.Address.String()
	}
	a.deps.Cluster.SessionEnded(kube.SessionEnd{Peer: s.Name, Router: router, Cause: string(cause), Detail: s.DownReason})
}

// peerAddresses tells what addresses are to BGP, of all configured peers: those of other nodes
// are in use in the network too.
func peerAddresses(c *config.Config, set peers.Set) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	all := set.BGP()
	for i := range c.BGP.Peers {
		all = append(all, c.BGP.Peers[i].BGP())
	}
	for _, p := range all {
		for _, hop := range []netip.Addr{p.NextHop4, p.NextHop6} {
			if hop.IsValid() {
				out[hop] = "the next hop of the routes for BGP peer " + p.Name
			}
		}
	}
	for _, p := range all {
		if p.LocalAddress.IsValid() {
			out[p.LocalAddress] = "this node's end of the session with BGP peer " + p.Name
		}
		if p.Address.IsValid() {
			out[p.Address] = "the address of BGP peer " + p.Name
		}
	}
	return out
}
