package history

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

var (
	begin   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	options = Options{Retention: time.Hour, Rows: 64}
	compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}
)

// at is a time in seconds after begin.
func at(seconds float64) time.Time {
	return begin.Add(time.Duration(seconds * float64(time.Second)))
}

// The same for an endpoint of either family: what the objects say, when, and what
// is made of it.
func TestObserve(t *testing.T) {
	type look struct {
		second  float64
		absent  bool
		b       maps.Backend // what the objects say; Addr is the test's
		want    maps.Backend // times and former weights
		restart bool         // before it
	}
	old := at(-5000)
	tests := []struct {
		name  string
		first maps.Backend // in the very first look, at second 0; weight 0: not there
		looks []look
	}{
		{name: "nothing is known of before", first: maps.Backend{Weight: 1}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1}, want: maps.Backend{EligibleSince: at(0)}},
			{second: 20, restart: true, b: maps.Backend{Weight: 1}, want: maps.Backend{EligibleSince: at(0)}},
		}},
		{name: "draining since before", first: maps.Backend{Weight: 1, Draining: true}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, Draining: true}},
			{second: 20, b: maps.Backend{Weight: 1}, want: maps.Backend{EligibleSince: at(20)}},
			{second: 30, b: maps.Backend{Weight: 1, Draining: true}, want: maps.Backend{LostAt: at(30)}},
			{second: 40, restart: true, b: maps.Backend{Weight: 1, Draining: true}, want: maps.Backend{LostAt: at(30)}},
		}},
		{name: "one that is new was born when the endpoints were last others", looks: []look{
			{second: 10, b: maps.Backend{Weight: 1}, want: maps.Backend{BornAt: at(0), EligibleSince: at(10)}},
		}},
		{name: "new, and its pod is known", looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, BornAt: at(3), EligibleSince: at(8)}, want: maps.Backend{BornAt: at(3), EligibleSince: at(8)}},
			{second: 20, b: maps.Backend{Weight: 1}, want: maps.Backend{BornAt: at(0), EligibleSince: at(8)}},
		}},
		{name: "new, and its pod has been ready for long", looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(-60)}, want: maps.Backend{BornAt: old, EligibleSince: at(10)}},
			{second: 20, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(-60)}, want: maps.Backend{BornAt: old, EligibleSince: at(10)}},
		}},
		{name: "pods tell of a first look", first: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(-4000)}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(-4000)}, want: maps.Backend{BornAt: old, EligibleSince: at(-4000)}},
		}},
		{name: "a loss of readiness that no look saw", first: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, looks: []look{
			{second: 30, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(20)}, want: maps.Backend{BornAt: old, EligibleSince: at(20)}},
		}},
		{name: "readiness as the pod tells it", first: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, Draining: true, BornAt: old, LostAt: at(9)}, want: maps.Backend{BornAt: old, LostAt: at(9)}},
			{second: 20, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(19)}, want: maps.Backend{BornAt: old, EligibleSince: at(19)}},
		}},
		{name: "its node was silent, of which its pod knows nothing", first: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, Draining: true, BornAt: old, LostAt: at(9.5)}, want: maps.Backend{BornAt: old, LostAt: at(9.5)}},
			{second: 11, restart: true, b: maps.Backend{Weight: 1, Draining: true, BornAt: old, LostAt: at(9.5)}, want: maps.Backend{BornAt: old, LostAt: at(9.5)}},
			{second: 12, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, want: maps.Backend{BornAt: old, EligibleSince: at(12)}},
			{second: 20, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, want: maps.Backend{BornAt: old, EligibleSince: at(12)}},
			{second: 30, restart: true, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: old}, want: maps.Backend{BornAt: old, EligibleSince: at(12)}},
			{second: 40, b: maps.Backend{Weight: 1, BornAt: old, EligibleSince: at(35)}, want: maps.Backend{BornAt: old, EligibleSince: at(35)}},
		}},
		{name: "lost earlier than it was last seen to take flows", first: maps.Backend{Weight: 1, EligibleSince: old}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 1, Draining: true, LostAt: at(-60)}, want: maps.Backend{LostAt: at(10)}},
			{second: 20, b: maps.Backend{Weight: 1, Draining: true, LostAt: at(-60)}, want: maps.Backend{LostAt: at(10)}},
		}},
		{name: "away and back", first: maps.Backend{Weight: 1, EligibleSince: old}, looks: []look{
			{second: 10, absent: true},
			{second: 20, b: maps.Backend{Weight: 1, EligibleSince: old}, want: maps.Backend{EligibleSince: at(20)}},
			{second: 30, absent: true},
			{second: 40, restart: true, b: maps.Backend{Weight: 1, Draining: true}, want: maps.Backend{LostAt: at(30)}},
		}},
		{name: "away for longer than the retention", first: maps.Backend{Weight: 1}, looks: []look{
			{second: 10, absent: true},
			{second: 3611, absent: true},
			{second: 3620, b: maps.Backend{Weight: 1}, want: maps.Backend{BornAt: at(10), EligibleSince: at(3620)}},
		}},
		{name: "weights", first: maps.Backend{Weight: 2}, looks: []look{
			{second: 10, b: maps.Backend{Weight: 3}, want: maps.Backend{EligibleSince: at(0), Former: []chain.Former{{Weight: 2, Until: at(10)}}}},
			{second: 20, b: maps.Backend{Weight: 3, Draining: true}, want: maps.Backend{LostAt: at(20), Former: []chain.Former{{Weight: 2, Until: at(10)}}}},
			{second: 3610, restart: true, b: maps.Backend{Weight: 2, Draining: true}, want: maps.Backend{LostAt: at(20), Former: []chain.Former{{Weight: 3, Until: at(3610)}}}},
		}},
		{name: "the clock is set back", first: maps.Backend{Weight: 1}, looks: []look{
			{second: 100, b: maps.Backend{Weight: 2}, want: maps.Backend{EligibleSince: at(0), Former: []chain.Former{{Weight: 1, Until: at(100)}}}},
			{second: -50, b: maps.Backend{Weight: 2}, want: maps.Backend{EligibleSince: at(-50), Former: []chain.Former{{Weight: 1, Until: at(-50)}}}},
			{second: -40, restart: true, b: maps.Backend{Weight: 2, Draining: true}, want: maps.Backend{LostAt: at(-40), Former: []chain.Former{{Weight: 1, Until: at(-50)}}}},
		}},
	}
	for _, addr := range []string{"10.0.0.1:8080", "[fd00::1]:8080"} {
		for _, tt := range tests {
			t.Run(tt.name+" "+addr, func(t *testing.T) {
				file := t.TempDir() + "/history.json"
				h := Open(file, options, discard)
				services := func(b maps.Backend, absent bool) []maps.Service {
					s := maps.Service{Name: "default/web"}
					if b.Addr = netip.MustParseAddrPort(addr); !absent {
						s.Backends = []maps.Backend{b}
					}
					return []maps.Service{s}
				}
				h.Observe(begin, services(tt.first, tt.first.Weight == 0))
				for _, l := range tt.looks {
					if l.restart {
						mustClose(t, h)
						h = Open(file, options, discard)
					}
					in := services(l.b, l.absent)
					got := h.Observe(at(l.second), in)
					want := services(l.b, l.absent)
					if !l.absent {
						w := &want[0].Backends[0]
						w.BornAt, w.EligibleSince, w.LostAt, w.Former = l.want.BornAt, l.want.EligibleSince, l.want.LostAt, l.want.Former
					}
					if diff := cmp.Diff(want, got, compare); diff != "" {
						t.Errorf("second %v (-want +got):\n%s", l.second, diff)
					}
					if diff := cmp.Diff(services(l.b, l.absent), in, compare); diff != "" {
						t.Errorf("second %v: Observe changed what it was given:\n%s", l.second, diff)
					}
				}
			})
		}
	}
}

// What was cut off from the news for long: the new endpoint may be as old.
func TestBornWhenLastSomethingChanged(t *testing.T) {
	h := New(options)
	one, two := backend(1), backend(2)
	h.Observe(at(0), web(one))
	for s := 30.0; s < 3000; s += 30 {
		h.Observe(at(s), web(one))
	}
	got := h.Observe(at(3000), web(one, two))[0].Backends
	if got[1].BornAt != at(0) || got[1].EligibleSince != at(3000) || !got[0].BornAt.IsZero() || got[0].EligibleSince != at(0) {
		t.Errorf("backends: %+v", got)
	}
	got = h.Observe(at(3001), web(one, two, backend(3)))[0].Backends
	if got[2].BornAt != at(3000) {
		t.Errorf("born at %s, want the last change", got[2].BornAt)
	}
}

// A service that is new had no flows, since whenever its pods have been ready.
func TestNewService(t *testing.T) {
	h := New(options)
	h.Observe(at(0), web(backend(1)))
	b := backend(2)
	b.BornAt, b.EligibleSince = at(-60), at(-50)
	got := h.Observe(at(10), append(web(backend(1)), maps.Service{Name: "default/new", Backends: []maps.Backend{b}}))
	if diff := cmp.Diff(b, got[1].Backends[0], compare); diff != "" {
		t.Error(diff)
	}
}

func TestSizes(t *testing.T) {
	file := t.TempDir() + "/history.json"
	h := Open(file, options, discard)
	look := func(second float64, backends int, draining bool, want ...chain.Size) {
		t.Helper()
		var all []maps.Backend
		for i := range backends {
			b := backend(i)
			b.Draining = draining
			all = append(all, b)
		}
		got := h.Observe(at(second), web(all...))[0].Sizes
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Errorf("second %v (-want +got):\n%s", second, diff)
		}
		mustClose(t, h)
		h = Open(file, options, discard)
	}
	look(0, 3, true)   // no table yet
	look(10, 1, false) // 128 rows
	look(20, 2, false, chain.Size{Rows: 128, Until: at(20)})
	look(30, 5, false, chain.Size{Rows: 128, Until: at(20)}, chain.Size{Rows: 256, Until: at(30)})
	look(40, 0, false, chain.Size{Rows: 128, Until: at(20)}, chain.Size{Rows: 256, Until: at(30)}) // stays as it is
	look(50, 2, false, chain.Size{Rows: 128, Until: at(20)}, chain.Size{Rows: 1024, Until: at(50)})
	look(3620, 2, false, chain.Size{Rows: 1024, Until: at(50)})
	look(3650, 2, false)
	// As datapath.rows may be less than the least region.
	small := New(Options{Retention: time.Hour, Rows: 16})
	if small.Observe(at(0), web(backend(1))); small.services["default/web"].rows != 128 || rowsFor(0, 16) != 32 {
		t.Errorf("rows = %d, %d", small.services["default/web"].rows, rowsFor(0, 16))
	}
}

func TestTunnels(t *testing.T) {
	file := t.TempDir() + "/history.json"
	h := Open(file, options, discard)
	four, six := backend(1), backend(2)
	four.Tunnel, six.Tunnel = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	h.Observe(at(0), web(four, six, backend(3)))
	h.Observe(at(3000), web(six))
	mustClose(t, h)
	h = Open(file, options, discard)
	if diff := cmp.Diff(map[netip.Addr]bool{four.Tunnel: true, six.Tunnel: true}, h.Tunnels(), compare); diff != "" {
		t.Error(diff)
	}
	h.Observe(at(3600), web())
	if diff := cmp.Diff(map[netip.Addr]bool{six.Tunnel: true}, h.Tunnels(), compare); diff != "" {
		t.Error(diff)
	}
}

func TestLimit(t *testing.T) {
	h := New(options)
	h.most = 3
	h.Observe(at(0), web(backend(1), backend(2), backend(3), backend(4)))
	h.Observe(at(1), web(backend(2), backend(3), backend(4)))
	h.Observe(at(2), web(backend(3), backend(4)))
	h.Observe(at(3), web(backend(3), backend(4), backend(2)))
	got := h.Observe(at(4), web(backend(1), backend(2)))[0].Backends
	if got[0].BornAt.IsZero() || !got[1].BornAt.IsZero() {
		t.Errorf("of too many, the first that went is to be forgotten: %+v", got)
	}
	if n := len(h.services["default/web"].endpoints); n != 3 {
		t.Errorf("%d endpoints are remembered, want 3", n)
	}
}

func TestManyWeights(t *testing.T) {
	h := New(options)
	b := backend(1)
	for i := range 100 {
		b.Weight = uint32(i + 1)
		b.Former = nil
		b = h.Observe(at(float64(i)), web(b))[0].Backends[0]
	}
	if n := len(b.Former); n != maxFormer || b.Former[n-1] != (chain.Former{Weight: 99, Until: at(99)}) {
		t.Errorf("%d former weights: %v", n, b.Former)
	}
}

func web(backends ...maps.Backend) []maps.Service {
	return []maps.Service{{Name: "default/web", Backends: backends}}
}

func backend(i int) maps.Backend {
	return maps.Backend{Addr: netip.MustParseAddrPort(fmt.Sprintf("10.%d.%d.%d:8080", i/250/250, i/250%250, 1+i%250)), Weight: 1}
}

// Observe of 1,000 services with 100 endpoints each, as in a pass that changes
// nothing.
func BenchmarkObserve(b *testing.B) {
	h := New(options)
	var services []maps.Service
	for i := range 1000 {
		s := maps.Service{Name: fmt.Sprintf("default/svc-%d", i)}
		for j := range 100 {
			s.Backends = append(s.Backends, backend(100*i+j))
		}
		services = append(services, s)
	}
	now := begin
	for b.Loop() {
		now = now.Add(time.Second)
		h.Observe(now, services)
	}
}
