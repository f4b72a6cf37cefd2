package agent

import (
	stdmaps "maps"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps"
)

// hold replaces the services of stuck addresses by what the tables have. Where
// that leaves another told address without a service, because a held one was to
// serve it from now on, that address is held as well.
func (r *reconciler) hold(want []maps.Service, stuck map[netip.Addr]bool) []maps.Service {
	for len(stuck) > 0 {
		held := r.merge(want, stuck)
		before := len(stuck)
		for p := range r.told {
			if !r.served(p, held) {
				stdmaps.Copy(stuck, r.aggregates.behind(p))
			}
		}
		if len(stuck) == before {
			return held
		}
	}
	return want
}

// served tells whether one of the addresses behind a path has a service that takes new flows.
func (r *reconciler) served(path netip.Prefix, services []maps.Service) bool {
	for addr := range r.aggregates.behind(path) {
		if slices.ContainsFunc(services, func(s maps.Service) bool { return carries(s, addr) }) {
			return true
		}
	}
	return false
}

// merge returns the written services of the stuck addresses, and of want those
// that take neither a name nor an address from them.
func (r *reconciler) merge(want []maps.Service, stuck map[netip.Addr]bool) []maps.Service {
	var merged []maps.Service
	names, addrs := map[string]bool{}, stdmaps.Clone(stuck)
	for _, name := range slices.Sorted(stdmaps.Keys(r.written)) {
		s := r.written[name]
		if !slices.ContainsFunc(s.Frontends, func(f maps.Frontend) bool { return stuck[f.VIP] }) {
			continue
		}
		merged, names[name] = append(merged, s), true
		for _, f := range s.Frontends {
			addrs[f.VIP] = true
		}
	}
	for _, s := range want {
		clash := slices.ContainsFunc(s.Frontends, func(f maps.Frontend) bool { return addrs[f.VIP] })
		if !clash && !names[s.Name] {
			merged = append(merged, s)
		}
	}
	return merged
}

// carries tells whether s takes new flows that come to addr.
func carries(s maps.Service, addr netip.Addr) bool {
	return slices.ContainsFunc(s.Frontends, func(f maps.Frontend) bool { return f.VIP == addr }) &&
		slices.ContainsFunc(s.Backends, maps.Backend.Eligible)
}
