package maps

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// service is one service as the kernel has it.
type service struct {
	name     string
	id       uint32
	named    bool   // it is in the services map
	region   region // zero rows: none yet
	left     region // where the table was, until the new region is published
	backends map[netip.AddrPort]*backend
	nat      translation
	sources  map[bpf.SourceKey]bool // that the kernel has of it

	frontends []Frontend // that the kernel has of it

	table   *chain.Table     // nil: it was let go, or it is not known what the rows mean
	settled bool             // it was let go, and is made again when it has something to say
	direct  bool             // it looks for displaced flows
	fresh   bool             // the rows are not yet what the table says
	given   []chain.Endpoint // what it was last given
	sizes   []chain.Size     // what it was made with

	former []chain.Size // those that this process saw end
	short  uint32       // rows that found no room for their chain
	late   bool         // rows are not yet all that they are to be: see putRow
	filled uint64       // the Sync in which all rows were written last

	due   time.Time // when time changes something, zero if never
	place int       // in the queue of those, from 1; 0: not there
}

func newService(name string, id uint32) *service {
	return &service{name: name, id: id, backends: make(map[netip.AddrPort]*backend), sources: make(map[bpf.SourceKey]bool)}
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
	for _, p := range s.Sources {
		if s.Restricted && !isSource(p, is4) {
			return fmt.Errorf("source range %s is not of the address family of %s", p, s.Frontends[0])
		}
	}
	return nil
}

// normal returns the service with plain IPv4 addresses, as the maps give them back.
func (s Service) normal() Service {
	s.Frontends, s.Backends, s.Sources = slices.Clone(s.Frontends), slices.Clone(s.Backends), slices.Clone(s.Sources)
	for i, f := range s.Frontends {
		s.Frontends[i].VIP = f.VIP.Unmap()
	}
	for i, b := range s.Backends {
		s.Backends[i].Addr = netip.AddrPortFrom(b.Addr.Addr().Unmap(), b.Addr.Port())
		s.Backends[i].Tunnel = b.Tunnel.Unmap()
	}
	return s
}

// upsert brings one service into the kernel. Where it fails, the frontends still
// say what they said before.
func (t *Tables) upsert(want wish, all Want) error {
	s := t.services[want.Name]
	if s == nil {
		id, err := t.ids.take()
		if err != nil {
			return err
		}
		s = newService(want.Name, id)
		t.services[want.Name], t.byID[id] = s, s
	}
	defer t.schedule(s)
	sources := sourceKeys(want.Service, s.id)
	if err := errors.Join(t.room(s, want.Backends), t.roomForSources(s, sources)); err != nil {
		return err
	}
	now := t.now()
	if err := t.resize(s, want.Service, now); err != nil {
		return err
	}
	for _, b := range want.Backends {
		hop, _ := want.hop(b, all)
		if err := t.upsertBackend(s, b, hop, all); err != nil {
			return fmt.Errorf("backend %s: %w", b.Addr, err)
		}
	}
	if err := t.addSources(s, sources); err != nil {
		return err
	}
	if !s.named {
		if err := t.m.services.Put(s.id, rawService(want.Name)); err != nil {
			return fmt.Errorf("services: %w", err)
		}
		s.named = true
	}
	s.nat.see(want.translated(), now, t.opts.Chain.Retention)
	if want.usable() || s.left.rows != 0 || t.published.get(s.id).Flags&bpf.RegionUsable == 0 {
		t.fill(s, want.Service, now)
		t.publish(s, want.Service)
		s.settle()
	} else { // nobody may be sent to the first of a row that has no primary
		t.publish(s, want.Service)
		t.unfilled = append(t.unfilled, unfilled{s, want.Service, now})
	}
	t.retire(s, want.Backends)
	t.retireSources(s, sources)
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

// resize gives the table a region of the right size. A service that never had a
// backend with flows has none. Packets use the old region until publish.
func (t *Tables) resize(s *service, want Service, now time.Time) error {
	rows := max(rendezvous.RowsFor(len(want.Backends), t.opts.Rows), bpf.RegionAlign)
	if !want.usable() && !want.direct() || s.region.rows == rows {
		return nil
	}
	g, err := t.take(rows)
	if err != nil {
		return err
	}
	if s.left.rows == 0 {
		s.left = s.region
	} else { // a Sync that failed has not published it
		t.leave(s.region)
	}
	s.former = slices.DeleteFunc(s.former, func(size chain.Size) bool {
		return now.Sub(size.Until) >= t.opts.Chain.Retention
	})
	if s.left.rows != 0 {
		s.former = append(s.former, chain.Size{Rows: s.left.rows, Until: now})
	}
	s.region, s.table, s.settled = g, nil, false
	return nil
}

// publish makes the service's region what packets use, for all of its frontends
// at once.
func (t *Tables) publish(s *service, want Service) {
	if raw := rawRegion(want, s.region, want.usable(), s.nat.flag()); t.published.get(s.id) != raw {
		t.published.set(s.id, raw)
	}
	t.leave(s.left)
	s.left = region{}
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
			t.gone = append(t.gone, goneBackend{backendKey(addr, s.id), b})
		}
	}
}

// remove takes a service out of the memory of what is in the kernel, after its
// frontends are gone.
func (t *Tables) remove(s *service) error {
	t.published.set(s.id, bpf.Region{})
	t.retire(s, nil)
	t.retireSources(s, nil)
	t.leave(s.left)
	t.leave(s.region)
	t.unschedule(s)
	delete(t.services, s.name)
	delete(t.byID, s.id)
	t.sources.ids = append(t.sources.ids, s.id)
	t.freeIDs()
	return ignoreMissing(t.m.services.Delete(s.id))
}

// pruneServices removes the services that are not wanted and that no frontend
// points at.
func (t *Tables) pruneServices() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(t.wishes.leaving)) {
		s := t.services[name]
		if s != nil && len(s.frontends) > 0 {
			continue
		}
		delete(t.wishes.leaving, name)
		if s == nil {
			continue
		}
		if err := t.remove(s); err != nil {
			errs = append(errs, &ServiceError{name, err})
		}
	}
	return errors.Join(errs...)
}
