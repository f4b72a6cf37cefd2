package advertise

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-lb/penstock/bgp"
)

// Overrides are what a Service says of its paths itself. Each that is set counts in place of what
// an entry says.
type Overrides struct {
	Communities    *Communities // of both kinds
	LocalPref, MED *uint32
	Prepend        *uint8

	// Restricted says that no other peers than Peers are told, if any.
	Restricted bool
	Peers      []string
}

// Communities are those of a path, in order and without duplicates.
type Communities struct {
	Standard []bgp.Community
	Large    []bgp.LargeCommunity
}

// longest is the length in bytes of a community as text that can be right; what is longer is not
// repeated in errors.
const longest = 40

// mostWords bounds what is read of whoever may annotate a Service, well above what routers are told.
const mostWords = 1024

// ParseCommunities reads communities of both kinds, separated by commas; an empty text is none.
func ParseCommunities(text string) (*Communities, error) {
	c := &Communities{}
	if strings.TrimSpace(text) == "" {
		return c, nil
	}
	if n := strings.Count(text, ",") + 1; n > mostWords {
		return nil, fmt.Errorf("%d communities: give at most %d", n, mostWords)
	}
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if len(word) > longest {
			return nil, fmt.Errorf("a community has at most %d bytes, as in 64512:100, 64512:1:2 or no-export", longest)
		}
		if strings.Count(word, ":") == 2 {
			l, err := bgp.ParseLargeCommunity(word)
			if err != nil {
				return nil, err
			}
			c.Large = append(c.Large, l)
			continue
		}
		s, err := bgp.ParseCommunity(word)
		if err != nil {
			return nil, err
		}
		c.Standard = append(c.Standard, s)
	}
	c.Standard, c.Large = Sorted(c.Standard), SortedLarge(c.Large)
	return c, bgp.Attributes{Communities: c.Standard, LargeCommunities: c.Large}.Check()
}

// Sorted gives communities in order and without duplicates: routers keep them as a set.
func Sorted(c []bgp.Community) []bgp.Community {
	return slices.Compact(slices.Sorted(slices.Values(c)))
}

// SortedLarge is Sorted for large communities.
func SortedLarge(c []bgp.LargeCommunity) []bgp.LargeCommunity {
	return slices.Compact(slices.SortedFunc(slices.Values(c), func(a, b bgp.LargeCommunity) int {
		return slices.Compare([]uint32{a.Global, a.Local1, a.Local2}, []uint32{b.Global, b.Local1, b.Local2})
	}))
}

// ParseNumber reads a whole number from 0 to most.
func ParseNumber(text string, most uint32) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil || n > uint64(most) {
		return 0, fmt.Errorf("write a whole number from 0 to %d", most)
	}
	return uint32(n), nil
}

// on gives the attributes that count where an entry says a.
func (o *Overrides) on(a bgp.Attributes) bgp.Attributes {
	if c := o.Communities; c != nil {
		a.Communities, a.LargeCommunities = c.Standard, c.Large
	}
	if o.LocalPref != nil {
		a.LocalPref = o.LocalPref
	}
	if o.MED != nil {
		a.MED = o.MED
	}
	if o.Prepend != nil {
		a.Prepend = *o.Prepend
	}
	return a
}

// admits gives those of an entry's peers that may be told; none if it is false. Both lists stand
// for all if they are empty.
func (o *Overrides) admits(peers []string) ([]string, bool) {
	switch {
	case !o.Restricted:
		return peers, true
	case len(peers) == 0:
		return o.Peers, len(o.Peers) > 0
	}
	both := without(peers, func(p string) bool { return !slices.Contains(o.Peers, p) })
	return both, len(both) > 0
}

func without(names []string, leave func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(names), leave)
}
