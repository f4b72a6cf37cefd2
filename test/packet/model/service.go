package model

import (
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/maps/flowhash"
	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// smallestTable is the least number of rows, whatever is configured.
const smallestTable = 32

type service struct {
	maps.Service
	table  *chain.Table // nil if no backend ever took a flow
	rows   uint32
	former []chain.Size // that the table had
	usable bool         // a backend takes new flows
	nat    bool         // some backend's flows are translated here, or were

	// The node's address towards each backend. It stays while the way is not known.
	sources map[netip.AddrPort]netip.Addr
}

// newService is s after what there was before, which may be nil.
func newService(cfg Config, s maps.Service, before *service, hops map[netip.Addr]maps.NextHop, now time.Time) *service {
	svc := &service{Service: s, sources: map[netip.AddrPort]netip.Addr{}}
	if before == nil {
		before = &service{}
	}
	svc.rows, svc.former, svc.nat = before.rows, before.former, before.nat
	direct := false
	for _, b := range s.Backends {
		svc.sources[b.Addr] = hops[b.Addr.Addr()].Source
		if !svc.sources[b.Addr].IsValid() {
			svc.sources[b.Addr] = before.sources[b.Addr]
		}
		svc.usable = svc.usable || takesFlows(b)
		svc.nat = svc.nat || !b.Tunnel.IsValid()
		direct = direct || b.Tunnel.IsValid()
	}
	rows := max(rendezvous.RowsFor(len(s.Backends), cfg.Rows), smallestTable)
	if (svc.usable || direct) && rows != svc.rows {
		if svc.rows != 0 {
			svc.former = append(svc.former, chain.Size{Rows: svc.rows, Until: now})
		}
		svc.rows = rows
	}
	if svc.rows == 0 {
		return svc
	}
	opts := chain.Options{Longest: 1}
	if direct {
		opts = cfg.Chain
	}
	svc.table = chain.New(cfg.Seed, svc.rows, opts, append(svc.former, s.Sizes...)...)
	svc.table.Set(now, endpoints(s, direct))
	return svc
}

func takesFlows(b maps.Backend) bool { return b.Weight > 0 && !b.Draining }

// endpoints are the backends as chain ranks them. Only where a backend answers its
// clients itself is there a past that matters: a translated flow is remembered.
func endpoints(s maps.Service, direct bool) (eps []chain.Endpoint) {
	for _, b := range s.Backends {
		e := chain.Endpoint{ID: b.Addr, Weight: b.Weight}
		if direct {
			e.BornAt, e.Former = b.BornAt, b.Former
		}
		switch {
		case takesFlows(b) && direct && !b.EligibleSince.IsZero():
			e.EligibleSince = b.EligibleSince
		case takesFlows(b):
			e.EligibleSince = time.Unix(0, 0) // since ever
		case direct:
			e.LostAt = b.LostAt
		default:
			continue
		}
		eps = append(eps, e)
	}
	return eps
}

// backend is false if the service has none of that address.
func (s *service) backend(addr netip.AddrPort) (maps.Backend, bool) {
	for _, b := range s.Backends {
		if b.Addr == addr {
			return b, true
		}
	}
	return maps.Backend{}, false
}

func (s *service) has(addr netip.AddrPort) bool {
	_, ok := s.backend(addr)
	return ok
}

// row is where a flow belongs in the service's table.
func (m *Model) row(s *service, t tuple) uint32 {
	hash := flowhash.FlowHash(m.cfg.Seed, t.src, t.dst, t.proto)
	if s.Affinity == maps.AffinityClientIP {
		hash = flowhash.AffinityHash(m.cfg.Seed, t.src.Addr(), t.dst.Addr())
	}
	return hash & (s.rows - 1)
}

// admits says whether the service is for the client.
func (s *service) admits(client netip.Addr) bool {
	return !s.Restricted || slices.ContainsFunc(s.Sources, func(p netip.Prefix) bool { return p.Contains(client) })
}
