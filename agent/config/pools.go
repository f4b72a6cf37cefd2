package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// rangesValue is a list of networks and ranges of addresses.
type rangesValue struct{ p *[]ipam.Range }

func (v rangesValue) String() string {
	words := make([]string, len(*v.p))
	for i, r := range *v.p {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}

func (v rangesValue) Set(s string) error {
	var words []string
	if err := (listValue{&words}).Set(s); err != nil {
		return err
	}
	out := make([]ipam.Range, len(words))
	for i, word := range words {
		r, err := parseRange(word)
		if err != nil {
			return err
		}
		if j := slices.IndexFunc(out[:i], r.Overlaps); j >= 0 {
			return fmt.Errorf("%q and %q have addresses in common; take them out of one", words[j], word)
		}
		out[i] = r
	}
	*v.p = out
	return nil
}

// parseRange reads a network, an address alone, or the first and the last address with a
// dash between them.
func parseRange(word string) (ipam.Range, error) {
	first, last, dash := strings.Cut(word, "-")
	if !dash {
		var one []netip.Prefix
		if err := (prefixesValue{&one}).Set(word); err != nil {
			if strings.Contains(err.Error(), "is not a network") {
				err = fmt.Errorf("%q is neither a network nor a range; write 192.0.2.0/24, 2001:db8::/64 or 192.0.2.10-192.0.2.20", word)
			}
			return ipam.Range{}, err
		}
		return ipam.RangeOf(one[0]), nil
	}
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	b, errB := netip.ParseAddr(strings.TrimSpace(last))
	switch {
	case err != nil || errB != nil:
		return ipam.Range{}, fmt.Errorf("%q is not a range of addresses; write the first and the last, as in 192.0.2.10-192.0.2.20", word)
	case a.Is4In6() || b.Is4In6():
		return ipam.Range{}, fmt.Errorf("%q is IPv4-mapped; write the IPv4 addresses as such", word)
	case a.Zone() != "" || b.Zone() != "":
		return ipam.Range{}, fmt.Errorf("%q has a zone; write addresses of the network", word)
	case a.Is4() != b.Is4():
		return ipam.Range{}, fmt.Errorf("%q begins in one family and ends in the other; write two ranges", word)
	case b.Less(a):
		return ipam.Range{}, fmt.Errorf("%q ends before it begins; write %s-%s", word, b, a)
	}
	return ipam.Range{First: a, Last: b}, nil
}

// ParseSelector reads a label selector as kubectl takes it; nil for an empty one.
func ParseSelector(text string) (ipam.Selector, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	s, err := labels.Parse(text)
	if err != nil {
		return nil, errors.New("write a label selector, as in tier=web, tier in (web, api) or !internal, with commas between conditions that must all be met")
	}
	return selector{s}, nil
}

// selector is a label selector as package ipam takes it.
type selector struct{ labels labels.Selector }

func (s selector) Matches(set map[string]string) bool { return s.labels.Matches(labels.Set(set)) }
func (s selector) String() string                     { return s.labels.String() }
func (s selector) Equal(t selector) bool              { return s.String() == t.String() }

type selectorValue struct{ p *ipam.Selector }

func (v selectorValue) Set(s string) (err error) { *v.p, err = ParseSelector(s); return err }
func (v selectorValue) String() string {
	if *v.p == nil {
		return ""
	}
	return (*v.p).String()
}

// selectorTextValue is a selector that is kept as text.
type selectorTextValue struct{ p *string }

func (v selectorTextValue) String() string { return *v.p }
func (v selectorTextValue) Set(s string) error {
	parsed, err := ParseSelector(s)
	*v.p = selectorValue{&parsed}.String()
	return err
}
