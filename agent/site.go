package agent

import (
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
)

// site is what the wanted state depends on beside Kubernetes objects. While the
// node's addresses cannot be read, those of before count; where there are none,
// any Service could take the node's own address, and the error is returned.
func (a *Agent) site() (desired.Site, error) {
	own, err := a.deps.System.Addresses()
	if err != nil {
		a.ledger.Note("step", "addresses", err.Error())
		if a.own == nil {
			return desired.Site{}, err
		}
		own = a.own
	}
	a.own = own
	a.remeasure()
	seen := a.deps.Prober.Result()
	return desired.Site{
		Node: a.booted.Node, TunnelPort: a.booted.Tunnel.Port, Placement: a.placement(), Allocation: allocation(a.cfg), Own: own, Peers: peerAddresses(a.cfg), VIPs: a.cfg.VIPs,
		Forwarding: desired.Forwarding(a.cfg.Forwarding), LBNodes: a.lbNodes,
		DefaultClass: a.cfg.DefaultClass || !allocates(a.cfg), Allocated: allocates(a.cfg), Pools: a.cfg.Pools,
		Advertised: a.cfg.Advertised(a.capacity.bytes),
		Publishes:  a.deps.Cluster != nil, Fresh: a.deps.Cluster != nil && time.Since(a.status.Since) < control.Introduction,
		Capacity:  desired.Capacity{Tables: int(a.booted.Datapath.MaxRows / a.booted.Datapath.Rows), Frontends: int(a.booted.Datapath.MaxFrontends)},
		Answering: seen.Answering, Dead: seen.Dead, FailOpen: seen.Open, Sticky: a.history.Tunnels(),
	}, nil
}

// allocates tells whether Services get their addresses from pools. Who writes manifests
// gives them himself, and means all Services that he writes for us.
func allocates(c *config.Config) bool { return c.Source.Kind == config.SourceKubernetes }

// peerAddresses tells what addresses are to BGP.
func peerAddresses(c *config.Config) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, p := range c.BGP.Peers {
		for _, hop := range []netip.Addr{p.NextHop4, p.NextHop6} {
			if hop.IsValid() {
				out[hop] = "the next hop of the routes for BGP peer " + p.Name
			}
		}
	}
	for _, p := range c.BGP.Peers {
		if p.LocalAddress.IsValid() {
			out[p.LocalAddress] = "this node's end of the session with BGP peer " + p.Name
		}
		out[p.Address] = "the address of BGP peer " + p.Name
	}
	return out
}
