package chain

import (
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/maps/rendezvous"
)

var (
	testSeed = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	epoch    = time.Unix(1_800_000_000, 0)
	defaults = Options{Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 16}
)

func address(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080)
}

// stable returns endpoints that have been eligible for a day.
func stable(n int, now time.Time) (eps []Endpoint) {
	for i := range n {
		eps = append(eps, Endpoint{ID: address(i), Weight: 1, BornAt: now.Add(-25 * time.Hour), EligibleSince: now.Add(-24 * time.Hour)})
	}
	return eps
}

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// drawTime draws a second around the window that ends at now, few enough for
// many to be equal.
func drawTime(t *rapid.T, label string, now int) time.Time {
	return at(now - rapid.SampledFrom([]int{0, 1, 4, 5, 6, 60, 600, 1800, 3594, 3595, 3599, 3600, 3601, 3605, 7200}).Draw(t, label))
}

func drawEndpoint(t *rapid.T, i, now int, weights *rapid.Generator[uint32]) Endpoint {
	e := Endpoint{ID: address(i), Weight: weights.Draw(t, "weight")}
	if rapid.IntRange(0, 9).Draw(t, "born") > 0 {
		e.BornAt = drawTime(t, "born at", now)
	}
	if rapid.IntRange(0, 2).Draw(t, "eligible") > 0 {
		e.EligibleSince = drawTime(t, "eligible since", now)
		if e.EligibleSince.Before(e.BornAt) && rapid.IntRange(0, 9).Draw(t, "skewed") > 0 {
			e.EligibleSince = e.BornAt
		}
	} else if rapid.Bool().Draw(t, "lost") {
		e.LostAt = drawTime(t, "lost at", now)
	}
	return e
}

func drawFormer(t *rapid.T, now int, weights *rapid.Generator[uint32]) (former []Former) {
	seen := map[time.Time]bool{}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3}).Draw(t, "reweighted") {
		// Two at one time would be a question of what a moment is.
		if f := (Former{weights.Draw(t, "former weight"), drawTime(t, "until", now)}); !seen[f.Until] {
			seen[f.Until] = true
			former = append(former, f)
		}
	}
	return former
}

// drawEndpoints changes some of the endpoints and leaves the others.
func drawEndpoints(t *rapid.T, eps []Endpoint, now int, reweigh bool) []Endpoint {
	weights := rapid.Just(uint32(1))
	if reweigh {
		weights = rapid.SampledFrom([]uint32{0, 1, 1, 1, 1, 2, 3, 100, math.MaxUint32})
	}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 11), 0, 12, rapid.ID[int]).Draw(t, "touched") {
		eps = slices.DeleteFunc(slices.Clone(eps), func(e Endpoint) bool { return e.ID == address(i) })
		if rapid.IntRange(0, 3).Draw(t, "there") > 0 {
			e := drawEndpoint(t, i, now, weights)
			if reweigh {
				e.Former = drawFormer(t, now, weights)
			}
			eps = append(eps, e)
		}
	}
	return eps
}

func drawOptions(t *rapid.T) Options {
	o := defaults
	o.Slack = time.Duration(rapid.SampledFrom([]int{0, 1, 5, 7200}).Draw(t, "slack")) * time.Second
	o.ExtraRanks = rapid.IntRange(0, 4).Draw(t, "extra ranks")
	o.Longest = rapid.SampledFrom([]int{1, 2, 3, 16}).Draw(t, "longest")
	return o
}

func (t *Table) row(row uint32) (b bruteRow) {
	b.Primary, _ = t.Primary(row)
	b.Chain, b.Extra = t.AppendChain(nil, row), t.AppendExtra(nil, row)
	return b
}

func (t *Table) all() (rows []bruteRow) {
	for row := range t.rows {
		rows = append(rows, t.row(row))
	}
	return rows
}

func sameID(a, b netip.AddrPort) bool { return a == b }

func checkBrute(t *rapid.T, table *Table, o Options, now time.Time, eps []Endpoint, sizes ...Size) {
	t.Helper()
	for row := range table.rows {
		want := brute(row, o, now, table.rows, eps, sizes...)
		if diff := cmp.Diff(want, table.row(row), cmp.Comparer(sameID), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("row %d at %s of %+v with %+v (-reference +got):\n%s", row, now, eps, o, diff)
		}
		if want := len(want.Chain) > 1 || len(want.Chain) == 1 && !want.Primary.IsValid(); table.Chained(row) != want {
			t.Fatalf("row %d: Chained is %t", row, !want)
		}
	}
}

// Whatever the table held before, and in whatever order the endpoints come, it
// holds what the reference says, and names exactly the rows that changed.
func TestEqualsReference(t *testing.T) {
	for name, reweigh := range map[string]bool{"equal weights": false, "changing weights": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				o := drawOptions(t)
				table := New(testSeed, 32, o)
				now := 0
				var eps []Endpoint
				before := table.all()
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					now += rapid.SampledFrom([]int{0, 1, 5, 600, 3600}).Draw(t, "later")
					eps = drawEndpoints(t, eps, now, reweigh)
					changed := table.Set(at(now), rapid.Permutation(eps).Draw(t, "order"))
					checkBrute(t, table, o, at(now), eps)
					after := table.all()
					if want := differing(before, after); !slices.Equal(changed, want) {
						t.Fatalf("Set reports rows %v, changed are %v", changed, want)
					}
					before = after
				}
			})
		})
	}
}

func differing(a, b []bruteRow) (rows []uint32) {
	for r := range a {
		if a[r].Primary != b[r].Primary || !slices.Equal(a[r].Chain, b[r].Chain) || !slices.Equal(a[r].Extra, b[r].Extra) {
			rows = append(rows, uint32(r))
		}
	}
	return rows
}

func TestFormerSizesEqualReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		var sizes []Size
		for range rapid.IntRange(1, 3).Draw(t, "sizes") {
			s := Size{1 << rapid.IntRange(0, 5).Draw(t, "rows"), drawTime(t, "until", 0)}
			if s.Rows != 8 && !slices.ContainsFunc(sizes, func(other Size) bool { return other.Rows == s.Rows }) {
				sizes = append(sizes, s)
			}
		}
		slices.SortFunc(sizes, func(a, b Size) int { return b.Until.Compare(a.Until)*64 + int(a.Rows) - int(b.Rows) })
		table := New(testSeed, 8, o, rapid.Permutation(sizes).Draw(t, "order")...)
		now := 0
		var eps []Endpoint
		before := table.all()
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			now += rapid.SampledFrom([]int{0, 1, 5, 600, 3600}).Draw(t, "later")
			eps = drawEndpoints(t, eps, now, true)
			changed := table.Set(at(now), eps)
			checkBrute(t, table, o, at(now), eps, sizes...)
			after := table.all()
			for _, row := range differing(before, after) {
				if !slices.Contains(changed, row) {
					t.Fatalf("row %d changed, and Set does not say so", row)
				}
			}
			before = after
		}
	})
}

// New flows go where a table without chains would send them.
func TestPrimaryIsTheWinnerAmongTheEligible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := drawEndpoints(t, nil, 0, true)
		table, plain := New(testSeed, 64, drawOptions(t)), rendezvous.New(testSeed, 64)
		table.Set(epoch, eps)
		var eligible []rendezvous.Endpoint
		for _, e := range eps {
			if !e.EligibleSince.IsZero() {
				eligible = append(eligible, rendezvous.Endpoint{ID: e.ID, Weight: e.Weight})
			}
		}
		plain.Set(eligible)
		for row := range table.Rows() {
			want, wantOK := plain.Row(row)
			if got, ok := table.Primary(row); got != want || ok != wantOK {
				t.Fatalf("row %d: primary %s, %t, want %s, %t", row, got, ok, want, wantOK)
			}
		}
	})
}

// What is older than the retention costs nothing, whatever there was before.
func TestStableIsUnchained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New(testSeed, 64, drawOptions(t), Size{Rows: 16, Until: epoch})
		eps := drawEndpoints(t, nil, 0, true)
		table.Set(epoch, eps)
		eps = slices.DeleteFunc(eps, func(e Endpoint) bool { return e.EligibleSince.IsZero() && e.LostAt.IsZero() })
		now := epoch.Add(defaults.Retention)
		table.Set(now, eps)
		weighty := slices.ContainsFunc(eps, func(e Endpoint) bool { return e.Weight > 0 && !e.EligibleSince.IsZero() })
		for row := range table.Rows() {
			if chain := table.AppendChain(nil, row); len(chain) != map[bool]int{true: 1}[weighty] || table.Chained(row) {
				t.Fatalf("row %d: chain %v of %+v", row, chain, eps)
			}
		}
		if next := table.NextChange(); !next.IsZero() {
			t.Fatalf("something changes at %s", next)
		}
		if len(table.tails) != 1+len(table.unused) {
			t.Fatalf("%d tails are lost", len(table.tails)-1-len(table.unused))
		}
	})
}

// Between Set and NextChange time changes nothing, and waking then is enough.
func TestNextChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		sizes := []Size{{Rows: 16, Until: drawTime(t, "until", 0)}}
		table := New(testSeed, 32, o, sizes...)
		eps := drawEndpoints(t, nil, 0, true)
		now := epoch
		for step := 0; ; step++ {
			table.Set(now, eps)
			next := table.NextChange()
			if next.IsZero() {
				checkBrute(t, table, o, now.Add(100*time.Hour), eps, sizes...)
				return
			}
			if !next.After(now) || step > 100 {
				t.Fatalf("step %d: at %s the next change is at %s", step, now, next)
			}
			checkBrute(t, table, o, next.Add(-1), eps, sizes...)
			now = next
		}
	})
}

func TestTheSameEndpointTwice(t *testing.T) {
	mapped := netip.AddrPortFrom(netip.AddrFrom16(address(1).Addr().As16()), 8080)
	one := []Endpoint{
		{ID: address(0), Weight: 1, BornAt: at(-50)},
		{ID: address(1), Weight: 3, BornAt: at(-100), EligibleSince: at(-90), Former: []Former{{5, at(-20)}}},
	}
	twice := []Endpoint{
		{ID: address(0), Weight: 1, BornAt: at(-50), LostAt: at(-7200)},
		{ID: mapped, Weight: 1, BornAt: at(-100), LostAt: at(-10)},
		{ID: address(1), Weight: 3, BornAt: at(-80), EligibleSince: at(-70), Former: []Former{{5, at(-20)}}},
		{ID: address(0), Weight: 1, BornAt: at(-20)},
		{ID: address(1), Weight: 2, BornAt: at(-60), EligibleSince: at(-90)},
	}
	table := New(testSeed, 64, defaults)
	table.Set(epoch, one)
	want := table.all()
	slices.Reverse(twice)
	for range 2 {
		if changed := table.Set(epoch, twice); changed != nil {
			t.Errorf("rows %v changed", changed)
		}
		if diff := cmp.Diff(want, table.all(), cmp.Comparer(sameID)); diff != "" {
			t.Errorf("(-once +twice):\n%s", diff)
		}
		slices.Reverse(twice)
	}
}

func TestReweighted(t *testing.T) {
	e := Endpoint{ID: address(0), Weight: 1}
	e = e.Reweighted(at(0), 2, time.Hour)
	e = e.Reweighted(at(10), 2, time.Hour)
	e = e.Reweighted(at(20), 3, time.Hour)
	old := e.Reweighted(at(3599), 3, time.Hour)
	e = e.Reweighted(at(3600), 1, time.Hour)
	if want := []Former{{2, at(20)}, {3, at(3600)}}; e.Weight != 1 || !slices.Equal(e.Former, want) {
		t.Errorf("weight %d, former %v, want 1 and %v", e.Weight, e.Former, want)
	}
	if want := []Former{{1, at(0)}, {2, at(20)}}; !slices.Equal(old.Former, want) {
		t.Errorf("the earlier one changed to %v", old.Former)
	}
}

func TestSteadySetAllocatesLittle(t *testing.T) {
	eps := stable(100, epoch)
	table := New(testSeed, 1<<14, defaults)
	table.Set(epoch, eps)
	if len(table.tails) != 1 {
		t.Errorf("%d rows have tails", len(table.tails)-1)
	}
	allocs := testing.AllocsPerRun(10, func() {
		eps[0].EligibleSince = eps[0].EligibleSince.Add(-time.Second)
		if changed := table.Set(epoch, eps); changed != nil {
			t.Errorf("rows %v changed", changed)
		}
	})
	if allocs > 1000 {
		t.Errorf("%.0f allocations for 100 endpoints", allocs)
	}
}

func TestLengths(t *testing.T) {
	table := New(testSeed, 64, defaults)
	if diff := cmp.Diff([]int{64}, table.Lengths()); diff != "" {
		t.Error(diff)
	}
	eps := stable(3, epoch)
	table.Set(epoch, eps)
	if diff := cmp.Diff([]int{0, 64}, table.Lengths()); diff != "" {
		t.Error(diff)
	}
	table.Set(epoch, append(eps, Endpoint{ID: address(3), Weight: 1, BornAt: epoch}))
	won := 0
	for row := range table.Rows() {
		if table.Chained(row) {
			won++
		}
	}
	if diff := cmp.Diff([]int{0, 64 - won, won}, table.Lengths()); diff != "" || won == 0 {
		t.Error(diff)
	}
}
