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
	h := a.holders[addr]
	if h == nil {
		h = &holding{ports: map[Port][]*entry{}}
		a.holders[addr] = h
		if s := a.spaces.of(addr); s != nil {
			s.take(addr)
		}
	}
	h.add(e)
	a.touch(h)
	if k := e.claim.key(); k != (key{}) {
		if a.keys[k] == nil {
			a.keys[k] = map[netip.Addr]int{}
		}
		if a.keys[k][addr]++; a.keys[k][addr] == 1 {
			a.stirred = append(a.stirred, addr) // others of the key may join; else, nobody has a better chance
		}
	}
}

func (a *Allocator) leave(e *entry, addr netip.Addr) {
	h := a.holders[addr]
	h.remove(e)
	a.touch(h)
	if len(h.entries) == 0 {
		delete(a.holders, addr)
		if s := a.spaces.of(addr); s != nil {
			s.free(addr)
		}
	}
	if k := e.claim.key(); k != (key{}) {
		if a.keys[k][addr]--; a.keys[k][addr] == 0 {
			delete(a.keys[k], addr)
		}
		if len(a.keys[k]) == 0 {
			delete(a.keys, k)
		}
	}
	a.stirred = append(a.stirred, addr)
}

// touch notes that the holders of an address, or their keys or ports, are others now.
func (a *Allocator) touch(h *holding) {
	for _, e := range h.entries {
		a.dirty[e] = true
	}
}

func (a *Allocator) taken(addr netip.Addr) bool { return a.holders[addr] != nil }

// has tells whether e is to have addr.
func (e *entry) has(addr netip.Addr) bool { return e.granted[familyOf(addr)] == addr }
