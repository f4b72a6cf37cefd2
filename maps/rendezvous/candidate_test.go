package rendezvous

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Candidates rank as the table does.
func TestCandidatesRankAsTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := drawEndpoints(t, "endpoints")
		table := build(16, eps)
		var candidates []Candidate
		for id, weight := range weightOf(eps) {
			mapped := netip.AddrPortFrom(netip.AddrFrom16(id.Addr().As16()), id.Port())
			candidates = append(candidates, NewCandidate(testSeed, Endpoint{ID: mapped, Weight: weight}))
		}
		for row := range uint32(16) {
			rank := []Endpoint{}
			for _, c := range sortCandidates(candidates, row) {
				rank = append(rank, Endpoint{ID: c.ID, Weight: c.Weight})
			}
			if diff := cmp.Diff(table.Rank(row), rank, cmp.Comparer(equalEndpoints)); diff != "" {
				t.Fatalf("row %d (-table +candidates):\n%s", row, diff)
			}
		}
	})
}

func sortCandidates(candidates []Candidate, row uint32) []Candidate {
	sorted := slices.Clone(candidates)
	slices.SortFunc(sorted, func(a, b Candidate) int {
		switch {
		case Before(&a, a.Draw(row), &b, b.Draw(row)):
			return -1
		case Before(&b, b.Draw(row), &a, a.Draw(row)):
			return 1
		}
		return 0
	})
	return sorted
}

// The greater weight of one endpoint ranks first in every row.
func TestGreaterWeightOfOneEndpointRanksFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		weight := 1 + r.Uint32N(100)
		light := NewCandidate(testSeed, Endpoint{ID: endpoint(1), Weight: weight})
		heavy := NewCandidate(testSeed, Endpoint{ID: endpoint(1), Weight: weight + 1})
		u := light.Draw(r.Uint32())
		if !Before(&heavy, u, &light, u) || Before(&light, u, &heavy, u) {
			t.Fatalf("draw %#x: weight %d ranks before %d", u, weight, weight+1)
		}
	}
}
