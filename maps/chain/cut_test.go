package chain

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestCutKeepsWhoHadTime lets 3 pods become 30, one each half second, with the API's whole
// seconds. The slack takes nearly all of them into the chains, which are cut; every endpoint that
// was a row's primary is still found.
func TestCutKeepsWhoHadTime(t *testing.T) {
	const rows = 1 << 14
	opts := Options{Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 15}
	table := New(testSeed, rows, opts)
	start := time.Unix(1_800_000_000, 0)
	owners := make([][]netip.AddrPort, rows)
	var eps []Endpoint
	for n := range 30 {
		at := start
		if n >= 3 {
			at = start.Add(5*time.Second + time.Duration(n)*570*time.Millisecond)
		}
		second := at.Truncate(time.Second)
		id := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(n % 3), byte(n)}), 8080)
		eps = append(eps, Endpoint{ID: id, Weight: 1, BornAt: second, EligibleSince: second})
		if n < 2 {
			continue
		}
		table.Set(at, eps)
		for row := range uint32(rows) {
			if p, _ := table.Primary(row); !slices.Contains(owners[row], p) {
				owners[row] = append(owners[row], p)
			}
		}
	}
	cut, lost := 0, 0
	for row := range uint32(rows) {
		reach := table.AppendChain(nil, row)
		if len(reach) == opts.Longest {
			cut++
		}
		for _, owner := range owners[row] {
			if !slices.Contains(reach, owner) {
				lost++
			}
		}
	}
	if cut == 0 {
		t.Error("no chain was cut, so this tests nothing")
	}
	if lost > 0 {
		t.Errorf("%d former primaries are in none of the chains, of which %d may be cut", lost, cut)
	}
}
