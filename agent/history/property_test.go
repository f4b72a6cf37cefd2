package history

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/maps"
)

// witness is what a look saw of one endpoint.
type witness struct {
	first           time.Time // when it was seen at first; zero: not that anyone remembers
	gone            time.Time // since when it has not been listed
	taking, resting time.Time // when it was last seen to take flows, and not to or not at all
	weights         map[uint32]time.Time
}

// drawServices has what the objects may say: endpoints come, go, lose readiness,
// change weights, and their times are told or not, rightly or not.
func drawServices(t *rapid.T, now time.Time) []maps.Service {
	moment := func(label string) time.Time {
		if rapid.Bool().Draw(t, label+" told") {
			return now.Add(-time.Duration(rapid.IntRange(-3, 120).Draw(t, label)) * time.Second)
		}
		return time.Time{}
	}
	var out []maps.Service
	for _, name := range []string{"a", "b"} {
		if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
			continue
		}
		s := maps.Service{Name: name}
		for i, addr := range []string{"10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"} {
			if rapid.IntRange(0, 4).Draw(t, "absent") == 0 {
				continue
			}
			b := maps.Backend{Addr: netip.MustParseAddrPort(addr), Weight: rapid.Uint32Range(1, 3).Draw(t, "weight"), BornAt: moment("born")}
			if b.Draining = rapid.IntRange(0, 2).Draw(t, "draining") == 0; b.Draining {
				b.LostAt = moment("lost")
			} else {
				b.EligibleSince = moment("eligible")
			}
			if rapid.Bool().Draw(t, "tunnel") {
				b.Tunnel = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			}
			s.Backends = append(s.Backends, b)
		}
		out = append(out, s)
	}
	return out
}

// Times err on the safe side, whatever is seen when, and a restart changes nothing.
func TestTimesAreSafe(t *testing.T) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		file := filepath.Join(dir, "history.json")
		_ = os.Remove(file)
		opts := Options{Retention: time.Minute, Rows: 32}
		h, steady := Open(file, opts, discard), New(opts)
		seen := map[string]map[netip.AddrPort]*witness{"a": {}, "b": {}}
		now := begin
		for range rapid.IntRange(1, 12).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90_000).Draw(t, "pause")) * time.Millisecond)
			in := drawServices(t, now)
			got := h.Observe(now, in)
			if diff := cmp.Diff(steady.Observe(now, in), got, compare); diff != "" {
				t.Fatalf("without a restart and with:\n%s", diff)
			}
			for i, s := range in {
				for j, b := range s.Backends {
					w := seen[s.Name][b.Addr]
					if w == nil {
						w = &witness{weights: map[uint32]time.Time{}}
						seen[s.Name][b.Addr] = w
					}
					w.check(t, now, b, got[i].Backends[j], opts)
				}
			}
			for name, endpoints := range seen {
				if i := slices.IndexFunc(in, func(s maps.Service) bool { return s.Name == name }); i >= 0 {
					missed(endpoints, now, in[i].Backends, opts)
				} else if missed(endpoints, now, nil, opts) {
					clear(endpoints) // all is forgotten, the service too
				}
			}
			if rapid.Bool().Draw(t, "restart") {
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
				h = Open(file, opts, discard)
			}
		}
	})
}

// missed notes which endpoints are not among the listed, and says whether none is
// remembered.
func missed(endpoints map[netip.AddrPort]*witness, now time.Time, listed []maps.Backend, opts Options) bool {
	remembered := 0
	for addr, w := range endpoints {
		switch {
		case slices.ContainsFunc(listed, func(b maps.Backend) bool { return b.Addr == addr }):
			w.gone = time.Time{}
		case w.gone.IsZero():
			w.gone, w.resting = now, now
		default:
			w.resting = now
			if !w.gone.After(now.Add(-opts.Retention)) {
				*w = witness{gone: w.gone, resting: now, weights: map[uint32]time.Time{}}
				continue
			}
		}
		remembered++
	}
	return remembered == 0
}

// check holds what became of b to what was seen before, and notes what is seen now.
func (w *witness) check(t *rapid.T, now time.Time, b, got maps.Backend, opts Options) {
	horizon := now.Add(-opts.Retention)
	if w.first.IsZero() {
		w.first = now
	}
	switch {
	case b.BornAt.IsZero() && got.BornAt.After(w.first):
		t.Errorf("%s: born at %s, but seen at %s", b.Addr, got.BornAt, w.first)
	case !b.BornAt.IsZero() && got.BornAt != b.BornAt:
		t.Errorf("%s: born at %s, and the objects say %s", b.Addr, got.BornAt, b.BornAt)
	}
	if b.Eligible() {
		if s := got.EligibleSince; s.IsZero() || s.Before(b.EligibleSince) || s.Before(w.resting) {
			t.Errorf("%s: eligible since %s; the objects say %s, and it was not at %s", b.Addr, s, b.EligibleSince, w.resting)
		}
		w.taking = now
	} else {
		if l := got.LostAt; l.IsZero() && !w.taking.IsZero() || !l.IsZero() && (l.Before(b.LostAt) || l.Before(w.taking)) {
			t.Errorf("%s: lost at %s; the objects say %s, and it took flows at %s", b.Addr, l, b.LostAt, w.taking)
		}
		w.resting = now
	}
	for _, f := range got.Former {
		if !f.Until.After(horizon) {
			t.Errorf("%s: former weight %d until %s is older than the retention", b.Addr, f.Weight, f.Until)
		}
	}
	for weight, until := range w.weights {
		known := weight == b.Weight
		for _, f := range got.Former {
			known = known || f.Weight == weight && !f.Until.Before(until)
		}
		if !known && until.After(horizon) {
			t.Errorf("%s: weight %d, seen at %s, is forgotten: %v", b.Addr, weight, until, got.Former)
		}
	}
	w.weights[b.Weight] = now
}
