package ipam

import (
	"iter"
	"net/netip"
	"slices"
)

// maxSharers bounds the Services on one address. Each of them has to be looked at when
// another one comes or goes, and whoever may write Services in one namespace could make
// them as many as the API server holds. A variable for tests.
var maxSharers = 64

// maxNamed is how many of the others on its address a Decision names.
const maxNamed = 5

// key is a sharing key: those of two namespaces are two.
type key struct{ namespace, text string }

func (c *Claim) key() key {
	if c.SharingKey == "" {
		return key{}
	}
	return key{c.Namespace, c.SharingKey}
}

// holding is who has one address.
type holding struct {
	entries []*entry          // the oldest first
	ports   map[Port][]*entry // those with each port, likewise
}

func (h *holding) add(e *entry) {
	h.entries = insert(h.entries, e)
	for _, p := range e.claim.Ports {
		if list := h.ports[p]; !slices.Contains(list, e) {
			h.ports[p] = insert(list, e)
		}
	}
}

func (h *holding) remove(e *entry) {
	h.entries = without(h.entries, e)
	for _, p := range e.claim.Ports {
		if h.ports[p] = without(h.ports[p], e); len(h.ports[p]) == 0 {
			delete(h.ports, p)
		}
	}
}

func insert(list []*entry, e *entry) []*entry {
	i, _ := slices.BinarySearchFunc(list, e, older)
	return slices.Insert(list, i, e)
}

func without(list []*entry, e *entry) []*entry {
	if i := slices.Index(list, e); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// who gives the holders of addr, the oldest first.
func (a *Allocator) who(addr netip.Addr) []*entry {
	if h := a.holders[addr]; h != nil {
		return h.entries
	}
	return nil
}

// agree tells whether two claims may have one address, whatever their ports.
func agree(a, b *entry) bool {
	return a.claim.SharingKey != "" && a.claim.SharingKey == b.claim.SharingKey && a.claim.Namespace == b.claim.Namespace
}

// stranger gives another claim that is to have addr and does not share it with e; nil if
// there is none.
func (a *Allocator) stranger(e *entry, addr netip.Addr) *entry {
	for _, h := range a.who(addr) {
		if h != e && h.has(addr) && !agree(e, h) {
			return h
		}
	}
	return nil
}

// obstacle is why a claim cannot join those that have an address.
type obstacle struct {
	holder *entry
	port   *Port // that both have
	full   bool  // there are as many as there may be
}

// obstacle gives what keeps e from joining who has addr; nil if it can.
func (a *Allocator) obstacle(e *entry, addr netip.Addr) *obstacle {
	h := a.holders[addr]
	if h == nil {
		return nil
	}
	if k := e.claim.key(); k == (key{}) || a.keys[k][addr] < len(h.entries) {
		for _, other := range h.entries {
			if other != e && !agree(e, other) {
				return &obstacle{holder: other}
			}
		}
	}
	for i := range e.claim.Ports {
		for _, other := range h.ports[e.claim.Ports[i]] {
			if other != e {
				return &obstacle{holder: other, port: &e.claim.Ports[i]}
			}
		}
	}
	if n := len(h.entries); n < maxSharers || n == maxSharers && slices.Contains(h.entries, e) {
		return nil
	}
	return &obstacle{holder: h.entries[0], full: true}
}

// clashes gives the ports of e that an older claim has on addr, one for each such claim,
// the first few.
func (a *Allocator) clashes(e *entry, addr netip.Addr) (out []obstacle) {
	h := a.holders[addr]
	for i, p := range e.claim.Ports {
		list := h.ports[p]
		j := slices.IndexFunc(list, func(o *entry) bool { return o == e || o.has(addr) })
		if j < 0 || list[j] == e || slices.ContainsFunc(out, func(o obstacle) bool { return o.holder == list[j] }) {
			continue
		}
		if out = append(out, obstacle{holder: list[j], port: &e.claim.Ports[i]}); len(out) == maxNamed {
			break
		}
	}
	return out
}

// shared gives the lowest address of a family that others of e's sharing key have, that e
// can join, and that is of one of the spaces.
func (a *Allocator) shared(e *entry, f family, of []*space) (best netip.Addr, found bool) {
	for addr := range a.keys[e.claim.key()] {
		if familyOf(addr) != f || found && !addr.Less(best) || !slices.Contains(of, a.spaces.of(addr)) {
			continue
		}
		if a.obstacle(e, addr) == nil {
			best, found = addr, true
		}
	}
	return best, found
}

// sharers names some that have an address together with e, and says whether there are
// more: those that came just before it, else just after. So whoever comes later, or goes,
// changes what is said of a few.
func (a *Allocator) sharers(e *entry) (names []string, more bool) {
	var before, after []*entry
	for _, addr := range e.granted {
		list := a.who(addr)
		i, _ := slices.BinarySearchFunc(list, e, older)
		before = beside(before, e, addr, slices.Backward(list[:i]))
		after = beside(after, e, addr, slices.All(list[i:]))
	}
	slices.SortFunc(before, func(x, y *entry) int { return older(y, x) })
	slices.SortFunc(after, older)
	all := append(before, after...)
	for _, h := range all[:min(len(all), maxNamed)] {
		names = append(names, h.claim.Service)
	}
	slices.Sort(names)
	return names, len(all) > maxNamed
}

// beside adds to list who else has addr, the first ones of all and one more than are named.
func beside(list []*entry, e *entry, addr netip.Addr, all iter.Seq2[int, *entry]) []*entry {
	n := 0
	for _, h := range all {
		if h == e || !h.has(addr) {
			continue
		}
		if !slices.Contains(list, h) {
			list = append(list, h)
		}
		if n++; n > maxNamed {
			break
		}
	}
	return list
}
