package agent

import (
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
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
	a.mu.RUnlock()
	s.VIPs, s.Services, s.Reasons = nonNil(s.VIPs), nonNil(s.Services), nonNil(s.Reasons)
	s.Source.Problems, s.Datapath.Interfaces = nonNil(s.Source.Problems), nonNil(s.Datapath.Interfaces)
	s.Warnings = slices.Clone(s.Warnings)
	s.BGP.Peers = a.Peers()
	if len(s.BGP.Peers) > 0 && !slices.ContainsFunc(s.BGP.Peers, api.SessionUp) {
		s.VIPs = untold(s.VIPs)
	}
	s.Assess()
	return s
}

// untold is what becomes of announced VIPs while no router listens.
func untold(vips []api.VIPStatus) []api.VIPStatus {
	vips = slices.Clone(vips)
	for i := range vips {
		if vips[i].Announced {
			vips[i].Announced, vips[i].Reason = false, NoSession
		}
	}
	return vips
}
