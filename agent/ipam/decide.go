package ipam

import (
	"net/netip"
	"slices"
)

// families gives those of which c wants an address, the first one first.
func (c *Claim) families() (out []family) {
	if c.IPv4 {
		out = append(out, v4)
	}
	if c.IPv6 {
		out = append(out, v6)
	}
	if c.First6 {
		slices.Reverse(out)
	}
	if c.Policy == SingleStack && len(out) > 1 {
		out = out[:1]
	}
	return out
}

func (c *Claim) wants(f family) bool { return slices.Contains(c.families(), f) }

// requested gives the address of a family that c asks for.
func (c *Claim) requested(f family) (netip.Addr, bool) {
	for _, addr := range c.Requested {
		if familyOf(addr) == f {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// decide finds the addresses of e. What it has stays unless it asks for others; and then
// it stays as well until there are those, as an address that clients use is better than
// none. What is wrong with its request is refused, and it waits for what may become free.
func (a *Allocator) decide(e *entry) {
	a.unwait(e)
	e.refused, e.noted = nil, nil
	var has, next [2]netip.Addr
	for _, f := range e.claim.families() {
		has[f] = a.current(e, f)
	}
	next = has
	if fd := e.claim.contradiction(); len(fd) > 0 {
		e.refused = fd
	} else {
		next = a.choose(e, has)
	}
	e.granted = next
	e.repool = e.repool && e.claim.Pool != "" && slices.ContainsFunc(next[:], func(addr netip.Addr) bool { return addr.IsValid() && !a.in(addr, e.claim.Pool) })
	a.occupy(e)
}

// current gives what e has of a family, and may keep: not an address of others with whom it
// does not agree any more, and none with ports in use if nobody can know the address yet.
func (a *Allocator) current(e *entry, f family) netip.Addr {
	for _, addr := range append([]netip.Addr{e.granted[f]}, e.claim.Held...) {
		if !addr.IsValid() || familyOf(addr) != f {
			continue
		}
		h := a.stranger(e, addr)
		if h == nil && !slices.Contains(e.claim.Held, addr) && a.obstacle(e, addr) != nil {
			continue
		}
		if h == nil {
			return addr
		}
		if !slices.ContainsFunc(e.noted, func(fd Finding) bool { return fd.Reason == AddressInUse }) {
			e.noted = append(e.noted, evicted(e, h, addr))
		}
	}
	return netip.Addr{}
}

// choose gives what e is to have, of each family on its own.
func (a *Allocator) choose(e *entry, has [2]netip.Addr) [2]netip.Addr {
	next, problems := has, [2]*Finding{}
	for _, f := range e.claim.families() {
		if addr, problem := a.find(e, f, has[f]); problem != nil {
			problems[f] = problem
		} else {
			next[f] = addr
		}
	}
	none := [2]netip.Addr{}
	if e.claim.Policy == RequireDual && has == none && (problems[v4] != nil || problems[v6] != nil) {
		next = none // one alone is not what it asks for
	}
	for _, f := range e.claim.families() {
		_, asked := e.claim.requested(f)
		switch problem := problems[f]; {
		case problem == nil:
		case e.claim.Policy == PreferDual && !asked && !next[f].IsValid() && next[1-f].IsValid():
			e.noted = append(e.noted, missing(f, problem))
		default:
			e.refused = append(e.refused, *problem)
		}
	}
	return next
}

// find gives the address of a family that e is to have, which has one, or none. A problem
// says why it is not the one that it asks for.
func (a *Allocator) find(e *entry, f family, has netip.Addr) (netip.Addr, *Finding) {
	if addr, asked := e.claim.requested(f); asked {
		if addr == has {
			return has, nil
		}
		return addr, a.deny(e, addr)
	}
	if has.IsValid() && (!e.repool || e.claim.Pool == "" || a.in(has, e.claim.Pool)) {
		return has, nil
	}
	return a.pick(e, f)
}

// in tells whether addr is of the pool of that name.
func (a *Allocator) in(addr netip.Addr, pool string) bool {
	s := a.spaces.of(addr)
	return s != nil && s.pool.Name == pool
}

// deny says why e cannot have the address that it asks for; nil if it can.
func (a *Allocator) deny(e *entry, addr netip.Addr) *Finding {
	s := a.spaces.of(addr)
	if s == nil || !Admits(*s.pool, e.claim) {
		return a.outside(e, addr, s)
	}
	if e.claim.Pool != "" && s.pool.Name != e.claim.Pool {
		return twoWishes(e, addr, s.pool.Name)
	}
	o := a.obstacle(e, addr)
	if o == nil {
		return nil
	}
	a.await(e, wait{addr: addr})
	return inUse(e, o, addr)
}

// pick gives a new address of a family: one that Services of its sharing key have, else the
// next one of the first pool that has any.
func (a *Allocator) pick(e *entry, f family) (netip.Addr, *Finding) {
	var usable []*space
	for _, s := range a.spaces.byFamily[f] {
		if s.unusable(&e.claim) == "" {
			usable = append(usable, s)
		}
	}
	if len(usable) == 0 {
		return netip.Addr{}, a.noPool(e, f)
	}
	if e.claim.SharingKey != "" {
		if addr, found := a.shared(e, f, usable); found {
			return addr, nil
		}
	}
	for _, s := range usable {
		if addr, free := s.peek(a.taken); free {
			return addr, nil
		}
	}
	for _, s := range usable {
		a.await(e, wait{space: s})
	}
	if k := e.claim.key(); k != (key{}) {
		a.await(e, wait{key: k})
	}
	return netip.Addr{}, exhausted(e, f, usable)
}
