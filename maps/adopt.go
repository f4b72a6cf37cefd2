package maps

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// adopt reads what the kernel holds. What makes no sense there, for example after
// a crash in the middle of a Sync, is removed, and so written anew by the next
// Sync where it is wanted.
func (t *Tables) adopt() error {
	if err := t.adoptServices(); err != nil {
		return fmt.Errorf("adopt services: %w", err)
	}
	if err := t.adoptSources(); err != nil {
		return fmt.Errorf("adopt source ranges: %w", err)
	}
	t.adoptRegions()
	if err := t.adoptFrontends(); err != nil {
		return fmt.Errorf("adopt frontends: %w", err)
	}
	if err := errors.Join(t.tunnels.adopt(), t.members.adopt()); err != nil {
		return fmt.Errorf("adopt tunnels and members: %w", err)
	}
	if err := t.adoptBackends(); err != nil {
		return fmt.Errorf("adopt backends: %w", err)
	}
	return nil
}

func (t *Tables) adoptServices() error {
	var stray []uint32
	var id uint32
	var raw bpf.Service
	it := t.m.services.Iterate()
	for it.Next(&id, &raw) {
		s := newService(serviceName(raw), id)
		s.named = true
		if s.name == "" || rawService(s.name) != raw || t.services[s.name] != nil || t.ids.reserve(id) != nil {
			t.log.Warn("adopt: an entry of services makes no sense", "service", s.name, "id", id)
			stray = append(stray, id)
			continue
		}
		t.services[s.name], t.byID[id] = s, s
	}
	return errors.Join(it.Err(), deleteAll(t.m.services, stray))
}

func (t *Tables) adoptRegions() {
	for id := range uint32(len(t.published.words)) {
		raw := t.published.get(id)
		if raw == (bpf.Region{}) {
			continue
		}
		s := t.byID[id]
		if s == nil {
			t.published.set(id, bpf.Region{})
			continue
		}
		r, ok := regionOf(raw)
		if raw.Table == 0 { // it never had a usable backend
			continue
		}
		if !ok || t.regions.reserve(r) != nil {
			t.log.Warn("adopt: a region makes no sense", "service", s.name, "base", r.base, "rows", r.rows)
			t.published.set(id, bpf.Region{})
			continue
		}
		s.region = r
		s.nat.backends = raw.Flags&bpf.RegionNAT != 0
		t.adoptRows(s)
	}
	t.chains.settle()
}

// adoptRows claims the elements of chains that the service's rows name.
func (t *Tables) adoptRows(s *service) {
	for row := s.region.base; row < s.region.base+s.region.rows; row++ {
		index, ok := t.chainOf(row)
		if !ok {
			continue
		}
		if err := t.chains.adopt(index); err != nil {
			t.log.Warn("adopt: a row makes no sense", "service", s.name, "row", row-s.region.base, "err", err)
			t.slots.set(row, noOwner)
		}
	}
}

func (t *Tables) adoptFrontends() error {
	var key bpf.FrontendKey
	var value bpf.Frontend
	it := t.m.frontends.Iterate()
	for it.Next(&key, &value) {
		if f := frontendOf(key); isVIP(key) {
			t.vips[f.VIP] = true
		} else {
			t.point(f, value.Service)
		}
	}
	for vip := range t.vips {
		t.idleVIPs[vip] = t.vipRefs[vip] == 0
	}
	maps.DeleteFunc(t.idleVIPs, func(_ netip.Addr, idle bool) bool { return !idle })
	return it.Err()
}

func (t *Tables) adoptBackends() error {
	var stray []bpf.BackendKey
	var key bpf.BackendKey
	var index uint32
	it := t.m.backendIndices.Iterate()
	for it.Next(&key, &index) {
		var raw bpf.Backend
		if err := ignoreMissing(t.m.backends.Lookup(index, &raw)); err != nil {
			return err
		}
		addr := netip.AddrPortFrom(key.Addr.Netip(), bpf.Htons(key.Port))
		s := t.byID[key.Service]
		if s == nil || backendKey(addr, s.id) != key || raw.Service != key.Service || backendAddr(raw) != addr ||
			t.indices.reserve(index) != nil {
			stray = append(stray, key)
			continue
		}
		s.backends[addr] = &backend{index: index, raw: raw}
		t.tunnels.claim(0, raw.Tunnel)
	}
	return errors.Join(it.Err(), deleteAll(t.m.backendIndices, stray), t.adoptStray())
}

// adoptStray takes the elements of backends that no key names for those of backends that are gone, which
// the first Sync empties: flows may know them by their number.
func (t *Tables) adoptStray() error {
	return walk(t.m.backends, func(i uint32, raw bpf.Backend) error {
		if raw == (bpf.Backend{}) || t.indices.has(i) {
			return nil
		}
		t.gone = append(t.gone, goneBackend{backendKey(backendAddr(raw), raw.Service), &backend{index: i, raw: raw}})
		t.tunnels.claim(0, raw.Tunnel)
		return t.indices.reserve(i)
	})
}

func deleteAll[K any](m *ebpf.Map, keys []K) error {
	var errs []error
	for _, key := range keys {
		errs = append(errs, ignoreMissing(m.Delete(key)))
	}
	return errors.Join(errs...)
}
