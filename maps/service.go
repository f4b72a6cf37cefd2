package maps

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// service is one service as the kernel has it.
type service struct {
	name     string
	id       uint32
	named    bool   // it is in the services map
	region   region // zero rows: none yet
	left     region // where the table was, until the new region is published
	table    *rendezvous.Table
	backends map[netip.AddrPort]*backend
}

// backend is one element of backends.
type backend struct {
	index uint32
	raw   bpf.Backend // as in the kernel
}

// validate refuses what no table can hold, before anything of it is applied.
func (s Service) validate() error {
	if s.Name == "" || len(s.Name) >= len(bpf.Service{}.Name) {
		return fmt.Errorf("the name has %d bytes, of 1 to %d", len(s.Name), len(bpf.Service{}.Name)-1)
	}
	if len(s.Frontends) == 0 {
		return fmt.Errorf("no frontend")
	}
	is4 := s.Frontends[0].VIP.Unmap().Is4()
	for _, f := range s.Frontends {
		if !f.VIP.IsValid() || f.Port == 0 || f.Proto != TCP && f.Proto != UDP {
			return fmt.Errorf("frontend %s needs an address, a port, and tcp or udp", f)
		}
		if f.VIP.Unmap().Is4() != is4 {
			return fmt.Errorf("frontend %s and %s are of two address families", s.Frontends[0], f)
		}
	}
	seen := make(map[netip.AddrPort]bool, len(s.Backends))
	for _, b := range s.Backends {
		if !b.Addr.IsValid() || b.Addr.Port() == 0 || b.Addr.Addr().Unmap().Is4() != is4 {
			return fmt.Errorf("backend %s needs a port and the address family of %s", b.Addr, s.Frontends[0])
		}
		if seen[b.Addr] {
			return fmt.Errorf("backend %s is there twice", b.Addr)
		}
		seen[b.Addr] = true
	}
	return nil
}

// normal returns the service with plain IPv4 addresses, as the maps give them back.
func (s Service) normal() Service {
	s.Frontends, s.Backends = slices.Clone(s.Frontends), slices.Clone(s.Backends)
	for i, f := range s.Frontends {
		s.Frontends[i].VIP = f.VIP.Unmap()
	}
	for i, b := range s.Backends {
		s.Backends[i].Addr = netip.AddrPortFrom(b.Addr.Addr().Unmap(), b.Addr.Port())
	}
	return s
}

// upsert brings one service into the kernel. Where it fails, the frontends still
// say what they said before.
func (t *Tables) upsert(want Service, hops map[netip.Addr]NextHop) error {
	s := t.services[want.Name]
	if s == nil {
		id, err := t.ids.take()
		if err != nil {
			return err
		}
		s = &service{name: want.Name, id: id, backends: make(map[netip.AddrPort]*backend)}
		t.services[want.Name] = s
	}
	if err := t.room(s, want.Backends); err != nil {
		return err
	}
	usable := slices.ContainsFunc(want.Backends, func(b Backend) bool { return b.Weight > 0 })
	if err := t.resize(s, len(want.Backends), usable); err != nil {
		return err
	}
	for _, b := range want.Backends {
		if err := t.upsertBackend(s, b, hops[b.Addr.Addr()]); err != nil {
			return fmt.Errorf("backend %s: %w", b.Addr, err)
		}
	}
	t.fill(s, want.Backends)
	if !s.named {
		if err := t.m.services.Put(s.id, rawService(want.Name)); err != nil {
			return fmt.Errorf("services: %w", err)
		}
		s.named = true
	}
	t.publish(s, want, usable)
	t.retire(s, want.Backends)
	for _, f := range want.Frontends {
		if err := t.upsertFrontend(f, s.id); err != nil {
			return fmt.Errorf("frontend %s: %w", f, err)
		}
	}
	return nil
}

// room makes sure that all backends find a place, before the first one takes it.
func (t *Tables) room(s *service, want []Backend) error {
	more := 0
	for _, b := range want {
		if s.backends[b.Addr] == nil {
			more++
		}
	}
	if more > t.indices.free() {
		t.reuse()
	}
	if free := t.indices.free(); more > free {
		return fmt.Errorf("%d more backends, and there is room for %d of %d: raise datapath.maxBackends",
			more, free, t.indices.limit)
	}
	return nil
}

func (t *Tables) upsertBackend(s *service, want Backend, hop NextHop) error {
	raw := rawBackend(want.Addr, s.id, hop)
	b := s.backends[want.Addr]
	if b != nil && raw.Source == (bpf.Addr{}) {
		raw.Source = b.raw.Source // for now nobody knows the way; the node's address is still its own
	}
	if b == nil {
		index, err := t.indices.take()
		if err != nil {
			return err
		}
		if err := t.m.counters.Put(index, make([]bpf.BackendCounter, t.cpus)); err != nil {
			t.indices.put(index)
			return fmt.Errorf("counters: %w", err)
		}
		b = &backend{index: index}
		s.backends[want.Addr] = b
	}
	if b.raw == raw {
		return nil
	}
	if err := t.m.backends.Put(b.index, raw); err != nil {
		return fmt.Errorf("backends: %w", err)
	}
	if err := t.m.backendIndices.Put(backendKey(want.Addr, s.id), b.index); err != nil {
		return fmt.Errorf("backend_indices: %w", err)
	}
	b.raw = raw
	return nil
}

// resize gives the table a region of the right size. A service that never had a
// usable backend has none. Packets use the old region until publish.
func (t *Tables) resize(s *service, backends int, usable bool) error {
	rows := max(rendezvous.RowsFor(backends, t.opts.Rows), bpf.RegionAlign)
	if !usable || s.region.rows == rows {
		return nil
	}
	g, err := t.regions.take(rows)
	if err != nil && len(t.freed.regions) > 0 {
		t.reuse()
		g, err = t.regions.take(rows)
	}
	if err != nil {
		return err
	}
	if s.left.rows == 0 {
		s.left = s.region
	} else { // a Sync that failed has not published it
		t.freed.regions = append(t.freed.regions, s.region)
	}
	s.region, s.table = g, nil
	return nil
}

// fill makes the rows name their owners. Where no backend is usable the rows stay,
// and the frontend will say that they mean nothing; the table forgets them, for
// the backends that they name may be gone by and by.
func (t *Tables) fill(s *service, want []Backend) {
	if s.region.rows == 0 {
		return
	}
	if s.table == nil {
		s.table = rendezvous.New(t.opts.Seed, s.region.rows)
	}
	endpoints := make([]rendezvous.Endpoint, 0, len(want))
	for _, b := range want {
		endpoints = append(endpoints, rendezvous.Endpoint{ID: b.Addr, Weight: b.Weight})
	}
	for _, row := range s.table.Set(endpoints) {
		if owner, ok := s.table.Row(row); ok {
			t.slots.set(s.region.base+row, s.backends[owner].index)
		}
	}
}

// publish makes the service's region what packets use, for all of its frontends
// at once.
func (t *Tables) publish(s *service, want Service, usable bool) {
	if raw := rawRegion(want, s.region, usable); t.published.get(s.id) != raw {
		t.published.set(s.id, raw)
	}
	if s.left.rows != 0 {
		t.freed.regions = append(t.freed.regions, s.left)
		s.left = region{}
	}
}

// retire notes the backends that no row and no wish names any more.
func (t *Tables) retire(s *service, want []Backend) {
	keep := make(map[netip.AddrPort]bool, len(want))
	for _, b := range want {
		keep[b.Addr] = true
	}
	for addr, b := range s.backends {
		if !keep[addr] {
			delete(s.backends, addr)
			t.gone = append(t.gone, goneBackend{backendKey(addr, s.id), b.index})
		}
	}
}

// remove takes a service out of the memory of what is in the kernel, after its
// frontends are gone.
func (t *Tables) remove(s *service) error {
	t.published.set(s.id, bpf.Region{})
	t.retire(s, nil)
	for _, r := range []region{s.left, s.region} {
		if r.rows != 0 {
			t.freed.regions = append(t.freed.regions, r)
		}
	}
	delete(t.services, s.name)
	t.freed.ids = append(t.freed.ids, s.id)
	return ignoreMissing(t.m.services.Delete(s.id))
}

// pruneServices removes the services that are not wanted and that no frontend
// points at.
func (t *Tables) pruneServices(wanted map[string]bool) error {
	pointed := make(map[uint32]bool)
	for _, id := range t.frontends {
		pointed[id] = true
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		s := t.services[name]
		if wanted[name] || pointed[s.id] {
			continue
		}
		if err := t.remove(s); err != nil {
			errs = append(errs, &ServiceError{name, err})
		}
	}
	return errors.Join(errs...)
}
