package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// spaces finds those of addresses and of families.
type spaces struct {
	byFamily [2][]*space // of all pools that have the family, in the order in which they are asked
	byRange  []piece     // by their first address
}

type piece struct {
	Range
	space *space
}

func newSpaces(pools []Pool) *spaces {
	out := &spaces{}
	pools = slices.Clone(pools)
	slices.SortStableFunc(pools, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	for i := range pools {
		for _, f := range []family{v4, v6} {
			s := newSpace(&pools[i], f)
			if len(s.ranges) == 0 {
				continue
			}
			out.byFamily[f] = append(out.byFamily[f], s)
			for _, r := range s.ranges {
				out.byRange = append(out.byRange, piece{r, s})
			}
		}
	}
	slices.SortFunc(out.byRange, func(a, b piece) int { return a.First.Compare(b.First) })
	return out
}

// of gives the space that has addr; nil if no pool has it.
func (s *spaces) of(addr netip.Addr) *space {
	i, found := slices.BinarySearchFunc(s.byRange, addr, func(r piece, a netip.Addr) int { return r.First.Compare(a) })
	if !found {
		i--
	}
	if i >= 0 && s.byRange[i].Contains(addr) {
		return s.byRange[i].space
	}
	return nil
}
