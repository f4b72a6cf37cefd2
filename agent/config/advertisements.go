package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/bgp"
)

// optionalValue is a number that may be left out, which 0 is not.
type optionalValue struct{ p **uint32 }

func (v optionalValue) String() string {
	if *v.p == nil {
		return ""
	}
	return strconv.FormatUint(uint64(**v.p), 10)
}

func (v optionalValue) Set(s string) error {
	if s == "" {
		*v.p = nil
		return nil
	}
	n, err := advertise.ParseNumber(s, ^uint32(0))
	if err == nil {
		*v.p = &n
	}
	return err
}

type communitiesValue struct{ p *[]bgp.Community }

func (v communitiesValue) String() string { return joined(*v.p) }
func (v communitiesValue) Set(s string) error {
	out, err := communities(s, bgp.ParseCommunity)
	*v.p = advertise.Sorted(out)
	return err
}

type largeCommunitiesValue struct{ p *[]bgp.LargeCommunity }

func (v largeCommunitiesValue) String() string { return joined(*v.p) }
func (v largeCommunitiesValue) Set(s string) error {
	out, err := communities(s, bgp.ParseLargeCommunity)
	*v.p = advertise.SortedLarge(out)
	return err
}

func joined[C fmt.Stringer](list []C) string {
	words := make([]string, len(list))
	for i, c := range list {
		words[i] = c.String()
	}
	return strings.Join(words, ",")
}

// communities reads a list of one kind. Two spellings of one community are one.
func communities[C comparable](s string, parse func(string) (C, error)) ([]C, error) {
	var words []string
	if err := (listValue{&words}).Set(s); err != nil {
		return nil, errors.New("write communities separated by single commas")
	}
	var out []C
	for _, word := range words {
		c, err := parse(word)
		switch i := slices.Index(out, c); {
		case err != nil:
			return nil, err
		case i >= 0:
			return nil, fmt.Errorf("%q and %q are one community; remove one of them", words[i], word)
		}
		out = append(out, c)
	}
	return out, nil
}

type bandwidthValue struct{ p *advertise.Bandwidth }

func (v bandwidthValue) String() string { return v.p.String() }
func (v bandwidthValue) Set(s string) (err error) {
	*v.p, err = advertise.ParseBandwidth(s)
	return err
}

// compareOrder tells of entries that stand in another order: the first that is for a VIP counts.
func compareOrder(c *Changes, old, new []advertise.Entry) {
	common := func(list, other []advertise.Entry) (names []string) {
		for _, e := range list {
			if slices.ContainsFunc(other, func(o advertise.Entry) bool { return o.Name == e.Name }) {
				names = append(names, e.Name)
			}
		}
		return names
	}
	if a, b := common(old, new), common(new, old); !slices.Equal(a, b) {
		c.add(live, advertisementsKey, strings.Join(a, ","), strings.Join(b, ","))
	}
}

// Advertised is what counts for what routers are told. capacity is this node's, in bytes per second.
func (c *Config) Advertised(capacity uint64) advertise.Policy {
	p := advertise.Policy{Entries: c.BGP.Advertisements, Pools: c.Pools, Capacity: capacity}
	for i := range c.BGP.Peers {
		p.Peers = append(p.Peers, c.BGP.Peers[i].Name)
	}
	return p
}
