package ipam

import (
	"net/netip"
	"slices"
)

// RangeOf gives the addresses of a network, its first and its last included.
func RangeOf(p netip.Prefix) Range {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return Range{First: p.Addr(), Last: addr}
}

// Contains reports whether addr is one of the range.
func (r Range) Contains(addr netip.Addr) bool {
	return addr.Is4() == r.First.Is4() && !addr.Less(r.First) && !r.Last.Less(addr)
}

// Overlaps reports whether an address is in both.
func (r Range) Overlaps(s Range) bool { return r.Contains(s.First) || s.Contains(r.First) }

// String writes a network as such, and other ranges with a dash.
func (r Range) String() string {
	for bits := range r.First.BitLen() + 1 {
		if p := netip.PrefixFrom(r.First, bits); p.Masked() == p && RangeOf(p) == r {
			return p.String()
		}
	}
	return r.First.String() + "-" + r.Last.String()
}

// Contains reports whether addr is one of the pool.
func (p Pool) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(addr) })
}

// Admits reports whether a claim may have addresses of the pool: every restriction that is
// set must let it in. Of a namespace that is not known yet no selector says anything: what
// it does not have could be just what keeps it out.
func Admits(p Pool, c Claim) bool {
	return (len(p.Namespaces) == 0 || slices.Contains(p.Namespaces, c.Namespace)) &&
		p.admitsNamespace(&c) &&
		(p.ServiceSelector == nil || p.ServiceSelector.Matches(c.Labels))
}

func (p *Pool) admitsNamespace(c *Claim) bool {
	return p.NamespaceSelector == nil || c.NamespaceLabels != nil && p.NamespaceSelector.Matches(c.NamespaceLabels)
}

// routed reports whether r is an IPv6 network with an address of its routers, which those
// of two addresses (RFC 6164) or one do not have.
func (r Range) routed() bool {
	for bits := range 127 {
		if p := netip.PrefixFrom(r.First, bits); p.Masked() == p && RangeOf(p) == r {
			return true
		}
	}
	return false
}
