package agent

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/desired"
)

// drawPlans has some of the VIPs that drawState draws told as parts of aggregates, one within the
// other.
func drawPlans(t *rapid.T) (plans []string) {
	for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		how := rapid.SampledFrom([]string{"", "only", "also"}).Draw(t, addr+" is told")
		for _, prefix := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"192.0.2.0/30", "192.0.2.0/29"}), 1, 2, rapid.ID[string]).Draw(t, addr+" within") {
			if how != "" {
				plans = append(plans, how+" "+prefix+" "+addr)
			}
		}
	}
	return plans
}

// Whatever fails, and whatever is told as part of what: no router is told of an aggregate before the
// tables have a member, the last member's tables do not go before it, and in the end, followed by parts
// or compared as a whole, what is announced is what is wanted.
func TestAggregatesHoldWhateverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := w.reconciler()
		failing := rapid.Bool().Draw(t, "faulty")
		flip := rapid.IntRange(0, 3)
		w.fail = func(string) error {
			if failing && flip.Draw(t, "fail") == 0 {
				return errInjected
			}
			return nil
		}
		w.refuse = w.fail
		r.apply(context.Background(), desired.State{}, attachOK)
		var want desired.State
		var plans []string
		shaken := true
		step := func(next desired.State, whole bool) {
			p := partOf(r, want, next)
			for _, v := range next.VIPs { // what is told of it may be another
				p.vips[v.Addr] = v
			}
			want = next
			out, enough := outcome{}, false
			if !shaken && r.synced && !whole {
				out, enough = r.follow(context.Background(), p, block{}, attachOK)
			}
			if !enough {
				out = r.apply(context.Background(), want, attachOK)
			}
			shaken = out.err != nil
		}
		for range rapid.IntRange(1, 12).Draw(t, "passes") {
			if rapid.IntRange(0, 2).Draw(t, "other plans") == 0 {
				plans = drawPlans(t)
			}
			step(w.within(drawState(t), plans...), rapid.IntRange(0, 3).Draw(t, "whole") == 0)
		}
		failing = false
		step(want, false)
		step(want, false)
		if len(w.broken) > 0 {
			t.Fatalf("%v\ncalls:\n%s", w.broken, strings.Join(w.calls, "\n"))
		}
		announced := []string{}
		for _, v := range want.VIPs {
			if v.Reason == desired.Announceable {
				for _, p := range v.Prefixes() {
					announced = append(announced, short(p))
				}
			}
		}
		slices.Sort(announced)
		if d := cmp.Diff(slices.Compact(announced), append([]string{}, w.announced()...)); d != "" {
			t.Fatalf("at the end: want -, announced +\n%s\ncalls:\n%s", d, strings.Join(w.calls, "\n"))
		}
		for _, p := range w.paths {
			if whole, _ := wanted(judged(want)); !p.Equal(whole[p.Prefix]) {
				t.Fatalf("%+v, want %+v", p, whole[p.Prefix])
			}
		}
	})
}

func judged(s desired.State) (out []verdict) {
	for _, v := range s.VIPs {
		out = append(out, verdict{VIP: v})
	}
	return out
}
