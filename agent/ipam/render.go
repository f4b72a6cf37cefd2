package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// render writes e's decision down.
func (a *Allocator) render(e *entry) Decision {
	d := Decision{Service: e.claim.Service, UID: e.claim.UID, Refused: e.refused, Warnings: slices.Clone(e.noted)}
	order := []family{v4, v6}
	if e.claim.First6 {
		order = []family{v6, v4}
	}
	for _, f := range order {
		addr := e.granted[f]
		if !addr.IsValid() {
			continue
		}
		pool := ""
		if s := a.spaces.of(addr); s != nil {
			pool = s.pool.Name
		}
		d.Addresses = append(d.Addresses, addr)
		d.Pools = append(d.Pools, pool)
		d.Warnings = append(d.Warnings, a.doubts(e, addr)...)
	}
	d.SharedWith, d.SharedMore = a.sharers(e)
	d.Changed = !slices.Equal(d.Addresses, e.claim.Held)
	return d
}

// doubts says of an address that e has what would keep e from getting it now.
func (a *Allocator) doubts(e *entry, addr netip.Addr) (out []Finding) {
	s := a.spaces.of(addr)
	_, asked := e.claim.requested(familyOf(addr))
	switch {
	case s == nil:
		out = append(out, Finding{PoolShrunk, "", fmt.Sprintf("it keeps %s, which no pool has any more; add it to a pool, or delete and create the Service to have another", addr)})
	case !Admits(*s.pool, e.claim):
		out = append(out, Finding{PoolShrunk, "", fmt.Sprintf("it keeps %s of pool %s, which is %s now; change the pool, or delete and create the Service to have another", addr, s.pool.Name, s.pool.restriction(&e.claim))})
	case e.claim.Pool == "" || e.claim.Pool == s.pool.Name || e.repool:
	case asked:
		out = append(out, *twoWishes(e, addr, s.pool.Name))
	default:
		out = append(out, Finding{PoolShrunk, poolField, fmt.Sprintf("it keeps %s of pool %s and asks for pool %s, which had it once or did not exist; remove the annotation and add it again to move", addr, s.pool.Name, e.claim.Pool)})
	}
	// Of those whose ports came to overlap, the oldest one has them; see package desired.
	for _, c := range a.clashes(e, addr) {
		out = append(out, Finding{PortInUse, portsField, fmt.Sprintf("Service %s has port %d/%s of %s, which they share; give one of them another port", c.holder.claim.Service, c.port.Number, c.port.Protocol, addr)})
	}
	return out
}

// same tells whether two decisions are, for who does not know what is held.
func (d Decision) same(o Decision) bool {
	return d.UID == o.UID && slices.Equal(d.Addresses, o.Addresses) && slices.Equal(d.Pools, o.Pools) &&
		slices.Equal(d.Refused, o.Refused) && slices.Equal(d.Warnings, o.Warnings) && slices.Equal(d.SharedWith, o.SharedWith) && d.SharedMore == o.SharedMore
}
