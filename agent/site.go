package agent

import (
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
		Node: a.booted.Node, TunnelPort: a.booted.Tunnel.Port, Placement: a.placement(), Allocation: allocation(a.cfg), Own: own, Peers: peerAddresses(a.cfg, a.peering.set), VIPs: a.cfg.VIPs,
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
