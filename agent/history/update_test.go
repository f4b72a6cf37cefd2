package history

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/maps"
)

// To be shown what changed comes to the same as being shown everything, until the retention
// is over: what went before is forgotten by Observe alone.
func TestUpdateIsObserve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, some := New(Options{Retention: 24 * time.Hour, Rows: 64}), New(Options{Retention: 24 * time.Hour, Rows: 64})
		now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		services := map[string]maps.Service{}
		observe := func() map[string]maps.Service {
			var list []maps.Service
			for _, s := range services {
				list = append(list, s)
			}
			out := map[string]maps.Service{}
			for _, s := range all.Observe(now, list) {
				out[s.Name] = s
			}
			return out
		}
		some.Observe(now, nil)
		observe()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "minutes")) * time.Minute)
			changed, gone := edit(t, services)
			want := observe()
			for _, got := range some.Update(now, changed, gone) {
				if diff := cmp.Diff(want[got.Name], got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("at %s (-shown all +shown what changed):\n%s", now.Format(time.TimeOnly), diff)
				}
			}
		}
	})
}

// edit changes a few services.
func edit(t *rapid.T, services map[string]maps.Service) (changed []maps.Service, gone []string) {
	for i := range 3 {
		name := fmt.Sprintf("s%d", i)
		switch _, has := services[name]; rapid.IntRange(0, 5).Draw(t, name) {
		case 0:
			if has {
				delete(services, name)
				gone = append(gone, name)
			}
		case 1, 2:
			s := maps.Service{Name: name}
			for n := range rapid.IntRange(0, 4).Draw(t, "backends") {
				s.Backends = append(s.Backends, maps.Backend{
					Addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80),
					Weight:   uint32(rapid.IntRange(1, 2).Draw(t, "weight")),
					Draining: rapid.Bool().Draw(t, "draining"),
				})
			}
			services[name] = s
			changed = append(changed, s)
		}
	}
	return changed, gone
}
