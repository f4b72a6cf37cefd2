package maps

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// dump is all that packets and readers find in the tables, with numbers resolved
// where two of the tables may have given them out differently.
type dump struct {
	Services []ServiceStatus
	Rows     map[string][]string // of each service: its region's flags, and by row the owners
	VIPs     []netip.Addr
	Members  map[netip.Addr]string
}

func dumpOf(tb tester, t *Tables) dump {
	tb.Helper()
	services, err := t.Services()
	if err != nil {
		tb.Fatalf("services: %v", err)
	}
	d := dump{Services: services, Rows: map[string][]string{}, Members: map[netip.Addr]string{}}
	for i, s := range services {
		names := map[uint32]string{}
		for j, b := range s.Backends {
			names[b.Index] = b.Addr.String()
			services[i].Backends[j].Index = 0
		}
		named := func(owners []uint32) string {
			list := make([]string, len(owners))
			for i, owner := range owners {
				list[i] = names[owner]
			}
			return strings.Join(list, ",")
		}
		raw := t.published.get(s.ID)
		rows := []string{fmt.Sprint(raw.Flags)}
		if r, ok := regionOf(raw); ok && raw.Table != 0 {
			for row := r.base; row < r.base+r.rows; row++ {
				rows = append(rows, named(t.owners(row))+" then "+named(extraOf(t, row)))
			}
		}
		d.Rows[s.Name], services[i].ID = rows, 0
	}
	d.VIPs = slices.SortedFunc(maps.Keys(t.vips), netip.Addr.Compare)
	for addr, flags := range t.members.have {
		d.Members[addr] = fmt.Sprint(flags)
	}
	return d
}

var plainAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// messages are the lines of an error, in order.
func messages(err error) []string {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	slices.Sort(lines)
	return lines
}

// drawChange makes the service anew, sometimes one that is refused.
func drawChange(rt *rapid.T, i, minute int) Service {
	s := Service{Name: fmt.Sprint("service-", i)}
	if rapid.IntRange(0, 3).Draw(rt, "affinity") == 0 {
		s.Affinity = AffinityClientIP
	}
	for b := range 6 {
		p := pod(i, b, minute-rapid.IntRange(0, 90).Draw(rt, "since"))
		switch rapid.IntRange(0, 9).Draw(rt, "backend") {
		case 0, 1, 2:
			continue
		case 3:
			p = p.drained(minute - rapid.IntRange(0, 90).Draw(rt, "lost"))
		case 4:
			p.Tunnel = netip.Addr{}
		case 5:
			p.Tunnel = netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)})
		}
		s.Backends = append(s.Backends, p)
	}
	if rapid.IntRange(0, 2).Draw(rt, "restricted") == 0 {
		s = s.only()
		for range rapid.IntRange(0, 3).Draw(rt, "ranges") {
			s = s.only(fmt.Sprintf("10.%d.0.0/16", rapid.IntRange(0, 3).Draw(rt, "range")))
		}
	}
	if rapid.IntRange(0, 7).Draw(rt, "refused") == 0 && len(s.Backends) > 0 {
		s.Backends = append(s.Backends, s.Backends[0])
	}
	return s
}

// TestPartialEqualsWhole gives one set of tables everything at each step, another one
// only what changes. They are to be the same, in memory and in the kernel.
func TestPartialEqualsWhole(t *testing.T) {
	whole, partial := open(t, pins(t), 1<<15), open(t, pins(t), 1<<15)
	defer whole.close(t)
	defer partial.close(t)
	minute := 0
	now := func() time.Time { return at(minute) }
	rapid.Check(t, func(rt *rapid.T) {
		minute = 0
		whole.now, partial.now = now, now
		for _, d := range []data{whole, partial} {
			if err := d.Sync(t.Context(), Want{}); err != nil {
				rt.Fatal(err)
			}
		}
		wanted := map[string]Service{}
		hops := map[netip.Addr]NextHop{}
		want := func(names []string) Want {
			w := Want{
				NextHops: map[netip.Addr]NextHop{},
				Members:  []Member{{Addr: node, Backend: true}, {Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(minute % 9)}), LB: true}},
				Dead:     map[netip.Addr]bool{node: minute%2 == 0},
			}
			for _, name := range names {
				w.Services = append(w.Services, wanted[name])
				for _, b := range wanted[name].Backends {
					w.NextHops[b.Addr.Addr()] = hops[b.Addr.Addr()]
				}
			}
			for i := range 30 {
				tunnel := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
				w.NextHops[tunnel] = NextHop{Ifindex: uint32(minute%3 + 1)}
			}
			return w
		}
		for step := range rapid.IntRange(2, 7).Draw(rt, "steps") {
			minute += rapid.IntRange(0, 50).Draw(rt, "minutes")
			changed := map[string]bool{}
			frontends := map[Frontend]string{}
			for i := range 4 {
				if rapid.IntRange(0, 2).Draw(rt, "changes") == 0 {
					s := drawChange(rt, i, minute)
					changed[s.Name] = true
					delete(wanted, s.Name)
					if rapid.IntRange(0, 3).Draw(rt, "there") > 0 {
						wanted[s.Name] = s
					}
					for _, b := range s.Backends {
						hops[b.Addr.Addr()] = NextHop{Ifindex: uint32(minute%5 + 1), Source: netip.MustParseAddr("10.9.0.1")}
					}
				}
			}
			for name, s := range wanted {
				if !changed[name] {
					for _, f := range s.Frontends {
						frontends[f] = name
					}
				}
			}
			for _, name := range slices.Sorted(maps.Keys(changed)) {
				s, there := wanted[name]
				for range rapid.IntRange(1, 3).Draw(rt, "frontends") {
					f := Frontend{netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 3).Draw(rt, "vip"))}), uint16(rapid.IntRange(1, 3).Draw(rt, "port")), TCP}
					if there && frontends[f] == "" {
						frontends[f] = name
						s.Frontends = append(s.Frontends, f)
						wanted[name] = s
					}
				}
			}
			all := slices.Sorted(maps.Keys(wanted))
			wholeErr := whole.Sync(t.Context(), want(all))
			var some, removed []string
			for _, name := range slices.Sorted(maps.Keys(changed)) {
				if _, there := wanted[name]; there {
					some = append(some, name)
				} else {
					removed = append(removed, name)
				}
			}
			w := want(some)
			w.Partial, w.Removed = true, removed
			if step == 0 {
				w = want(all)
			}
			partialErr := partial.Sync(t.Context(), w)
			if diff := cmp.Diff(messages(wholeErr), messages(partialErr)); diff != "" {
				rt.Fatalf("errors (-whole +partial):\n%s", diff)
			}
			if diff := cmp.Diff(dumpOf(rt, whole.Tables), dumpOf(rt, partial.Tables), plainAddrs); diff != "" {
				rt.Fatalf("(-whole +partial):\n%s", diff)
			}
			if whole, partial := whole.NextChange(), partial.NextChange(); !whole.Equal(partial) {
				rt.Fatalf("next change: whole %s, partial %s", whole, partial)
			}
			check(rt, partial.Tables)
			checkChains(rt, partial.Tables)
			checkMemory(rt, partial.Tables)
		}
	})
}

// checkMemory compares what is kept for partial Syncs with what it is made of.
func checkMemory(tb tester, t *Tables) {
	tb.Helper()
	refs := map[netip.Addr]int{}
	frontends := map[uint32]int{}
	for f, id := range t.frontends {
		refs[f.VIP]++
		frontends[id]++
		if s := t.byID[id]; s == nil || !slices.Contains(s.frontends, f) {
			tb.Fatalf("frontend %s of service %d is not among those of the service", f, id)
		}
	}
	if diff := cmp.Diff(refs, t.vipRefs, plainAddrs); diff != "" {
		tb.Fatalf("frontends by VIP (-counted +kept):\n%s", diff)
	}
	queued := 0
	for name, s := range t.services {
		if t.byID[s.id] != s || s.name != name || len(s.frontends) != frontends[s.id] {
			tb.Fatalf("service %s: number %d, frontends %v", name, s.id, s.frontends)
		}
		if s.place != 0 {
			queued++
		}
		if s.place != 0 && t.queue[s.place-1] != s || s.place == 0 && s.table != nil && !s.table.NextChange().IsZero() {
			tb.Fatalf("service %s is at place %d of the queue", name, s.place)
		}
	}
	if queued != len(t.queue) || len(t.byID) != len(t.services) {
		tb.Fatalf("%d of %d in the queue are known, %d numbers of %d services", queued, len(t.queue), len(t.byID), len(t.services))
	}
}

func TestPartialNeedsAWholeOne(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	want := Want{Partial: true, Services: []Service{svc("a", "10.0.0.1", "10.1.0.1:80")}}
	if err := d.Sync(t.Context(), want); !errors.Is(err, ErrIncomplete) {
		t.Errorf("the first one: %v", err)
	}
	if err := d.Sync(t.Context(), Want{Services: []Service{svc("b", "10.0.0.2", "10.1.0.2:80")}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a 10.0.0.1:80/tcp 10.1.0.1:80=true", "b 10.0.0.2:80/tcp 10.1.0.2:80=true"}, content(t, d.Tables)); diff != "" {
		t.Errorf("after a whole one and a partial one (-want +got):\n%s", diff)
	}
	d.restart(t)
	if err := d.Sync(t.Context(), want); !errors.Is(err, ErrIncomplete) {
		t.Errorf("the first one after a restart: %v", err)
	}
}

// A frontend that another service has is nobody else's, until that one is named too.
func TestPartialConflict(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	if err := d.Sync(t.Context(), Want{Services: []Service{svc("a", "10.0.0.1", "10.1.0.1:80")}}); err != nil {
		t.Fatal(err)
	}
	err := d.Sync(t.Context(), Want{Partial: true, Services: []Service{svc("b", "10.0.0.1", "10.1.0.2:80")}})
	if err == nil || !strings.Contains(err.Error(), "service b: frontend 10.0.0.1:80/tcp belongs to service a") {
		t.Errorf("b wants what a has: %v", err)
	}
	if err := d.Sync(t.Context(), Want{Partial: true, Removed: []string{"a", "unknown"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b 10.0.0.1:80/tcp 10.1.0.2:80=true"}, content(t, d.Tables)); diff != "" {
		t.Errorf("when a has gone, what b wanted is done (-want +got):\n%s", diff)
	}
	check(t, d.Tables)
}
