package agent

import (
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
)

// update changes the published status. Slices in it are replaced, never written
// to, because readers share them.
func (a *Agent) update(change func(*api.Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
}

// Status returns what the last pass published, with the sessions as they are
// now.
func (a *Agent) Status() api.Status {
	a.mu.RLock()
	s := a.status
	a.shown.fill(&s)
	a.mu.RUnlock()
	s.VIPs = nonNil(s.VIPs)
	if a.deps.Cluster != nil {
		link := a.deps.Cluster.Link()
		s.Source.API = &link
	}
	s.Source.Problems, s.Datapath.Interfaces = nonNil(s.Source.Problems), nonNil(s.Datapath.Interfaces)
	s.Warnings = slices.Clone(s.Warnings)
	s.BGP.Peers = a.Peers()
	s.Tunnels = a.probed(s.Tunnels)
	if len(s.BGP.Peers) > 0 {
		s.VIPs = untold(s.VIPs, a.Routes())
	}
	s.Assess()
	return s
}

// untold is what becomes of announced VIPs that no router has at the moment: a
// session may be down, or carry the other family only.
func untold(vips []api.VIPStatus, routes []bgp.Route) []api.VIPStatus {
	has := map[netip.Prefix]bool{}
	for _, r := range routes {
		has[r.Prefix] = len(r.Peers) > 0
	}
	vips = slices.Clone(vips)
	for i := range vips {
		v := &vips[i]
		told := has[v.Prefix] || slices.ContainsFunc(v.Within, func(p netip.Prefix) bool { return has[p] })
		if v.Announced && !told {
			v.Announced, v.Reason = false, NoSession
			v.Detail = "no session is up that carries " + system.FamilyOf(v.VIP) + " routes and is told of it"
		}
	}
	return vips
}
