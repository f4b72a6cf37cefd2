package advertise

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/bgp"
)

// Policy is what counts for all VIPs.
type Policy struct {
	Entries  []Entry // in order; none: all peers are told everything, without attributes
	Peers    []string
	Pools    []ipam.Pool
	Capacity uint64 // of the node, for LinkBandwidth auto, in bytes per second; 0: not known
}

// Equal reports whether two policies have the same told.
func (p Policy) Equal(o Policy) bool { return reflect.DeepEqual(p, o) }

// Plan is what is to be told of a VIP.
type Plan struct {
	Offers     []bgp.Offer // of its own prefix, as in bgp.Path
	Suppressed bool        // nobody is told of its own prefix
	Aggregates []Aggregate // in the order of their entries
	Refused    string      // why nobody is told anything, and the way out; empty: somebody is
}

// Aggregate is a prefix that a VIP is told as part of, on behalf of that VIP.
type Aggregate struct {
	Prefix netip.Prefix
	Entry  int // the place of its entry among those of the Policy
	bgp.Offer
}

// Equal reports whether two plans have the same told.
func (p Plan) Equal(o Plan) bool {
	same := func(a, b bgp.Offer) bool { return slices.Equal(a.Peers, b.Peers) && a.Equal(b.Attributes) }
	return (p.Refused == "") == (o.Refused == "") && p.Suppressed == o.Suppressed && slices.EqualFunc(p.Offers, o.Offers, same) &&
		slices.EqualFunc(p.Aggregates, o.Aggregates, func(a, b Aggregate) bool {
			return a.Prefix == b.Prefix && a.Entry == b.Entry && same(a.Offer, b.Offer)
		})
}

// Plan decides what is told of a VIP whose Service says o.
func (p Policy) Plan(s Subject, o Overrides) Plan {
	entries := p.Entries
	if len(entries) == 0 {
		entries = []Entry{{}}
	}
	d := decision{policy: p, overrides: o, decided: map[string]bool{}}
	var excluded []string
	for i := range entries {
		e := &entries[i]
		if why := e.excludes(s, p.Pools); why != "" {
			excluded = append(excluded, e.Name+", as "+why)
			continue
		}
		d.selected = append(d.selected, e.Name)
		d.take(i, e, s.VIP)
		if len(e.Peers) == 0 {
			break // it is for all that are left
		}
	}
	return d.plan(excluded)
}

// decision goes from entry to entry.
type decision struct {
	policy     Policy
	overrides  Overrides
	selected   []string        // names of the entries that select the VIP
	decided    map[string]bool // peers that one of them is for
	suppressed bool            // some of which are not told of its own prefix
	offers     []bgp.Offer
	aggregates []Aggregate
}

// take adds what an entry says to the peers that no entry before it is for. The offers of a path go
// by the first that is for a peer too; but where some peers are not to be told at all, the others
// have to be named.
func (d *decision) take(i int, e *Entry, vip netip.Addr) {
	peers, any := d.overrides.admits(e.Peers)
	left, some := peers, any
	if len(d.decided) > 0 {
		if any && len(peers) == 0 {
			left = d.policy.Peers
		}
		left = without(left, func(name string) bool { return d.decided[name] })
		some = any && len(left) > 0
	}
	for _, name := range e.Peers {
		d.decided[name] = true
	}
	if !some {
		return
	}
	attributes := e.Attributes(d.policy.Capacity)
	prefix := e.aggregate(vip)
	if prefix.IsValid() {
		d.aggregates = append(d.aggregates, Aggregate{prefix, i, bgp.Offer{Peers: left, Attributes: attributes}})
	}
	if prefix.IsValid() && e.AggregateOnly {
		d.suppressed = true
		return
	}
	if d.suppressed {
		peers = left
	}
	d.offers = append(d.offers, bgp.Offer{Peers: peers, Attributes: d.overrides.on(attributes)})
}

func (d *decision) plan(excluded []string) Plan {
	switch {
	case len(d.selected) == 0:
		return Plan{Refused: "no entry of bgp.advertisements selects it: not " + abridge(excluded) + "; widen one, or add one"}
	case len(d.offers)+len(d.aggregates) == 0 && len(d.overrides.Peers) == 0:
		return Plan{Refused: "its Service restricts it to peers of which none is configured; name one of " + strings.Join(d.policy.Peers, ", ")}
	case len(d.offers)+len(d.aggregates) == 0:
		return Plan{Refused: fmt.Sprintf("its Service restricts it to peer %s, which %s of bgp.advertisements is not for; add an entry for that peer, or restrict it to another",
			strings.Join(d.overrides.Peers, ", "), abridge(d.selected))}
	}
	return Plan{Offers: plain(d.offers), Suppressed: len(d.offers) == 0, Aggregates: d.aggregates}
}

// plain gives offers that tell all peers without attributes as a path has them: as none.
func plain(offers []bgp.Offer) []bgp.Offer {
	if len(offers) == 1 && len(offers[0].Peers) == 0 && offers[0].Equal(bgp.Attributes{}) {
		return nil
	}
	return offers
}

// mostNamed is how many entries a text names.
const mostNamed = 3

func abridge(parts []string) string {
	text := strings.Join(parts[:min(len(parts), mostNamed)], "; ")
	if more := len(parts) - mostNamed; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Merge gives the path of an aggregate that several VIPs ask for. A peer is told what the first
// entry says by which it is told on behalf of any of them.
func Merge(prefix netip.Prefix, asked []Aggregate) bgp.Path {
	asked = slices.SortedStableFunc(slices.Values(asked), func(a, b Aggregate) int { return cmp.Compare(a.Entry, b.Entry) })
	path := bgp.Path{Prefix: prefix}
	for i := 0; i < len(asked); {
		offer, all := asked[i].Offer, false
		var peers []string
		entry := asked[i].Entry
		for ; i < len(asked) && asked[i].Entry == entry; i++ {
			all = all || len(asked[i].Peers) == 0
			peers = append(peers, asked[i].Peers...)
		}
		if offer.Peers = slices.Compact(slices.Sorted(slices.Values(peers))); all {
			offer.Peers = nil
		}
		path.Offers = append(path.Offers, offer)
		if all {
			break
		}
	}
	path.Offers = plain(path.Offers)
	return path
}
