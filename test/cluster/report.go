package cluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// row is a line of the table that stands at the end.
type row struct {
	what   string
	took   time.Duration
	detail string
}

// row notes what a step took.
func (s *Site) row(what string, since time.Time, format string, args ...any) {
	r := row{what, time.Since(since), fmt.Sprintf(format, args...)}
	s.rows = append(s.rows, r)
	s.tb.Logf("%s after %s %s", r.what, r.took.Round(10*time.Millisecond), r.detail)
}

// table prints all rows.
func (s *Site) table() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "STEP\tTOOK\tDETAIL\n")
	for _, r := range s.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.took.Round(10*time.Millisecond), r.detail)
	}
	w.Flush()
	s.tb.Logf("after %s:\n%s", time.Since(s.began).Round(time.Second), b.String())
}

// play has a scene report to its own test.
func (s *Site) play(t *testing.T, scene func(*Site)) {
	s.tb = t
	defer func() { s.tb = s.whole }()
	scene(s)
}

// clientOf is the client's address towards a VIP.
func (s *Site) clientOf(vip netip.Addr) netip.Addr {
	if vip.Is4() {
		return netip.MustParseAddr(client4)
	}
	return netip.MustParseAddr(client6)
}
