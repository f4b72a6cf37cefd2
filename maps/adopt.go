package maps

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/bpf"
)

// adopt reads what the kernel holds. What makes no sense there, for example
// after a crash in the middle of a Sync, is left out and so written anew or
// pruned by the next Sync.
func (t *Tables) adopt() error {
	byID := make(map[uint32]*service)
	var id uint32
	var raw bpf.Service
	for it := t.m.services.Iterate(); it.Next(&id, &raw); {
		s := &service{name: serviceName(raw), id: id, raw: raw, backends: make(map[netip.AddrPort]*backend)}
		if t.services[s.name] != nil || t.ids.reserve(id) != nil {
			t.log.Warn("adopt: service is there twice", "service", s.name, "id", id)
			continue
		}
		t.services[s.name], byID[id] = s, s
	}
	if err := t.adoptFrontends(byID); err != nil {
		return fmt.Errorf("adopt frontends: %w", err)
	}
	if err := t.adoptBackends(byID); err != nil {
		return fmt.Errorf("adopt backends: %w", err)
	}
	return nil
}

func (t *Tables) adoptFrontends(byID map[uint32]*service) error {
	var key bpf.FrontendKey
	var value bpf.Frontend
	it := t.m.frontends.Iterate()
	for it.Next(&key, &value) {
		f := frontendOf(key)
		if isVIP(key) {
			t.vips[f.VIP] += 0 // known, even if no frontend follows
			continue
		}
		t.frontends[f] = value
		t.vips[f.VIP]++
		s := byID[value.Service]
		g := region{value.Base, value.Mask + 1}
		if s == nil || value.Mask == 0 || s.region == g || slices.Contains(s.left, g) {
			continue
		}
		if err := t.regions.reserve(g); err != nil {
			t.log.Warn("adopt: region is in use", "frontend", f, "base", g.base, "rows", g.rows, "error", err)
			continue
		}
		if s.region.rows == 0 {
			s.region = g
		} else { // a crash between two frontends of a service that moved
			s.left = append(s.left, g)
		}
	}
	return it.Err()
}

func (t *Tables) adoptBackends(byID map[uint32]*service) error {
	var key bpf.BackendKey
	var index uint32
	var stray []bpf.BackendKey
	it := t.m.backendIndices.Iterate()
	for it.Next(&key, &index) {
		var raw bpf.Backend
		if err := t.m.backends.Lookup(index, &raw); err != nil {
			return err
		}
		addr := netip.AddrPortFrom(key.Addr.Netip(), bpf.Htons(key.Port))
		s := byID[key.Service]
		if s == nil || raw.Service != key.Service || backendAddr(raw) != addr || t.indices.reserve(index) != nil {
			stray = append(stray, key)
			continue
		}
		s.backends[addr] = &backend{index: index, raw: raw}
	}
	for _, key := range stray {
		if err := ignoreMissing(t.m.backendIndices.Delete(key)); err != nil {
			return err
		}
	}
	return it.Err()
}
