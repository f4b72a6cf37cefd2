package agent

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

// To follow changes comes to the same as to compare everything, whatever fails: the same
// order, and once nothing fails any more, the same tables and routes.
func TestFollowComesToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := w.reconciler()
		held := heldBack(t, r)
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
		shaken := true
		step := func(next desired.State) {
			p := partOf(r, want, next)
			want = next
			out, enough := outcome{}, false
			if !shaken && r.synced {
				out, enough = r.follow(context.Background(), p, block{}, attachOK)
			}
			if !enough {
				out = r.apply(context.Background(), want, attachOK)
			}
			shaken = out.err != nil
		}
		for range rapid.IntRange(1, 12).Draw(t, "passes") {
			step(drawState(t))
		}
		failing = false
		step(want)
		step(want)
		if len(w.broken) > 0 {
			t.Fatalf("%v\ncalls:\n%s", w.broken, strings.Join(w.calls, "\n"))
		}
		var announceable []string
		for _, v := range want.VIPs {
			if v.Reason == desired.Announceable && !held[v.Addr] {
				announceable = append(announceable, v.Addr.String())
			}
		}
		if d := cmp.Diff(announceable, w.announced()); d != "" {
			t.Fatalf("at the end: want -, announced +\n%s\ncalls:\n%s", d, strings.Join(w.calls, "\n"))
		}
		checkDressed(t, w)
		tables := map[string]maps.Service{}
		for _, s := range want.Services {
			tables[s.Name] = s
		}
		for what, have := range map[string]map[string]maps.Service{"kernel": w.kernel, "reconciler": r.written} {
			if d := cmp.Diff(tables, have, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("at the end: want -, %s +\n%s\ncalls:\n%s", what, d, strings.Join(w.calls, "\n"))
			}
		}
		for addr, names := range r.at {
			for name := range names {
				if !slices.ContainsFunc(r.written[name].Frontends, func(f maps.Frontend) bool { return f.VIP == addr }) {
					t.Errorf("%s is noted to be on %s", name, addr)
				}
			}
		}
	})
}

// partOf is what Agent.part would say.
func partOf(r *reconciler, before, after desired.State) part {
	p := part{fabric: desired.State{}, vips: map[netip.Addr]desired.VIP{}}
	find := func(s desired.State, name string) (maps.Service, bool) {
		i := slices.IndexFunc(s.Services, func(s maps.Service) bool { return s.Name == name })
		if i < 0 {
			return maps.Service{}, false
		}
		return s.Services[i], true
	}
	touched := map[netip.Addr]bool{}
	touch := func(s maps.Service) {
		for _, f := range s.Frontends {
			touched[f.VIP] = true
		}
	}
	for _, s := range before.Services {
		next, still := find(after, s.Name)
		if !still {
			p.removed = append(p.removed, s.Name)
		}
		if !reflect.DeepEqual(s, next) || r.failed[s.Name] != nil {
			touch(s)
		}
	}
	for name := range r.failed {
		touch(r.written[name])
	}
	for _, s := range after.Services {
		if old, _ := find(before, s.Name); !reflect.DeepEqual(s, old) || r.failed[s.Name] != nil {
			p.services = append(p.services, s)
			touch(s)
		}
	}
	for addr := range touched {
		i := slices.IndexFunc(after.VIPs, func(v desired.VIP) bool { return v.Addr == addr })
		if i < 0 {
			p.gone = append(p.gone, addr)
		} else {
			p.vips[addr] = after.VIPs[i]
		}
	}
	return p
}
