package bgp_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/penstock-lb/penstock/bgp"
)

// row is a feature that is tried with every router and family. What it asserts is the router's: its
// table, its kernel's routes, what it says of the session.
type row struct {
	feature string
	run     func(g *rig)
	// not says why a kind of router has no such thing. It is in the table in the place of a result.
	not map[string]string
}

// TestMatrix tries each feature with real routers. It ends with a table of all results.
func TestMatrix(t *testing.T) {
	t.Parallel()
	rows := slices.Concat(sessionRows, authRows, passiveRows, attributeRows, tableRows, endRows, restartRows, cutRows, failoverRows)
	results := &results{cells: map[[3]string]string{}}
	t.Cleanup(func() { t.Logf("feature × router × family\n%s", results.table(rows)) })
	for _, row := range rows {
		t.Run(row.feature, func(t *testing.T) {
			t.Parallel()
			for _, kind := range kinds {
				if why, ok := row.not[kind]; ok {
					results.set(row.feature, kind, "", "not of this router: "+why)
					continue
				}
				for _, family := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
					t.Run(kind+"/"+string(family), func(t *testing.T) {
						t.Parallel()
						g := &rig{t: t, kind: kind, family: family}
						results.set(row.feature, kind, family, "failed")
						row.run(g)
						if !t.Failed() {
							results.set(row.feature, kind, family, strings.Join(append([]string{"ok"}, g.seen...), ", "))
						}
					})
				}
			}
		})
	}
}

// results are the cells of the table, by feature, router and family.
type results struct {
	mu    sync.Mutex
	cells map[[3]string]string
}

func (r *results) set(feature, kind string, family bgp.Family, cell string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cells[[3]string{feature, kind, string(family)}] = cell
}

// table leaves out what -run did.
func (r *results) table(rows []row) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FEATURE\tROUTER\tIPV4\tIPV6")
	for _, row := range rows {
		for _, kind := range kinds {
			if why, ok := r.cells[[3]string{row.feature, kind, ""}]; ok {
				fmt.Fprintf(w, "%s\t%s\t%s\t\n", row.feature, kind, why)
				continue
			}
			four, tried4 := r.cells[[3]string{row.feature, kind, string(bgp.IPv4)}]
			six, tried6 := r.cells[[3]string{row.feature, kind, string(bgp.IPv6)}]
			if tried4 || tried6 {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", row.feature, kind, four, six)
			}
		}
	}
	w.Flush()
	return b.String()
}
