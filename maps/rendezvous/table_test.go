package rendezvous

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var testSeed = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func endpoint(i int) netip.AddrPort {
	if i%2 == 1 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)}), 8080)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080)
}

func equal(n int) (eps []Endpoint) {
	for i := range n {
		eps = append(eps, Endpoint{ID: endpoint(i), Weight: 1})
	}
	return eps
}

func build(rows uint32, eps []Endpoint) *Table {
	t := New(testSeed, rows)
	t.Set(eps)
	return t
}

func (t *Table) list() []netip.AddrPort {
	list := make([]netip.AddrPort, t.Rows())
	for r := range list {
		list[r], _ = t.Row(uint32(r))
	}
	return list
}

// drawEndpoints draws from few identities, so that sets overlap, and mostly equal
// weights, as Services have them.
func drawEndpoints(t *rapid.T, label string) (eps []Endpoint) {
	weight := rapid.SampledFrom([]uint32{0, 1, 1, 1, 1, 2, 3, 100, math.MaxUint32})
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, 11), 0, 12).Draw(t, label) {
		eps = append(eps, Endpoint{ID: endpoint(i), Weight: weight.Draw(t, "weight")})
	}
	return eps
}

func TestEveryRowHasAnOwnerIfAnyEndpointHasWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := drawEndpoints(t, "endpoints")
		table := build(64, eps)
		weights := weightOf(eps)
		for r := range table.Rows() {
			id, ok := table.Row(r)
			if ok != (len(weights) > 0) {
				t.Fatalf("row %d has an owner: %t, with weights %v", r, ok, weights)
			}
			if ok && weights[id] == 0 {
				t.Fatalf("row %d belongs to %s, which has no weight", r, id)
			}
		}
	})
}

func weightOf(eps []Endpoint) map[netip.AddrPort]uint32 {
	weights := map[netip.AddrPort]uint32{}
	for _, e := range eps {
		if e.Weight > 0 {
			weights[e.ID] = max(weights[e.ID], e.Weight)
		}
	}
	return weights
}

// Whatever the table held before, and in whatever order the endpoints are listed,
// it becomes what a new one would be, and tells exactly what changed.
func TestSetEqualsRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New(testSeed, 64)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			eps := drawEndpoints(t, "endpoints")
			before := table.list()
			changed := table.Set(rapid.Permutation(eps).Draw(t, "order"))
			after := table.list()
			if diff := cmp.Diff(build(64, eps).list(), after, cmp.Comparer(equalIDs)); diff != "" {
				t.Fatalf("endpoints %v (-rebuilt +incremental):\n%s", eps, diff)
			}
			if want := differing(before, after); !slices.Equal(changed, want) {
				t.Fatalf("Set reports rows %v, changed are %v", changed, want)
			}
		}
	})
}

func equalIDs(a, b netip.AddrPort) bool { return a == b }

func differing(a, b []netip.AddrPort) (rows []uint32) {
	for r := range a {
		if a[r] != b[r] {
			rows = append(rows, uint32(r))
		}
	}
	return rows
}

// A row moves only away from an endpoint that left or lost weight, or to one that
// came or gained weight.
func TestMinimalDisruption(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawEndpoints(t, "before"), drawEndpoints(t, "after")
		table := build(64, before)
		had, has := weightOf(before), weightOf(after)
		old := table.list()
		for _, r := range table.Set(after) {
			from := old[r]
			to, _ := table.Row(r)
			if has[from] >= had[from] && has[to] <= had[to] {
				t.Fatalf("row %d moved from %s (weight %d, then %d) to %s (weight %d, then %d)",
					r, from, had[from], has[from], to, had[to], has[to])
			}
		}
	})
}

// An endpoint that leaves gives its rows to the next in rank, and no other row
// moves: also in the sizes that are used.
func TestLeavingMovesOnlyOwnRows(t *testing.T) {
	for _, n := range []int{3, 10, 30, 100} {
		eps := equal(n)
		table := build(1<<16, eps)
		var held []uint32
		var next []netip.AddrPort
		for r := range table.Rows() {
			if id, _ := table.Row(r); id == eps[0].ID {
				held = append(held, r)
				next = append(next, table.Rank(r)[1].ID)
			}
		}
		if changed := table.Set(eps[1:]); !slices.Equal(changed, held) {
			t.Errorf("n=%d: %d rows moved, the endpoint held %d", n, len(changed), len(held))
		}
		for i, r := range held {
			if got, _ := table.Row(r); got != next[i] {
				t.Fatalf("n=%d: row %d went to %s, next in rank was %s", n, r, got, next[i])
			}
		}
		if changed := table.Set(eps); !slices.Equal(changed, held) {
			t.Errorf("n=%d: coming back moved %d rows, leaving %d", n, len(changed), len(held))
		}
	}
}

func TestRankStartsWithOwnerAndIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := drawEndpoints(t, "endpoints")
		table := build(16, eps)
		for r := range table.Rows() {
			rank := table.Rank(r)
			if len(rank) != len(weightOf(eps)) {
				t.Fatalf("row %d ranks %d endpoints of %d", r, len(rank), len(weightOf(eps)))
			}
			for i := range rank {
				owner, _ := build(16, rank[i:]).Row(r)
				if owner != rank[i].ID {
					t.Fatalf("row %d: %s owns it without the first %d, rank says %s", r, owner, i, rank[i].ID)
				}
			}
		}
	})
}

// With 2^16 rows and equal weights, averaged over some sets of endpoints, as
// relative deviations from the mean share. In theory the standard deviation is
// sqrt((n-1)/2^16).
func TestBalance(t *testing.T) {
	tests := []struct {
		n          int
		std, worst float64
		sets       int
	}{
		{n: 3, std: 0.007, worst: 0.012, sets: 16},
		{n: 10, std: 0.013, worst: 0.026, sets: 16},
		{n: 30, std: 0.024, worst: 0.055, sets: 8},
		{n: 100, std: 0.041, worst: 0.125, sets: 4},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.n), func(t *testing.T) {
			var variance, worst float64
			for set := range tt.sets {
				var eps []Endpoint
				for i := range tt.n {
					eps = append(eps, Endpoint{ID: endpoint(set*tt.n + i), Weight: 1})
				}
				std, w := imbalance(build(1<<16, eps), eps)
				variance += std * std / float64(tt.sets)
				worst += w / float64(tt.sets)
			}
			t.Logf("standard deviation %.2f %%, worst %.2f %%", 100*math.Sqrt(variance), 100*worst)
			if std := math.Sqrt(variance); std > tt.std || worst > tt.worst {
				t.Errorf("standard deviation %.4f, worst %.4f; want at most %.4f and %.4f", std, worst, tt.std, tt.worst)
			}
		})
	}
}

// imbalance is the relative deviation of the endpoints' rows from what their
// weights promise.
func imbalance(table *Table, eps []Endpoint) (std, worst float64) {
	rows := map[netip.AddrPort]int{}
	for _, id := range table.list() {
		rows[id]++
	}
	var total float64
	for _, e := range eps {
		total += float64(e.Weight)
	}
	for _, e := range eps {
		want := float64(table.Rows()) * float64(e.Weight) / total
		d := math.Abs(float64(rows[e.ID])-want) / want
		std += d * d / float64(len(eps))
		worst = max(worst, d)
	}
	return math.Sqrt(std), worst
}

func TestBalanceByWeight(t *testing.T) {
	for _, weights := range [][]uint32{{1, 2}, {1, 2, 3, 4}, {100, 100, 50}, {1, 10, 100}, {7, 1 << 31, 1 << 31}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			var eps []Endpoint
			var total float64
			for i, w := range weights {
				eps = append(eps, Endpoint{ID: endpoint(i), Weight: w})
				total += float64(w)
			}
			table := build(MaxRows, eps)
			rows := map[netip.AddrPort]int{}
			for _, id := range table.list() {
				rows[id]++
			}
			for _, e := range eps {
				share := float64(e.Weight) / total
				want := share * MaxRows
				// Five standard deviations of a binomial distribution, and the
				// logarithm's error.
				allowed := 5*math.Sqrt(want*(1-share)) + want*0x1p-13
				if d := math.Abs(float64(rows[e.ID]) - want); d > allowed {
					t.Errorf("weight %d owns %d rows, want %.0f ± %.0f", e.Weight, rows[e.ID], want, allowed)
				}
			}
		})
	}
}

// Where every u ties, the identity decides.
func TestTiesGoToTheSmallerIdentity(t *testing.T) {
	table := build(1, equal(4))
	for i := range table.ranked {
		table.ranked[i].identity = 42
	}
	slices.Reverse(table.ranked)
	want := []netip.AddrPort{endpoint(0), endpoint(2), endpoint(1), endpoint(3)}
	for i, e := range table.Rank(0) {
		if e.ID != want[i] {
			t.Errorf("rank %d: %s, want %s", i, e.ID, want[i])
		}
	}
	if got := table.slots[table.first(0)].ID; got != want[0] {
		t.Errorf("first: %s, want %s", got, want[0])
	}
}

func TestMappedAddressesCountAsIPv4(t *testing.T) {
	plain := netip.MustParseAddrPort("10.0.0.1:80")
	mapped := netip.MustParseAddrPort("[::ffff:10.0.0.1]:80")
	table := build(1, []Endpoint{{ID: mapped, Weight: 1}})
	if got, _ := table.Row(0); got != plain {
		t.Errorf("owner %s, want %s", got, plain)
	}
	if changed := table.Set([]Endpoint{{ID: plain, Weight: 1}}); changed != nil {
		t.Errorf("rows %v changed between two spellings of one address", changed)
	}
}

func TestSlotsAreReused(t *testing.T) {
	table := New(testSeed, 1)
	for i := range 100 {
		table.Set([]Endpoint{{ID: endpoint(i), Weight: 1}, {ID: endpoint(i + 1), Weight: 1}})
	}
	if len(table.slots) > 3 {
		t.Errorf("%d slots after 100 replacements of one endpoint in two", len(table.slots))
	}
}

func TestRowsFor(t *testing.T) {
	tests := []struct {
		endpoints int
		min, want uint32
	}{
		{0, 0, 1}, {0, 1, 1}, {0, 1 << 10, 1 << 10}, {0, 1000, 1 << 10},
		{1, 1, 128}, {2, 1, 256}, {3, 1, 512}, {8, 1, 1024}, {9, 1, 2048},
		{8, 1 << 16, 1 << 16}, {512, 1 << 16, 1 << 16}, {513, 1 << 16, 1 << 17},
		{8192, 1, 1 << 20}, {8193, 1, 1 << 20}, {math.MaxInt, 1, 1 << 20},
		{1, math.MaxUint32, 1 << 20}, {-1, 16, 16},
	}
	for _, tt := range tests {
		if got := RowsFor(tt.endpoints, tt.min); got != tt.want {
			t.Errorf("RowsFor(%d, %d) = %d, want %d", tt.endpoints, tt.min, got, tt.want)
		}
	}
}
