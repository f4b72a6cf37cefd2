package agent

import (
	"context"
	"errors"
	"fmt"
	stdmaps "maps"
	"net/netip"
	"strings"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
)

// aggregates are the prefixes by which routers may send to several VIPs, which are their members:
// an aggregate is announced while one of them is. Only the reconciler uses it.
type aggregates struct {
	members map[netip.Prefix]map[netip.Addr]bool
	of      map[netip.Addr]map[netip.Prefix]bool // the same, by member
	asked   map[netip.Addr][]advertise.Aggregate // by each member, of its aggregates
	asks    map[netip.Prefix]map[string]*ask     // the different ones of an aggregate's members
}

// ask is what n members ask for.
type ask struct {
	advertise.Aggregate
	n int
}

func newAggregates() *aggregates {
	return &aggregates{
		members: map[netip.Prefix]map[netip.Addr]bool{}, of: map[netip.Addr]map[netip.Prefix]bool{},
		asked: map[netip.Addr][]advertise.Aggregate{}, asks: map[netip.Prefix]map[string]*ask{},
	}
}

// set makes a VIP a member of what it asks for, and of nothing else. touched gets the aggregates that
// may be others for it, each with the VIP if it was a member.
func (g *aggregates) set(vip netip.Addr, asked []advertise.Aggregate, touched map[netip.Prefix]map[netip.Addr]bool) {
	g.leave(vip, touched)
	if len(asked) > 0 {
		g.asked[vip] = asked
	}
	for _, a := range asked {
		g.join(a.Prefix, vip)
		inner(touched, a.Prefix)
		asks := inner(g.asks, a.Prefix)
		same := asks[askKey(a)]
		if same == nil {
			same = &ask{}
			asks[askKey(a)] = same
		}
		// Its attributes are those of the entry, of which the last one that was heard counts.
		same.Aggregate, same.n = a, same.n+1
	}
}

// leave makes a VIP a member of nothing.
func (g *aggregates) leave(vip netip.Addr, touched map[netip.Prefix]map[netip.Addr]bool) {
	for prefix := range g.of[vip] {
		inner(touched, prefix)[vip] = true
		if delete(g.members[prefix], vip); len(g.members[prefix]) == 0 {
			delete(g.members, prefix)
		}
	}
	for _, a := range g.asked[vip] {
		asks := g.asks[a.Prefix]
		if asks[askKey(a)].n--; asks[askKey(a)].n == 0 {
			delete(asks, askKey(a))
		}
		if len(asks) == 0 {
			delete(g.asks, a.Prefix)
		}
	}
	delete(g.of, vip)
	delete(g.asked, vip)
}

func askKey(a advertise.Aggregate) string {
	return fmt.Sprint(a.Entry, " ", strings.Join(a.Peers, ","))
}

// join makes a VIP a member without asking for anything.
func (g *aggregates) join(prefix netip.Prefix, vip netip.Addr) {
	inner(g.members, prefix)[vip], inner(g.of, vip)[prefix] = true, true
}

// inherit keeps the members of an aggregate that routers may still have, and that nobody asks for.
func (g *aggregates) inherit(prefix netip.Prefix, members map[netip.Addr]bool) {
	if prefix.IsSingleIP() || len(g.members[prefix]) > 0 {
		return
	}
	for vip := range members {
		g.join(prefix, vip)
	}
}

// inner gives a map within a map, new where there is none.
func inner[K, J comparable, V any](outer map[K]map[J]V, k K) map[J]V {
	if outer[k] == nil {
		outer[k] = map[J]V{}
	}
	return outer[k]
}

// path is what routers are to be told of an aggregate; false if no member asks for it.
func (g *aggregates) path(prefix netip.Prefix) (bgp.Path, bool) {
	var all []advertise.Aggregate
	for _, a := range g.asks[prefix] {
		all = append(all, a.Aggregate)
	}
	return advertise.Merge(prefix, all), len(all) > 0
}

// behind gives the addresses that a path brings packets to.
func (g *aggregates) behind(prefix netip.Prefix) map[netip.Addr]bool {
	if prefix.IsSingleIP() {
		return map[netip.Addr]bool{prefix.Addr(): true}
	}
	return g.members[prefix]
}

// leads tells whether a path brings packets to one of the addresses.
func (g *aggregates) leads(prefix netip.Prefix, addrs map[netip.Addr]bool) bool {
	for addr := range g.behind(prefix) {
		if addrs[addr] {
			return true
		}
	}
	return false
}

// regroup makes VIPs members of what they ask for if they are announced. It returns the aggregates that
// may be others, each with those that were its members.
func (r *reconciler) regroup(vips []verdict, gone []netip.Addr) map[netip.Prefix]map[netip.Addr]bool {
	touched := map[netip.Prefix]map[netip.Addr]bool{}
	for _, addr := range gone {
		r.aggregates.set(addr, nil, touched)
	}
	for _, v := range vips {
		asked := v.Aggregates
		if v.Reason != desired.Announceable {
			asked = nil
		}
		r.aggregates.set(v.Addr, asked, touched)
	}
	return touched
}

// wanted gives the paths by which VIPs are announced that judge found announceable, and their
// aggregates.
func wanted(vips []verdict) (map[netip.Prefix]bgp.Path, *aggregates) {
	want, next, touched := map[netip.Prefix]bgp.Path{}, newAggregates(), map[netip.Prefix]map[netip.Addr]bool{}
	for _, v := range vips {
		if v.Reason != desired.Announceable {
			continue
		}
		if !v.Suppressed {
			want[v.Path.Prefix] = v.Path
		}
		next.set(v.Addr, v.Aggregates, touched)
	}
	for prefix := range touched {
		want[prefix], _ = next.path(prefix)
	}
	return want, next
}

// join makes a VIP that the tables carry a member of what it asks for, as far as routers have that: it
// is what they send there for from now on.
func (r *reconciler) join(v desired.VIP) {
	for _, a := range v.Aggregates {
		if _, told := r.told[a.Prefix]; told {
			r.aggregates.join(a.Prefix, v.Addr)
		}
	}
}

// by gives the paths that bring packets to announceable VIPs, as routers were told.
func (r *reconciler) by(vips []verdict) map[netip.Addr][]netip.Prefix {
	out := map[netip.Addr][]netip.Prefix{}
	for _, v := range vips {
		if v.Reason != desired.Announceable {
			continue
		}
		for _, p := range append(keys(r.aggregates.of[v.Addr]), v.Path.Prefix) {
			if _, told := r.told[p]; told {
				out[v.Addr] = append(out[v.Addr], p)
			}
		}
	}
	return out
}

func keys[K comparable, V any](m map[K]V) (out []K) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// swap tells routers what is wanted. A path that announced VIPs were told by, and that is no longer
// wanted, goes only once they are told by another: a router that has neither sends their flows elsewhere.
func (r *reconciler) swap(ctx context.Context, want map[netip.Prefix]bgp.Path, vips []verdict, before map[netip.Addr][]netip.Prefix) (map[netip.Prefix]error, error) {
	both := stdmaps.Clone(want)
	for _, prefixes := range before {
		for _, p := range prefixes {
			if _, wanted := want[p]; !wanted {
				both[p] = r.told[p]
			}
		}
	}
	if len(both) == len(want) {
		return r.tell(ctx, want)
	}
	failed, err := r.tell(ctx, both)
	if errors.Is(err, bgp.ErrStopped) {
		return failed, err
	}
	want = stdmaps.Clone(want)
	for _, v := range vips {
		if refusal(v, failed) == nil {
			continue
		}
		for _, p := range before[v.Addr] {
			want[p] = both[p]
		}
	}
	return r.tell(ctx, want)
}

// refusal is why routers are not told of a VIP as they are to be, by the errors of paths; nil if they
// are.
func refusal(v verdict, failed map[netip.Prefix]error) error {
	if !v.Suppressed {
		return failed[v.Path.Prefix]
	}
	for _, a := range v.Aggregates {
		if err := failed[a.Prefix]; err != nil {
			return err
		}
	}
	return nil
}
