package drain

import (
	"slices"

	"github.com/penstock-lb/penstock/bgp"
)

// Options are for routers that do not know GRACEFUL_SHUTDOWN.
type Options struct {
	MED     uint32 // 0: as it is
	Prepend uint8
}

// Path is p as the last choice of each router that is told of it, and for no other one. p stays
// as it is.
func (o Options) Path(p bgp.Path) bgp.Path {
	offers := p.Offers
	if len(offers) == 0 {
		offers = []bgp.Offer{{}} // which is for all, as none is
	}
	p.Offers = make([]bgp.Offer, len(offers))
	for i, offer := range offers {
		offer.Attributes = o.Attributes(offer.Attributes)
		p.Offers[i] = offer
	}
	return p
}

// Attributes takes away what attracts traffic. A router of our own AS prefers any path of a
// higher LOCAL_PREF (RFC 8326, 4.1), one of another AS gives it 0 itself for the community, or
// goes by the length of the AS path and the MED. Bandwidth stays: without it, routers that weigh
// by it weigh nothing at all.
func (o Options) Attributes(a bgp.Attributes) bgp.Attributes {
	if !slices.Contains(a.Communities, bgp.GracefulShutdown) {
		a.Communities = append(slices.Clip(a.Communities), bgp.GracefulShutdown)
	}
	a.LocalPref = new(uint32)
	if o.MED != 0 {
		a.MED = &o.MED
	}
	a.Prepend = uint8(min(uint(a.Prepend)+uint(o.Prepend), bgp.MaxPrepend))
	return a
}
