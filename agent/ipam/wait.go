package ipam

import (
	"net/netip"
	"slices"
)

// wait is what a claim waits for: one address, any of a space, or a place on an address of
// its sharing key.
type wait struct {
	addr  netip.Addr
	space *space
	key   key
}

func (a *Allocator) await(e *entry, w wait) {
	if slices.Contains(e.waits, w) {
		return
	}
	e.waits = append(e.waits, w)
	list := a.waiting[w]
	i, _ := slices.BinarySearchFunc(list, e, older)
	a.waiting[w] = slices.Insert(list, i, e)
}

func (a *Allocator) unwait(e *entry) {
	for _, w := range e.waits {
		list := a.waiting[w]
		i, _ := slices.BinarySearchFunc(list, e, older)
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(a.waiting, w)
		} else {
			a.waiting[w] = list
		}
	}
	e.waits = nil
}

// after gives the first one that is behind e among those that wait for any of these; of
// all for a nil e.
func (a *Allocator) after(e *entry, waits []wait) (first *entry) {
	for _, w := range waits {
		list, i := a.waiting[w], 0
		if e != nil {
			found := false
			if i, found = slices.BinarySearchFunc(list, e, older); found {
				i++
			}
		}
		if i < len(list) && (first == nil || older(list[i], first) < 0) {
			first = list[i]
		}
	}
	return first
}

// settle tries those again that wait for what was stirred, and gives the decisions that
// have become others.
func (a *Allocator) settle() []Decision {
	for len(a.stirred) > 0 {
		addr := a.stirred[0]
		a.stirred = a.stirred[1:]
		a.retry(addr)
	}
	list := make([]*entry, 0, len(a.dirty))
	for e := range a.dirty {
		list = append(list, e)
	}
	clear(a.dirty)
	slices.SortFunc(list, older)
	var out []Decision
	for _, e := range list {
		if d := a.render(e); e.last == nil || !e.last.same(d) {
			e.last = &d
			out = append(out, d)
		}
	}
	return out
}

// retry decides again, from the oldest one, who waits for addr, for an address of its
// space, or for one of its holders' keys.
func (a *Allocator) retry(addr netip.Addr) {
	waits := []wait{{addr: addr}}
	for _, h := range a.who(addr) {
		if k := h.claim.key(); k != (key{}) && !slices.Contains(waits, wait{key: k}) {
			waits = append(waits, wait{key: k})
		}
	}
	s := a.spaces.of(addr)
	if s != nil && !a.taken(addr) {
		waits = append(waits, wait{space: s})
	}
	for e := (*entry)(nil); ; {
		if last := waits[len(waits)-1]; last.space != nil {
			if _, free := s.peek(a.taken); !free {
				waits = waits[:len(waits)-1] // the others that wait for it would fail
			}
		}
		if e = a.after(e, waits); e == nil {
			return
		}
		if a.vain(e, addr, waits) {
			continue
		}
		a.decide(e)
		a.dirty[e] = true
	}
}

// vain tells whether e waits for a place with its key alone and gets none on addr, so that
// it would look at all addresses of its key for nothing.
func (a *Allocator) vain(e *entry, addr netip.Addr, waits []wait) bool {
	for _, w := range waits {
		if w.key == (key{}) && slices.Contains(e.waits, w) {
			return false
		}
	}
	return a.obstacle(e, addr) != nil
}
