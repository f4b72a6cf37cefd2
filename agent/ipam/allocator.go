package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Allocator decides which addresses claims have. It is pure: all that it knows was told to
// it, and the same calls give the same decisions. It is not for concurrent use.
//
// An address is taken as long as a claim is to have it or has it in its status, so that one
// that a claim gives up is free only after that claim's status was written and read.
type Allocator struct {
	spaces  *spaces
	pools   []Pool // in the order in which they are asked
	claims  map[string]*entry
	holders map[netip.Addr]*holding    // of each address that is taken
	keys    map[key]map[netip.Addr]int // by sharing key: how many holders of it an address has
	waiting map[wait][]*entry          // who waits for what, the oldest first
	stirred []netip.Addr               // addresses for which who waits may have luck now
	dirty   map[*entry]bool            // entries whose decision may be another
}

// entry is what the Allocator knows of a claim.
type entry struct {
	claim    Claim
	granted  [2]netip.Addr // what it is to have, by family
	flying   []Intent      // writes of its status that may still be done
	occupied []netip.Addr  // granted, held and flying ones

	repool         bool      // its pool annotation changed, and it is to move
	waits          []wait    // where it is in waiting
	refused, noted []Finding // of the last decision
	last           *Decision // as it was given
}

func older(a, b *entry) int {
	return cmp.Or(a.claim.Created.Compare(b.claim.Created), cmp.Compare(a.claim.Service, b.claim.Service))
}

// New makes an Allocator without claims. Pools must have different names and no addresses
// in common.
func New(pools []Pool) *Allocator {
	a := &Allocator{
		claims: map[string]*entry{}, holders: map[netip.Addr]*holding{}, keys: map[key]map[netip.Addr]int{},
		waiting: map[wait][]*entry{}, dirty: map[*entry]bool{},
	}
	a.setPools(pools)
	return a
}

func (a *Allocator) setPools(pools []Pool) {
	old := a.spaces
	a.spaces = newSpaces(pools)
	a.pools = slices.Clone(pools)
	slices.SortStableFunc(a.pools, func(x, y Pool) int {
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Name, y.Name))
	})
	for _, list := range a.spaces.byFamily {
		for _, s := range list {
			if old != nil {
				for _, from := range old.byFamily[s.family] {
					s.inherit(from)
				}
			}
		}
	}
	for addr := range a.holders {
		if s := a.spaces.of(addr); s != nil {
			s.take(addr)
		}
	}
}

// Adopt takes over what claims hold, which nothing but a conflict takes from them, and the
// writes that may still be under way; then all others get theirs. It is called once, before
// anything else, and gives the decisions of all claims.
//
// Of two that hold one address without agreeing to share it, the older one keeps it.
func (a *Allocator) Adopt(claims []Claim, intents []Intent) []Decision {
	var all, rest []*entry
	for _, c := range claims {
		if a.claims[c.Service] != nil {
			continue // a list that is read in pieces may name one twice
		}
		e := &entry{claim: c}
		for _, i := range intents {
			if i.Service == c.Service && i.UID == c.UID && i.Version == c.Version {
				e.flying = append(e.flying, i)
			}
		}
		a.claims[c.Service] = e
		all = append(all, e)
	}
	slices.SortFunc(all, older)
	for _, e := range all {
		a.occupy(e)
		if len(e.flying) > 0 {
			rest = append(rest, e)
			continue
		}
		a.keep(e, e.claim.Held)
	}
	for _, e := range rest {
		a.keep(e, append(slices.Clone(e.flying[len(e.flying)-1].Addresses), e.claim.Held...))
	}
	for _, e := range all {
		a.decide(e)
		a.dirty[e] = true
	}
	return a.settle()
}

// keep grants those of the addresses that e asks for, by family the first one that no other
// claim is to have without sharing it.
func (a *Allocator) keep(e *entry, addresses []netip.Addr) {
	for _, addr := range addresses {
		if f := familyOf(addr); e.claim.wants(f) && !e.granted[f].IsValid() && a.stranger(e, addr) == nil {
			e.granted[f] = addr
		}
	}
	a.occupy(e)
}

// Update decides a claim that is new, or may have changed. It gives its decision, and those
// of others that change with it.
func (a *Allocator) Update(c Claim) []Decision {
	e := a.claims[c.Service]
	if e != nil && e.claim.UID != c.UID {
		a.drop(e)
		e = nil
	}
	if e == nil {
		e = &entry{claim: c}
		a.claims[c.Service] = e
	}
	a.unwait(e)
	was := e.claim
	if c.Pool != was.Pool {
		e.repool = true
	}
	if c.key() != was.key() || !slices.Equal(c.Ports, was.Ports) {
		a.release(e) // from the indexes of keys and of ports
	}
	e.claim = c
	e.flying = slices.DeleteFunc(e.flying, func(i Intent) bool { return i.Version != c.Version })
	a.occupy(e)
	a.decide(e)
	a.dirty[e] = true
	e.last = nil
	return a.settle()
}

// Delete frees what a Service had that is gone, or not ours any more. It gives the
// decisions of those that change with it.
func (a *Allocator) Delete(service string) []Decision {
	if e := a.claims[service]; e != nil {
		a.drop(e)
	}
	return a.settle()
}

func (a *Allocator) drop(e *entry) {
	a.unwait(e)
	a.release(e)
	delete(a.claims, e.claim.Service)
	delete(a.dirty, e)
}

// SetPools replaces the pools. No claim loses an address by that; those that wait are tried
// again. It gives the decisions that change.
func (a *Allocator) SetPools(pools []Pool) []Decision {
	a.setPools(pools)
	var all []*entry
	for _, e := range a.claims {
		a.dirty[e] = true // its pools' names and warnings may be others
		if len(e.refused)+len(e.noted) > 0 {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, older)
	for _, e := range all {
		a.decide(e)
	}
	return a.settle()
}

// Flying says that a write of a claim's status is about to be tried. Until the claim has
// another version, what it writes stays taken. It gives false where that is known already,
// or the claim is not that one any more.
func (a *Allocator) Flying(i Intent) bool {
	e := a.claims[i.Service]
	if e == nil || e.claim.UID != i.UID || e.claim.Version != i.Version ||
		slices.ContainsFunc(e.flying, func(f Intent) bool { return f.key() == i.key() }) {
		return false
	}
	e.flying = append(e.flying, i)
	a.occupy(e)
	return true
}

// Flights gives all writes that may still be done.
func (a *Allocator) Flights() (out []Intent) {
	for _, e := range a.claims {
		out = append(out, e.flying...)
	}
	slices.SortStableFunc(out, func(x, y Intent) int { return cmp.Compare(x.Service, y.Service) })
	return out
}

// Landed says that a claim's status was written and holds these addresses now, under a
// version that is not known. It gives the decisions that change with it, of those that wait
// for what the claim gave up.
func (a *Allocator) Landed(service string, addresses []netip.Addr) []Decision {
	if e := a.claims[service]; e != nil {
		if !slices.Equal(e.claim.Held, addresses) {
			e.flying = nil // they were for the version before
		}
		e.claim.Held, e.claim.Version = addresses, ""
		a.occupy(e)
	}
	return a.settle()
}

// Claim gives what is known of a claim.
func (a *Allocator) Claim(service string) (Claim, bool) {
	e := a.claims[service]
	if e == nil {
		return Claim{}, false
	}
	return e.claim, true
}

// Usage tells how full each pool is, in the order in which they are asked.
func (a *Allocator) Usage() (out []Usage) {
	for _, p := range a.pools {
		for f, name := range []string{"ipv4", "ipv6"} {
			for _, s := range a.spaces.byFamily[f] {
				if s.pool.Name == p.Name {
					out = append(out, Usage{Pool: p.Name, Family: name, Total: s.total(), Allocated: s.used})
				}
			}
		}
	}
	return out
}
