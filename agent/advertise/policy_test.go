package advertise

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/bgp"
)

// has is a selector of one label.
type has string

func (h has) Matches(set map[string]string) bool { return set[string(h)] != "" }
func (h has) String() string                     { return string(h) }

var peers = []string{"a", "b", "c"}

func drawEntry(t *rapid.T, i int) Entry {
	pick := func(label string, from ...[]string) []string { return rapid.SampledFrom(from).Draw(t, label) }
	e := Entry{
		Name:            fmt.Sprint("e", i),
		Namespaces:      pick("namespaces", nil, nil, []string{"ns"}, []string{"other"}),
		Pools:           pick("pools", nil, nil, []string{"p"}, []string{"q"}),
		Peers:           pick("peers", nil, []string{"a"}, []string{"b", "c"}),
		MED:             new(uint32(i)),
		AggregateOnly:   rapid.Bool().Draw(t, "only"),
		ServiceSelector: rapid.SampledFrom([]ipam.Selector{nil, nil, has("yes"), has("no")}).Draw(t, "services"),
	}
	e.AggregateLength4 = rapid.SampledFrom([]uint8{0, 24, 25}).Draw(t, "length")
	e.AggregateLength6 = rapid.SampledFrom([]uint8{0, 64, 127}).Draw(t, "length")
	return e
}

// What each peer is told is what the first entry says that selects the VIP and is for the peer, of
// the VIP's own prefix and of the aggregate.
func TestPlanIsTheFirstEntryOfEachPeer(t *testing.T) {
	pool := ipam.Pool{Name: "p", Ranges: []ipam.Range{ipam.RangeOf(netip.MustParsePrefix("192.0.2.0/24")), ipam.RangeOf(netip.MustParsePrefix("2001:db8::/64"))}}
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Peers: peers, Pools: []ipam.Pool{pool}}
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			p.Entries = append(p.Entries, drawEntry(t, i))
		}
		s := Subject{Namespace: "ns", Labels: map[string]string{"yes": "1"}}
		s.VIP = netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.200", "2001:db8::1"}).Draw(t, "vip"))
		var o Overrides
		if o.Restricted = rapid.Bool().Draw(t, "restricted"); o.Restricted {
			o.Peers = rapid.SliceOfNDistinct(rapid.SampledFrom(peers), 0, 2, rapid.ID[string]).Draw(t, "restricted to")
		}
		plan := p.Plan(s, o)
		own := bgp.Path{Prefix: netip.PrefixFrom(s.VIP, s.VIP.BitLen()), Offers: plan.Offers}
		somebody := false
		for _, peer := range peers {
			e := first(p, s, o, peer)
			var aggregate netip.Prefix
			if e != nil {
				aggregate = e.aggregate(s.VIP)
				somebody = true
			}
			told, is := own.For(peer)
			is = is && !plan.Suppressed && plan.Refused == ""
			if want := e != nil && (!aggregate.IsValid() || !e.AggregateOnly); is != want || is && !told.Equal(e.Attributes(0)) {
				t.Errorf("peer %s is told of the VIP: %v (%+v), want %v by %+v", peer, is, told, want, e)
			}
			var as []netip.Prefix
			for _, a := range plan.Aggregates {
				if told, is := Merge(a.Prefix, []Aggregate{a}).For(peer); is && told.Equal(p.Entries[a.Entry].Attributes(0)) {
					as = append(as, a.Prefix)
				}
			}
			if want := aggregate.IsValid(); want != (len(as) == 1) || want && as[0] != aggregate {
				t.Errorf("peer %s is told of aggregates %v, want %v", peer, as, aggregate)
			}
		}
		if (plan.Refused == "") != somebody {
			t.Errorf("refused: %q, although somebody is to be told: %v", plan.Refused, somebody)
		}
	})
}

// first is the entry that counts for a peer; nil for none.
func first(p Policy, s Subject, o Overrides, peer string) *Entry {
	if o.Restricted && !slices.Contains(o.Peers, peer) {
		return nil
	}
	if len(p.Entries) == 0 {
		return &Entry{}
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.excludes(s, p.Pools) == "" && (len(e.Peers) == 0 || slices.Contains(e.Peers, peer)) {
			return e
		}
	}
	return nil
}

// Of an aggregate that several ask for, a peer is told what the first of the entries says by which
// any of them has it told, in whatever order they ask.
func TestMerge(t *testing.T) {
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	rapid.Check(t, func(t *rapid.T) {
		var asked []Aggregate
		for range rapid.IntRange(1, 5).Draw(t, "members") {
			entry := rapid.IntRange(0, 2).Draw(t, "entry")
			to := rapid.SampledFrom([][]string{nil, {"a"}, {"b"}, {"a", "c"}}).Draw(t, "peers")
			asked = append(asked, Aggregate{prefix, entry, bgp.Offer{Peers: to, Attributes: bgp.Attributes{MED: new(uint32(entry))}}})
		}
		path := Merge(prefix, asked)
		if other := Merge(prefix, rapid.Permutation(asked).Draw(t, "order")); !path.Equal(other) {
			t.Errorf("in another order: %+v and %+v", path, other)
		}
		for _, peer := range peers {
			least := -1
			for _, a := range asked {
				if (len(a.Peers) == 0 || slices.Contains(a.Peers, peer)) && (least < 0 || a.Entry < least) {
					least = a.Entry
				}
			}
			told, is := path.For(peer)
			if is != (least >= 0) || is && *told.MED != uint32(least) {
				t.Errorf("peer %s is told %v %+v, want entry %d of %+v", peer, is, told, least, asked)
			}
		}
	})
}

func TestPlanWithoutAttributesIsAsWithoutEntries(t *testing.T) {
	p := Policy{Entries: []Entry{{Name: "all"}}, Peers: peers}
	if plan := p.Plan(Subject{VIP: netip.MustParseAddr("2001:db8::1")}, Overrides{}); !plan.Equal(Plan{}) || plan.Offers != nil {
		t.Errorf("%+v", plan)
	}
}

// Of a namespace that is not known yet no selector says anything, not even one that nothing matches.
func TestUnknownNamespace(t *testing.T) {
	p := Policy{Entries: []Entry{{Name: "e", NamespaceSelector: has("yes")}}, Peers: peers}
	s := Subject{VIP: netip.MustParseAddr("192.0.2.1"), Namespace: "ns"}
	for labels, refused := range map[string]bool{"": true, "no": true, "yes": false} {
		if labels != "" {
			s.NamespaceLabels = map[string]string{labels: "1"}
		}
		if plan := p.Plan(s, Overrides{}); (plan.Refused != "") != refused {
			t.Errorf("labels %q: %q", labels, plan.Refused)
		}
		s.NamespaceLabels = nil
	}
}
