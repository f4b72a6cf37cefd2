package maps

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
)

// upsertFrontend makes f one of the service's.
func (t *Tables) upsertFrontend(f Frontend, service uint32) error {
	have, ok := t.frontends[f]
	if ok && have == service && t.vips[f.VIP] {
		return nil
	}
	if !t.vips[f.VIP] {
		if err := t.putFrontend(vipKey(f.VIP), 0); err != nil {
			return fmt.Errorf("vip: %w", err)
		}
		t.vips[f.VIP] = true
	}
	if err := t.putFrontend(f.key(), service); err != nil {
		return err
	}
	t.frontends[f] = service
	t.replaced = t.replaced || ok
	return nil
}

// putFrontend waits until no program reads an element that was freed, for the
// kernel gives it to the next one at once: packets of the old frontend would be
// taken for the new one's.
func (t *Tables) putFrontend(key bpf.FrontendKey, service uint32) error {
	if t.replaced {
		time.Sleep(grace)
		t.replaced = false
	}
	defer t.renewFrontends()
	return t.m.frontends.Put(key, bpf.Frontend{Service: service})
}

func (t *Tables) deleteFrontend(key bpf.FrontendKey) error {
	t.replaced = true
	defer t.renewFrontends()
	return ignoreMissing(t.m.frontends.Delete(key))
}

// renewFrontends makes the programs forget what they have found in frontends before.
func (t *Tables) renewFrontends() { t.generation.add() }

// pruneFrontends removes those that nobody wants any more. The second time, moved,
// those too that still are another service's than their owner's, which did not
// make it, and the VIPs that have no frontend left. What a kept service has stays,
// unless another one wants it.
func (t *Tables) pruneFrontends(owner map[Frontend]string, kept map[string]bool, moved bool) error {
	names := make(map[uint32]string, len(t.services))
	for name, s := range t.services {
		names[s.id] = name
	}
	var errs []error
	used := make(map[netip.Addr]bool)
	for _, f := range slices.SortedFunc(maps.Keys(t.frontends), compareFrontends) {
		name := names[t.frontends[f]]
		want, ok := owner[f]
		if ok && (want == name || !moved) || !ok && kept[name] {
			used[f.VIP] = true
			continue
		}
		if err := t.deleteFrontend(f.key()); err != nil {
			errs = append(errs, fmt.Errorf("frontend %s: %w", f, err))
			used[f.VIP] = true
			continue
		}
		delete(t.frontends, f)
	}
	for vip := range t.vips {
		if used[vip] || !moved {
			continue
		}
		if err := t.deleteFrontend(vipKey(vip)); err != nil {
			errs = append(errs, fmt.Errorf("vip %s: %w", vip, err))
			continue
		}
		delete(t.vips, vip)
	}
	return errors.Join(errs...)
}

func compareFrontends(a, b Frontend) int {
	return cmp.Or(a.VIP.Compare(b.VIP), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
}
