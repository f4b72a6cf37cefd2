package agent

import (
	"cmp"
	stdmaps "maps"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

// board is what readers see of Services and VIPs. The loop changes it by the parts that
// changed, and who reads it pays for the lists. Agent.mu guards it.
type board struct {
	vips     map[netip.Addr]api.VIPStatus
	services map[string]posting // by namespace/name
}

// posting is all that there is to see of one Service.
type posting struct {
	bundle   desired.Bundle
	tables   []api.ServiceStatus
	wanted   []maps.Service
	reasons  []desired.ServiceReason
	backends []desired.Backend
}

func newBoard() *board {
	return &board{vips: map[netip.Addr]api.VIPStatus{}, services: map[string]posting{}}
}

// reset shows everything anew.
func (b *board) reset(a *Agent, want desired.State, vips []verdict) {
	next := newBoard()
	for _, v := range vips {
		next.vips[v.Addr] = vipStatus(v)
	}
	wanted := map[string][]maps.Service{}
	for _, s := range want.Services {
		name := desired.ServiceOf(s.Name)
		wanted[name] = append(wanted[name], s)
	}
	for name := range a.model.Services() {
		next.services[name] = a.posting(name, wanted[name])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	*b = *next
}

// follow shows what a change made of a part.
func (b *board) follow(a *Agent, p part, change desired.Change, vips []verdict) {
	wanted := map[string][]maps.Service{}
	for _, s := range p.services {
		name := desired.ServiceOf(s.Name)
		wanted[name] = append(wanted[name], s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range vips {
		b.vips[v.Addr] = vipStatus(v)
	}
	for _, addr := range p.gone {
		delete(b.vips, addr)
	}
	for name := range change.Services {
		if _, has := a.model.Object(name); has {
			b.services[name] = a.posting(name, wanted[name])
		} else {
			delete(b.services, name)
		}
	}
}

func (a *Agent) posting(name string, wanted []maps.Service) posting {
	bundle, _ := a.model.Object(name)
	p := posting{bundle: bundle, wanted: wanted, reasons: a.model.Reasons(name), backends: a.model.Backends(name)}
	for _, s := range wanted {
		p.tables = append(p.tables, a.serviceStatus(s))
	}
	return p
}

func vipStatus(v verdict) api.VIPStatus {
	if v.announced && v.as != "" {
		v.Reason = v.as
	}
	return api.VIPStatus{
		VIP: v.Addr, Prefix: v.Path.Prefix, Suppressed: v.Suppressed, Within: v.Within(), Announced: v.announced, Reason: v.Reason, Detail: v.Detail,
		Services: nonNil(v.Services),
	}
}

// fill makes the lists of a status.
func (b *board) fill(s *api.Status) {
	s.VIPs = slices.SortedFunc(stdmaps.Values(b.vips), func(a, b api.VIPStatus) int { return a.VIP.Compare(b.VIP) })
	s.Services, s.Reasons, s.Backends = []api.ServiceStatus{}, []desired.ServiceReason{}, nil
	for _, name := range slices.Sorted(stdmaps.Keys(b.services)) {
		p := b.services[name]
		s.Services = append(s.Services, p.tables...)
		s.Reasons = append(s.Reasons, p.reasons...)
		s.Backends = append(s.Backends, p.backends...)
	}
	slices.SortStableFunc(s.Services, func(a, b api.ServiceStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(s.Backends, func(a, b desired.Backend) int { return cmp.Compare(a.Service, b.Service) })
}
