package rendezvous

import (
	"net/netip"
)

// Candidate is an endpoint prepared for ranking it outside of a Table. One
// endpoint may be there several times, with different weights.
type Candidate struct {
	ID       netip.AddrPort
	Weight   uint32 // at least 1
	identity uint64
}

// NewCandidate prepares an endpoint that has a weight.
func NewCandidate(seed [16]byte, e Endpoint) Candidate {
	id := netip.AddrPortFrom(e.ID.Addr().Unmap(), e.ID.Port())
	return Candidate{ID: id, Weight: e.Weight, identity: identity(seed, id)}
}

// Draw is the candidate's number in a row, u in the words of the package. It
// does not depend on the weight.
func (c *Candidate) Draw(row uint32) uint64 {
	return mix(c.identity + uint64(row)*rowMultiplier)
}

// Before says whether a, which drew ua, ranks before b, which drew ub in the same
// row. Nothing ranks before itself.
func Before(a *Candidate, ua uint64, b *Candidate, ub uint64) bool {
	if a.Weight == b.Weight && ua != ub {
		return ua > ub
	}
	return before(a, ua, b, ub)
}

func before(a *Candidate, ua uint64, b *Candidate, ub uint64) bool {
	if a.Weight != b.Weight {
		// The greater draw never costs more.
		if ua > ub && a.Weight > b.Weight {
			return true
		}
		if ua < ub && a.Weight < b.Weight {
			return false
		}
		if c := compareCosts(contender{u: ua, weight: a.Weight}, contender{u: ub, weight: b.Weight}); c != 0 {
			return c < 0
		}
	}
	if ua != ub {
		return ua > ub
	}
	return a.ID.Compare(b.ID) < 0
}
