package maps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/penstock-lb/penstock/bpf"
)

// backend is one element of backends.
type backend struct {
	index uint32
	raw   bpf.Backend // as in the kernel
}

// goneBackend is an element that no row names any more, but it is still there.
type goneBackend struct {
	key bpf.BackendKey
	*backend
}

func (t *Tables) upsertBackend(s *service, want Backend, hop NextHop, all Want) error {
	var way uint16
	if want.Tunnel.IsValid() {
		tunnel, err := t.tunnels.put(want.Tunnel, all)
		if err != nil {
			return err
		}
		way = tunnel.index
	}
	raw := rawBackend(want.Addr, s.id, hop, way)
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
	t.tunnels.claim(b.raw.Tunnel, raw.Tunnel)
	b.raw.Tunnel = raw.Tunnel
	if err := t.m.backendIndices.Put(backendKey(want.Addr, s.id), b.index); err != nil {
		return fmt.Errorf("backend_indices: %w", err)
	}
	b.raw = raw
	return nil
}

// clear empties the elements of backends that are gone, and of tunnels that nobody
// has used since the last time, and removes source ranges that are gone, once no packet
// can have read what leads to them. What is remembered of flows leads to backends too,
// and stays: so they are leaving first.
func (t *Tables) clear(ctx context.Context) error {
	idle := t.tunnels.idle()
	if len(t.gone)+len(idle)+len(t.sources.gone) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for _, b := range t.gone {
		if err := t.leaveBackend(b); err != nil {
			errs = append(errs, fmt.Errorf("leave backend %d: %w", b.index, err))
		}
	}
	t.quiesce()
	left := t.gone[:0]
	for _, b := range t.gone {
		if b.raw.Nexthop.Flags&bpf.BackendLeaving == 0 {
			left = append(left, b)
			continue
		}
		if err := t.clearBackend(b); err != nil {
			errs = append(errs, fmt.Errorf("clear backend %d: %w", b.index, err))
			left = append(left, b)
		}
	}
	t.gone = left
	for _, idle := range idle {
		if err := t.tunnels.remove(idle); err != nil {
			errs = append(errs, err)
			continue
		}
		t.freed.tunnels = append(t.freed.tunnels, uint32(idle.index))
	}
	return errors.Join(append(errs, t.clearSources())...)
}

// leaveBackend makes programs heed no longer what they remember of flows to it.
func (t *Tables) leaveBackend(b goneBackend) error {
	raw := b.raw
	raw.Nexthop.Flags |= bpf.BackendLeaving
	if raw == b.raw {
		return nil
	}
	if err := t.m.backends.Put(b.index, raw); err != nil {
		return err
	}
	b.raw = raw
	return nil
}

// clearBackend empties the element before its key goes: flows may know it by its
// number.
func (t *Tables) clearBackend(b goneBackend) error {
	if err := t.m.backends.Put(b.index, bpf.Backend{}); err != nil {
		return err
	}
	t.tunnels.claim(b.raw.Tunnel, 0)
	b.raw.Tunnel = 0
	if !t.hasBackend(b.key) { // it has not come back meanwhile
		if err := ignoreMissing(t.m.backendIndices.Delete(b.key)); err != nil {
			return err
		}
	}
	t.freed.indices = append(t.freed.indices, b.index)
	return nil
}

func (t *Tables) hasBackend(key bpf.BackendKey) bool {
	s := t.byID[key.Service]
	return s != nil && s.backends[netip.AddrPortFrom(key.Addr.Netip(), bpf.Htons(key.Port))] != nil
}
