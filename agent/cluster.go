package agent

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// Cluster is the API server beside the Source: what the agent tells it, and what it does
// there. None but Run, Tenure and Forget waits for an answer.
type Cluster interface {
	Run(ctx context.Context) error // until ctx ends
	Configure(*config.Config)      // what applies live
	Link() api.Link
	Pools() api.PoolsStatus
	Services(reports []kube.ServiceReport)
	Gone(services []string)
	Node(desired.Published)
	Forget(ctx context.Context) error // takes back what Node published, for good
	SessionEnded(kube.SessionEnd)
	Trouble(reason, subject, message string)
	control.Tenant
}

var (
	_ api.Explainer = (*Agent)(nil)
	_ api.Allocator = (*Agent)(nil)

	_ api.Configured = (*Agent)(nil)
)

// seeNodes keeps what Nodes say of their agents for readers.
func (a *Agent) seeNodes(delta desired.Delta) {
	if delta.NodesChanged || delta.Reset {
		nodes := api.Nodes(delta.Nodes)
		a.update(func(s *api.Status) { s.Nodes = nodes })
	}
}

// tellCluster reports what became of the named Services, or of all.
func (a *Agent) tellCluster(only map[string]bool) {
	if a.deps.Cluster == nil {
		return
	}
	names := only
	if only == nil {
		names = map[string]bool{}
		for name := range a.model.Services() {
			names[name] = true
		}
		for name := range a.reported {
			names[name] = true
		}
	}
	up := a.established()
	var reports []kube.ServiceReport
	var gone []string
	for name := range names {
		before, known := a.reported[name]
		report, has := a.serviceReport(name, up)
		empty := len(report.VIPs)+len(report.Reasons) == 0
		if !has || empty {
			delete(a.reported, name)
		}
		switch {
		case !has:
			gone = append(gone, name)
		case empty && known, !empty && (!known || !reflect.DeepEqual(before, report)):
			reports = append(reports, report)
			if !empty {
				a.reported[name] = report
			}
		}
	}
	slices.SortFunc(reports, func(a, b kube.ServiceReport) int { return cmp.Compare(a.Service, b.Service) })
	a.deps.Cluster.Services(reports)
	a.deps.Cluster.Gone(gone)
	a.tellNode()
}

// serviceReport is what this node makes of a Service; false for one that is gone.
func (a *Agent) serviceReport(name string, up map[string][]string) (kube.ServiceReport, bool) {
	bundle, has := a.model.Object(name)
	if !has {
		return kube.ServiceReport{}, false
	}
	r := kube.ServiceReport{Service: name, UID: string(bundle.Service.UID)}
	for _, reason := range a.model.Reasons(name) {
		if !reason.Foreign() && !reason.Allocation() {
			r.Reasons = append(r.Reasons, reason)
		}
	}
	for _, addr := range a.model.VIPs(name) {
		v, judged := a.announced[addr]
		if !judged {
			continue
		}
		report := kube.VIPReport{VIP: addr, Announced: v.announced, Reason: v.Reason, Detail: v.Detail}
		if v.announced {
			report.Peers = slices.DeleteFunc(slices.Clone(up[system.FamilyOf(addr)]), func(peer string) bool { return !v.ToldTo(a.peering.set.Entry(peer)) })
		}
		r.VIPs = append(r.VIPs, report)
	}
	return r, true
}

// established names the peers that take routes, by family, and notes whether there is one.
func (a *Agent) established() map[string][]string {
	out := map[string][]string{}
	a.connected = false
	for _, p := range a.speaker.Peers() {
		if p.State != bgp.Established {
			continue
		}
		a.connected = true
		for _, f := range p.Families {
			out[string(f.Family)] = append(out[string(f.Family)], p.Name)
		}
	}
	return out
}

// tellPeers reports all Services anew if other peers take their routes than before, and this node if
// there is one, or none any more.
func (a *Agent) tellPeers() {
	a.seeSessions(a.speaker.Peers())
	before := a.connected
	if up := a.established(); a.deps.Cluster != nil && !reflect.DeepEqual(up, a.up) {
		a.up = up
		a.tellCluster(nil)
	} else if a.connected != before {
		a.tellNode()
	}
}

// aliveEvery is how often this node says that it is alive, and needs a pass as often.
const aliveEvery = resync

// tellNode publishes this node as the last pass left it.
func (a *Agent) tellNode() {
	if a.deps.Cluster == nil {
		return
	}
	p := desired.Published{
		Alive:   time.Now().UTC().Truncate(aliveEvery),
		Version: a.deps.Version, TunnelPort: a.booted.Tunnel.Port, Placement: a.placement(), Allocation: allocation(a.cfg),
	}
	if a.attachments != nil {
		p.Datapath = api.Datapaths(a.attachments.status())
	}
	switch {
	case a.ending:
		p.Reason, p.Leaving = "it is shutting down", a.leaving
	case len(a.life.asks) > 0:
		p.Reason = desired.DrainsBy + string(a.life.asks[0].By)
	case a.reconciler == nil || !a.reconciler.synced:
		p.Reason = "its tables are not written yet"
	case a.attachments.attached() == 0:
		p.Reason = "its program is attached to no interface"
	case len(a.cfg.BGP.Peers) > 0 && !a.connected: // who drains for this node leaves no router a route
		p.Reason = "no BGP session is up"
	default:
		p.Ready = true
	}
	a.deps.Cluster.Node(p)
}

// placement is that of what is in force: of the keys that need a restart, as booted.
func (a *Agent) placement() string {
	c := *a.booted
	c.Forwarding = a.cfg.Forwarding
	return placement(&c)
}

// Object returns what the source has of a Service.
func (a *Agent) Object(service string) (*api.Object, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	p, has := a.shown.services[service]
	if !has {
		return nil, false
	}
	return api.NewObject(p.bundle), true
}

// Wanted returns the tables that a Service is to have.
func (a *Agent) Wanted(service string) []maps.Service {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.shown.services[service].wanted
}

// Pools says how full the pools are, as far as this agent knows.
func (a *Agent) Pools() api.PoolsStatus {
	if a.deps.Cluster == nil {
		return api.PoolsStatus{Error: "source.kind is manifests: Services have the addresses that their manifests name"}
	}
	return a.deps.Cluster.Pools()
}
