package rendezvous

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The vectors come from a second implementation, written from doc.go in another
// language.
func TestGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Seed      string
		Endpoints []struct {
			ID     netip.AddrPort
			Weight uint32
		}
		Ranks []struct {
			Row  uint32
			Rank []int // indices in Endpoints
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 12 {
		t.Errorf("%d vectors, want 12", len(vectors))
	}
	for _, v := range vectors {
		var seed [16]byte
		if _, err := hex.Decode(seed[:], []byte(v.Seed)); err != nil {
			t.Fatal(err)
		}
		var eps []Endpoint
		for _, e := range v.Endpoints {
			eps = append(eps, Endpoint{ID: e.ID, Weight: e.Weight})
		}
		table := New(seed, 1<<16)
		table.Set(eps)
		for _, rank := range v.Ranks {
			var want []Endpoint
			for _, i := range rank.Rank {
				want = append(want, eps[i])
			}
			if diff := cmp.Diff(want, table.Rank(rank.Row), cmp.Comparer(equalEndpoints)); diff != "" {
				t.Errorf("seed %s row %d (-want +got):\n%s", v.Seed, rank.Row, diff)
			}
			if rank.Row >= table.Rows() {
				continue
			}
			if got, _ := table.Row(rank.Row); got != want[0].ID {
				t.Errorf("seed %s row %d: owner %s, want %s", v.Seed, rank.Row, got, want[0].ID)
			}
		}
	}
}

func equalEndpoints(a, b Endpoint) bool { return a == b }
