package bgp

import (
	"fmt"
	"slices"
)

// Attributes are those of a path that routers choose by. The zero value is a path without any.
type Attributes struct {
	Communities      []Community      `json:"communities,omitempty"`
	LargeCommunities []LargeCommunity `json:"largeCommunities,omitempty"`
	// LocalPref is sent to routers of our own AS only (RFC 4271 section 5.1.5); nil means 100.
	LocalPref *uint32 `json:"localPref,omitempty"`
	// MED prefers the lower of two paths from one AS (RFC 4271 section 5.1.4); nil for none.
	MED *uint32 `json:"med,omitempty"`
	// Prepend is how many times more our AS is in the AS path, to routers of other ASes; at most MaxPrepend.
	Prepend uint8 `json:"prepend,omitempty"`
	// Bandwidth of the link-bandwidth extended community (draft-ietf-idr-link-bandwidth) in bytes per
	// second; 0 for none.
	Bandwidth uint64 `json:"bandwidth,omitempty"`
}

// MaxPrepend bounds Attributes.Prepend: routers drop paths of a length beyond their limit.
const MaxPrepend = 32

// maxCommunities keeps a path's attributes, with the rest of an UPDATE, well inside its 4096 bytes. A drain
// adds one more.
const maxCommunities = 127

// told is what of them a router is told: one of our own AS would take its AS, prepended, for a loop and
// drop the path, and others have preferences of their own.
func (a Attributes) told(internal bool) Attributes {
	if internal {
		a.Prepend = 0
	} else {
		a.LocalPref = nil
	}
	return a
}

// Equal reports whether routers are told the same.
func (a Attributes) Equal(b Attributes) bool {
	return slices.Equal(a.Communities, b.Communities) && slices.Equal(a.LargeCommunities, b.LargeCommunities) &&
		same(a.LocalPref, b.LocalPref) && same(a.MED, b.MED) && a.Prepend == b.Prepend && a.Bandwidth == b.Bandwidth
}

func same(a, b *uint32) bool { return a == b || a != nil && b != nil && *a == *b }

// Check returns what is wrong with the attributes, before a drain adds GracefulShutdown.
func (a Attributes) Check() error { return a.check(maxCommunities) }

func (a Attributes) check(most int) error {
	if a.Prepend > MaxPrepend {
		return fmt.Errorf("AS path prepended %d times: give at most %d", a.Prepend, MaxPrepend)
	}
	if n := len(a.Communities) + len(a.LargeCommunities); n > most {
		return fmt.Errorf("%d communities: give at most %d", n, most)
	}
	return nil
}

// Offer is what some peers are told of a path.
type Offer struct {
	// Peers are the names of the peers; empty for all.
	Peers []string `json:"peers,omitempty"`
	Attributes
}

// For returns what a peer is told of the path: the first offer that is for it. A path without offers is
// for all peers, without attributes.
func (p Path) For(peer string) (Attributes, bool) {
	if len(p.Offers) == 0 {
		return Attributes{}, true
	}
	for _, o := range p.Offers {
		if len(o.Peers) == 0 || slices.Contains(o.Peers, peer) {
			return o.Attributes, true
		}
	}
	return Attributes{}, false
}

// Equal reports whether two paths are the same for every peer, told in the same order.
func (p Path) Equal(q Path) bool {
	return p.Prefix == q.Prefix && slices.EqualFunc(p.Offers, q.Offers, func(a, b Offer) bool {
		return slices.Equal(a.Peers, b.Peers) && a.Equal(b.Attributes)
	})
}
