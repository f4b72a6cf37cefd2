package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
)

// within has VIPs told as parts of an aggregate: "only 192.0.2.0/30 192.0.2.1" in place of its own
// prefix, "also …" beside that.
func (w *world) within(s desired.State, plans ...string) desired.State {
	w.asks = map[netip.Addr][]netip.Prefix{}
	for _, text := range plans {
		f := strings.Fields(text)
		prefix := netip.MustParsePrefix(f[1])
		for _, addr := range f[2:] {
			for i := range s.VIPs {
				v := &s.VIPs[i]
				if v.Addr == netip.MustParseAddr(addr) {
					v.Suppressed = v.Suppressed || f[0] == "only"
					v.Aggregates = append(v.Aggregates, advertise.Aggregate{Prefix: prefix, Offer: bgp.Offer{Attributes: bgp.Attributes{MED: new(uint32(prefix.Bits()))}}})
				}
			}
		}
	}
	for _, v := range s.VIPs {
		if v.Reason == desired.Announceable {
			w.asks[v.Addr] = v.Prefixes()
		}
		for _, prefix := range v.Prefixes() {
			inner(w.ever, prefix)[v.Addr] = true
		}
	}
	return s
}

func TestOrderOfAggregates(t *testing.T) {
	type step struct {
		services []string
		plans    []string
		fail     string // the call that fails
		refuse   string
		calls    []string
		reasons  map[string]desired.Reason // of the VIPs that are not announced
		err      bool
	}
	one, two, six := "web 192.0.2.1 1", "api 192.0.2.2 1", "six 2001:db8::1 1"
	only := []string{"only 192.0.2.0/30 192.0.2.1 192.0.2.2", "only 2001:db8::/64 2001:db8::1"}
	also := []string{"also 192.0.2.0/30 192.0.2.1 192.0.2.2", "also 2001:db8::/64 2001:db8::1"}
	list := func(words ...string) []string { return words }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"the last member withdraws it before its tables go", []step{
			{services: list(one, two, six), plans: only, calls: list("tables.Sync(web api six)", "speaker.Sync(192.0.2.0/30 2001:db8::/64)")},
			{services: list(two), plans: only, calls: list("speaker.Sync(192.0.2.0/30)", "tables.Sync(api)", "speaker.Sync(192.0.2.0/30)")},
			{plans: only, calls: list("speaker.Sync()", "tables.Sync()", "speaker.Sync()")},
		}},
		{"beside the members' own prefixes", []step{
			{services: list(one, six), plans: also, calls: list("tables.Sync(web six)", "speaker.Sync(192.0.2.0/30 192.0.2.1 2001:db8::/64 2001:db8::1)")},
			{services: list(six, "web 192.0.2.1 0"), plans: also, calls: list("speaker.Sync(2001:db8::/64 2001:db8::1)", "tables.Sync(six web)", "speaker.Sync(2001:db8::/64 2001:db8::1)"),
				reasons: map[string]desired.Reason{"192.0.2.1": desired.NoUsableEndpoints}},
		}},
		{"a new last member whose tables are not there yet", []step{
			{services: list(one), plans: only, calls: list("tables.Sync(web)", "speaker.Sync(192.0.2.0/30)")},
			{services: list(two), plans: only, calls: list("speaker.Sync()", "tables.Sync(api)", "speaker.Sync(192.0.2.0/30)")},
		}},
		{"a member that has been announced otherwise keeps it up", []step{
			{services: list(one, two), plans: list("only 192.0.2.0/30 192.0.2.1"), calls: list("tables.Sync(web api)", "speaker.Sync(192.0.2.0/30 192.0.2.2)")},
			{services: list(two), plans: only, calls: list("tables.Sync(api)", "speaker.Sync(192.0.2.0/30 192.0.2.2)", "speaker.Sync(192.0.2.0/30)")},
		}},
		{"it is told before what it stands for goes, and the other way round", []step{
			{services: list(one, six), calls: list("tables.Sync(web six)", "speaker.Sync(192.0.2.1 2001:db8::1)")},
			{services: list(one, six), plans: only, calls: list("tables.Sync(web six)", "speaker.Sync(192.0.2.0/30 192.0.2.1 2001:db8::/64 2001:db8::1)", "speaker.Sync(192.0.2.0/30 2001:db8::/64)")},
			{services: list(one, six), plans: list("only 192.0.2.0/29 192.0.2.1"), calls: list("tables.Sync(web six)", "speaker.Sync(192.0.2.0/29 192.0.2.0/30 2001:db8::/64 2001:db8::1)", "speaker.Sync(192.0.2.0/29 2001:db8::1)")},
			{services: list(one, six), calls: list("tables.Sync(web six)", "speaker.Sync(192.0.2.0/29 192.0.2.1 2001:db8::1)", "speaker.Sync(192.0.2.1 2001:db8::1)")},
		}},
		{"what it stands for stays while it is refused", []step{
			{services: list(one), calls: list("tables.Sync(web)", "speaker.Sync(192.0.2.1)")},
			{services: list(one), plans: only, refuse: "192.0.2.0/30", calls: list("tables.Sync(web)", "speaker.Sync(192.0.2.0/30 192.0.2.1)", "speaker.Sync(192.0.2.0/30 192.0.2.1)"),
				reasons: map[string]desired.Reason{"192.0.2.1": AnnounceFailed}, err: true},
			{services: list(one), plans: only, calls: list("tables.Sync(web)", "speaker.Sync(192.0.2.0/30 192.0.2.1)", "speaker.Sync(192.0.2.0/30)")},
		}},
		{"one that could not be withdrawn keeps its members' tables", []step{
			{services: list(one, two, six), plans: only, calls: list("tables.Sync(web api six)", "speaker.Sync(192.0.2.0/30 2001:db8::/64)")},
			{services: list(six), plans: only, refuse: "192.0.2.0/30", calls: list("speaker.Sync(2001:db8::/64)", "tables.Sync(api web six)", "speaker.Sync(2001:db8::/64)"), err: true},
			{services: list(six), plans: only, refuse: "192.0.2.0/30", calls: list("speaker.Sync(2001:db8::/64)", "tables.Sync(api web six)", "speaker.Sync(2001:db8::/64)"), err: true},
			{services: list(six), plans: only, calls: list("speaker.Sync(2001:db8::/64)", "tables.Sync(six)", "speaker.Sync(2001:db8::/64)")},
		}},
		{"a member that the tables refuse is not what it is announced for", []step{
			{services: list(one, two), plans: only, refuse: "web", calls: list("tables.Sync(web api)", "speaker.Sync(192.0.2.0/30)"),
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
			{services: list(one), plans: only, refuse: "web", calls: list("speaker.Sync()", "tables.Sync(web)", "speaker.Sync()"),
				reasons: map[string]desired.Reason{"192.0.2.1": Refused}},
		}},
		{"tables that cannot be written leave it in force", []step{
			{services: list(one), plans: only, calls: list("tables.Sync(web)", "speaker.Sync(192.0.2.0/30)")},
			{services: list(one, two), plans: only, fail: "tables.Sync(web api)", calls: list("tables.Sync(web api)", "speaker.Sync(192.0.2.0/30)"),
				reasons: map[string]desired.Reason{"192.0.2.2": NotInKernel}, err: true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			r := w.reconciler()
			for i, s := range tt.steps {
				w.failing(s.fail, s.refuse)
				got := r.apply(t.Context(), w.within(state(s.services...), s.plans...), attachOK)
				w.check(t, i, got, s.calls, s.reasons, s.err)
			}
			if len(w.broken) > 0 {
				t.Error(w.broken)
			}
		})
	}
}

// A part of what is wanted moves a VIP into an aggregate whose only member leaves: that stays up, and
// goes when none of its members is left.
func TestFollowHandsAnAggregateOver(t *testing.T) {
	w := newWorld()
	r := w.reconciler()
	one, two := "web 192.0.2.1 1", "api 192.0.2.2 1"
	var want desired.State
	for i, s := range []struct {
		want  desired.State
		calls []string
	}{
		{w.within(state(one, two), "only 192.0.2.0/30 192.0.2.1"), []string{"tables.Sync(web api)", "speaker.Sync(192.0.2.0/30 192.0.2.2)"}},
		{w.within(state(two), "only 192.0.2.0/30 192.0.2.2"), []string{"tables.Sync()", "speaker.Sync(192.0.2.0/30 192.0.2.2)", "speaker.Sync(192.0.2.0/30)"}},
		{state(), []string{"speaker.Sync()", "tables.Sync()"}},
	} {
		p := partOf(r, want, s.want)
		for _, v := range s.want.VIPs {
			p.vips[v.Addr] = v
		}
		want = s.want
		if i == 0 {
			r.apply(t.Context(), want, attachOK)
		} else if out, enough := r.follow(t.Context(), p, block{}, attachOK); !enough || out.err != nil {
			t.Errorf("step %d: %v, enough: %v", i, out.err, enough)
		}
		if d := cmp.Diff(s.calls, w.took()); d != "" {
			t.Errorf("step %d: calls: want -, got +\n%s", i, d)
		}
	}
	if len(w.broken) > 0 {
		t.Error(w.broken)
	}
}

// BenchmarkMember takes one VIP out of an aggregate of many, and puts it back.
func BenchmarkMember(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newWorld().reconciler()
			asked := []advertise.Aggregate{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
			member := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }
			touched := map[netip.Prefix]map[netip.Addr]bool{}
			for i := range n {
				r.aggregates.set(member(i), asked, touched)
			}
			for b.Loop() {
				clear(touched)
				r.aggregates.set(member(n/2), nil, touched)
				r.aggregates.path(asked[0].Prefix)
				r.aggregates.set(member(n/2), asked, touched)
				r.aggregates.path(asked[0].Prefix)
			}
		})
	}
}
