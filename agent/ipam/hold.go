package ipam

import (
	"net/netip"
	"slices"
)

// occupy brings the index of addresses up to what e has now.
func (a *Allocator) occupy(e *entry) {
	var now []netip.Addr
	add := func(addr netip.Addr) {
		if addr.IsValid() && !slices.Contains(now, addr) {
			now = append(now, addr)
		}
	}
	for _, addr := range e.granted {
		add(addr)
	}
	for _, addr := range e.claim.Held {
		add(addr)
	}
	for _, i := range e.flying {
		for _, addr := range i.Addresses {
			add(addr)
		}
	}
	was := e.occupied
	e.occupied = now
	for _, addr := range now {
		if !slices.Contains(was, addr) {
			a.enter(e, addr)
		}
	}
	for _, addr := range was {
		if !slices.Contains(now, addr) {
			a.leave(e, addr)
		}
	}
}

func (a *Allocator) release(e *entry) {
	for _, addr := range e.occupied {
		a.leave(e, addr)
	}
	e.occupied = nil
}

func (a *Allocator) enter(e *entry, addr netip.Addr) {
	list := a.holders[addr]
	if s := a.spaces.of(addr); s != nil && len(list) == 0 {
		s.take(addr)
	}
	a.holders[addr] = append(list, e)
	if k := e.claim.SharingKey; k != "" {
		if a.keys[k] == nil {
			a.keys[k] = map[netip.Addr]int{}
		}
		a.keys[k][addr]++
	}
	a.stir(addr)
}

func (a *Allocator) leave(e *entry, addr netip.Addr) {
	list := a.holders[addr]
	list = slices.Delete(list, slices.Index(list, e), slices.Index(list, e)+1)
	a.holders[addr] = list
	if len(list) == 0 {
		delete(a.holders, addr)
		if s := a.spaces.of(addr); s != nil {
			s.free(addr)
		}
	}
	if k := e.claim.SharingKey; k != "" {
		if a.keys[k][addr]--; a.keys[k][addr] == 0 {
			delete(a.keys[k], addr)
		}
		if len(a.keys[k]) == 0 {
			delete(a.keys, k)
		}
	}
	a.stir(addr)
}

// stir notes that the holders of addresses, or their keys or ports, are others now.
func (a *Allocator) stir(addresses ...netip.Addr) {
	for _, addr := range addresses {
		for _, h := range a.holders[addr] {
			a.dirty[h] = true
		}
		a.stirred = append(a.stirred, addr)
	}
}

func (a *Allocator) taken(addr netip.Addr) bool { return len(a.holders[addr]) > 0 }

// has tells whether e is to have addr.
func (e *entry) has(addr netip.Addr) bool { return e.granted[familyOf(addr)] == addr }

// agree tells whether two claims may have one address, whatever their ports.
func agree(a, b *entry) bool {
	return a.claim.SharingKey != "" && a.claim.SharingKey == b.claim.SharingKey
}

// stranger gives another claim that is to have addr and does not share it with e; nil if
// there is none.
func (a *Allocator) stranger(e *entry, addr netip.Addr) *entry {
	for _, h := range a.holders[addr] {
		if h != e && h.has(addr) && !agree(e, h) {
			return h
		}
	}
	return nil
}

// obstacle gives a holder of addr because of which e cannot join, and the port that both
// have if it is for that; nil if e can.
func (a *Allocator) obstacle(e *entry, addr netip.Addr) (*entry, *Port) {
	for _, h := range a.holders[addr] {
		if h != e && !agree(e, h) {
			return h, nil
		}
	}
	for _, h := range a.holders[addr] {
		if h == e {
			continue
		}
		if p := common(e.claim.Ports, h.claim.Ports); p != nil {
			return h, p
		}
	}
	return nil, nil
}

// common gives a port that is in both lists.
func common(a, b []Port) *Port {
	if len(a)*len(b) <= 64 {
		for i := range a {
			if slices.Contains(b, a[i]) {
				return &a[i]
			}
		}
		return nil
	}
	set := make(map[Port]bool, len(b))
	for _, p := range b {
		set[p] = true
	}
	for i := range a {
		if set[a[i]] {
			return &a[i]
		}
	}
	return nil
}

// shared gives the lowest address of a family that others of e's sharing key have, that e
// can join, and that is of one of the spaces.
func (a *Allocator) shared(e *entry, f family, of []*space) (best netip.Addr, found bool) {
	for addr := range a.keys[e.claim.SharingKey] {
		if familyOf(addr) != f || found && !addr.Less(best) || !slices.Contains(of, a.spaces.of(addr)) {
			continue
		}
		if h, _ := a.obstacle(e, addr); h == nil {
			best, found = addr, true
		}
	}
	return best, found
}
