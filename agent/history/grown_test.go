package history

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

// An LB node that joins after a table has grown: what its pods tell of its former sizes.
// It is in the file then, as what was seen.
func TestSizesBeforeTheFirstLook(t *testing.T) {
	tests := []struct {
		name string
		old  int       // endpoints that are older than the retention
		born []float64 // others, in seconds
		want []chain.Size
	}{
		{name: "nobody came", old: 5},
		{name: "as large as before", old: 3, born: []float64{-100}},
		{name: "grown", old: 4, born: []float64{-100}, want: []chain.Size{{Rows: 512, Until: at(-40)}}},
		{name: "grown a moment ago", old: 4, born: []float64{-3}, want: []chain.Size{{Rows: 512, Until: at(0)}}},
		{name: "twice", old: 2, born: []float64{-100, -300, -200}, want: []chain.Size{{Rows: 256, Until: at(-240)}, {Rows: 512, Until: at(-40)}}},
		{name: "everybody is new, and who was there before is not known", born: []float64{-300, -200, -100}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []maps.Backend
			for i := range tt.old + len(tt.born) {
				b := backend(i)
				if b.BornAt = at(-5000); i >= tt.old {
					b.BornAt = at(tt.born[i-tt.old])
				}
				all = append(all, b)
			}
			file := t.TempDir() + "/history.json"
			h := Open(file, options, discard)
			h.Observe(at(0), web(all...))
			mustClose(t, h)
			h = Open(file, options, discard)
			if diff := cmp.Diff(tt.want, h.Observe(at(1), web(all...))[0].Sizes, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
