package maps

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// adopt reads what the kernel holds. What makes no sense there, for example after
// a crash in the middle of a Sync, is removed, and so written anew by the next
// Sync where it is wanted.
func (t *Tables) adopt() error {
	byID := make(map[uint32]*service)
	if err := t.adoptServices(byID); err != nil {
		return fmt.Errorf("adopt services: %w", err)
	}
	t.adoptRegions(byID)
	if err := t.adoptFrontends(); err != nil {
		return fmt.Errorf("adopt frontends: %w", err)
	}
	if err := t.adoptBackends(byID); err != nil {
		return fmt.Errorf("adopt backends: %w", err)
	}
	return nil
}

func (t *Tables) adoptServices(byID map[uint32]*service) error {
	var stray []uint32
	var id uint32
	var raw bpf.Service
	it := t.m.services.Iterate()
	for it.Next(&id, &raw) {
		s := &service{name: serviceName(raw), id: id, named: true, backends: make(map[netip.AddrPort]*backend)}
		if s.name == "" || rawService(s.name) != raw || t.services[s.name] != nil || t.ids.reserve(id) != nil {
			t.log.Warn("adopt: an entry of services makes no sense", "service", s.name, "id", id)
			stray = append(stray, id)
			continue
		}
		t.services[s.name], byID[id] = s, s
	}
	return errors.Join(it.Err(), deleteAll(t.m.services, stray))
}

func (t *Tables) adoptRegions(byID map[uint32]*service) {
	for id := range uint32(len(t.published.words)) {
		raw := t.published.get(id)
		if raw == (bpf.Region{}) {
			continue
		}
		s := byID[id]
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
			t.frontends[f] = value.Service
		}
	}
	return it.Err()
}

func (t *Tables) adoptBackends(byID map[uint32]*service) error {
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
		s := byID[key.Service]
		if s == nil || backendKey(addr, s.id) != key || raw.Service != key.Service || backendAddr(raw) != addr ||
			t.indices.reserve(index) != nil {
			stray = append(stray, key)
			continue
		}
		s.backends[addr] = &backend{index: index, raw: raw}
	}
	return errors.Join(it.Err(), deleteAll(t.m.backendIndices, stray), t.clearStray())
}

// clearStray empties the elements of backends that no key names: flows may know
// them by their number.
func (t *Tables) clearStray() error {
	keys, values := make([]uint32, batch), make([]bpf.Backend, batch)
	for cursor := new(ebpf.MapBatchCursor); ; {
		n, err := t.m.backends.BatchLookup(cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return err
		}
		for i, raw := range values[:n] {
			if raw == (bpf.Backend{}) || t.indices.used[keys[i]] {
				continue
			}
			if err := t.m.backends.Put(keys[i], bpf.Backend{}); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func deleteAll[K any](m *ebpf.Map, keys []K) error {
	var errs []error
	for _, key := range keys {
		errs = append(errs, ignoreMissing(m.Delete(key)))
	}
	return errors.Join(errs...)
}
