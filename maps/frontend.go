package maps

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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
		if t.vipRefs[f.VIP] == 0 { // until there is one
			t.idleVIPs[f.VIP] = true
		}
	}
	if err := t.putFrontend(f.key(), service); err != nil {
		return err
	}
	t.point(f, service)
	t.replaced = t.replaced || ok
	return nil
}

// putFrontend waits until no program reads an element that was freed, for the
// kernel gives it to the next one at once: packets of the old frontend would be
// taken for the new one's.
func (t *Tables) putFrontend(key bpf.FrontendKey, service uint32) error {
	if t.replaced {
		t.quiesce()
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

// point notes which service the kernel has a frontend of.
func (t *Tables) point(f Frontend, service uint32) {
	was, ok := t.frontends[f]
	if ok && was == service {
		return
	}
	if !ok {
		t.vipRefs[f.VIP]++
		delete(t.idleVIPs, f.VIP)
	} else if s := t.byID[was]; s != nil {
		s.frontends = without(s.frontends, f)
	}
	t.frontends[f] = service
	if s := t.byID[service]; s != nil {
		s.frontends = append(s.frontends, f)
	}
}

// unpoint notes that the kernel has it no more.
func (t *Tables) unpoint(f Frontend) {
	if s := t.byID[t.frontends[f]]; s != nil {
		s.frontends = without(s.frontends, f)
	}
	delete(t.frontends, f)
	if t.vipRefs[f.VIP]--; t.vipRefs[f.VIP] > 0 {
		return
	}
	delete(t.vipRefs, f.VIP)
	if t.vips[f.VIP] {
		t.idleVIPs[f.VIP] = true
	}
}

func without(list []Frontend, f Frontend) []Frontend {
	return slices.DeleteFunc(list, func(other Frontend) bool { return other == f })
}

// pruneFrontends removes those of the plan that nobody wants any more. The second
// time, moved, those too that still are another service's than their owner's, which did
// not make it, and the VIPs that have no frontend left. What a kept service has stays,
// unless another one wants it.
func (t *Tables) pruneFrontends(p plan, moved bool) error {
	var errs []error
	for _, f := range p.frontends {
		id, ok := t.frontends[f]
		if !ok || t.stays(f, id, p.kept, moved) {
			delete(t.wishes.stray, f)
			continue
		}
		if err := t.deleteFrontend(f.key()); err != nil {
			errs = append(errs, fmt.Errorf("frontend %s: %w", f, err))
			t.wishes.stray[f] = true
			continue
		}
		delete(t.wishes.stray, f)
		t.unpoint(f)
	}
	if moved {
		errs = append(errs, t.pruneVIPs())
	}
	return errors.Join(errs...)
}

func (t *Tables) stays(f Frontend, id uint32, kept map[string]bool, moved bool) bool {
	name := ""
	if s := t.byID[id]; s != nil {
		name = s.name
	}
	owner, ok := t.wishes.owners[f]
	return ok && (owner == name || !moved) || !ok && kept[name]
}

func (t *Tables) pruneVIPs() error {
	var errs []error
	for vip := range t.idleVIPs {
		if err := t.deleteFrontend(vipKey(vip)); err != nil {
			errs = append(errs, fmt.Errorf("vip %s: %w", vip, err))
			continue
		}
		delete(t.vips, vip)
		delete(t.idleVIPs, vip)
	}
	return errors.Join(errs...)
}

func compareFrontends(a, b Frontend) int {
	return cmp.Or(a.VIP.Compare(b.VIP), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
}
