package churn

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Result is what a scenario did to the flows.
type Result struct {
	Scenario, Mode string
	Held           int // at the beginning
	Opened         int // meanwhile, in place of those that ended
	Refused        int // attempts to open one
	Closed         int // on their pod's wish
	Gone           int // with their pod, when its grace was over
	Lived          []Break
	Moved          int // of Lived: answered by another pod
	WrongClient    int
	Hops           uint64 // packets that an ingress node bounced and an LB node sent on
	Stall          time.Duration
	Stalls         int // exchanges of more than a second
	Slow           []Slow
	Drops          []string
	Log            []Event // what the scenario did
	Took           time.Duration
}

// Run builds a site, holds flows, and counts what the scenario does to them.
func Run(tb fixture.TB, opts Options, mode Mode, scenario Scenario) Result {
	tb.Helper()
	s := NewSite(tb, opts, mode, scenario.LBs, scenario.Pods)
	s.Open()
	hops := s.Verdicts(hopVerdicts...)
	start := time.Now()
	scenario.act(s)
	s.Settle(2*patience + 10*time.Second)
	r := s.Report()
	out := Result{
		Scenario: scenario.Name, Mode: mode.Name, Held: opts.TCP + opts.UDP, Opened: r.Opened, Refused: r.OpenFailed,
		Closed: r.Closed, WrongClient: r.WrongClient, Hops: s.Verdicts(hopVerdicts...) - hops,
		Stall: r.Stall, Stalls: r.Stalls, Slow: r.Slow, Log: s.log, Drops: s.Drops(), Took: time.Since(start),
	}
	for _, b := range r.Breaks {
		switch {
		case s.diedWith(b):
			out.Gone++
		default:
			out.Lived = append(out.Lived, b)
			if b.Moved != "" {
				out.Moved++
			}
		}
	}
	return out
}

var hopVerdicts = []string{"encap_next", "encap_next_kernel"}

// diedWith tells whether the flow's pod was killed before it broke. A flow that nobody
// had answered yet may have been any pod's.
func (s *Site) diedWith(b Break) bool {
	const doubt = 100 * time.Millisecond // the signal comes before the note of its time
	if b.Pod != "" {
		at, gone := s.gone[b.Pod]
		return gone && b.At.After(at.Add(-doubt))
	}
	for _, at := range s.gone {
		if b.Age < time.Second && b.At.Sub(at).Abs() < time.Second {
			return true
		}
	}
	return false
}

// Causes counts breaks by what was seen.
func (r Result) Causes() string {
	count := map[string]int{}
	for _, b := range r.Lived {
		count[b.Proto+" "+b.Why]++
	}
	var out []string
	for _, why := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("%d× %s", count[why], why))
	}
	return strings.Join(out, ", ")
}

// Print writes results as a table.
func Print(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\tby\tflows\topened\trefused\tclosed\tpod gone\tBROKEN\tmoved\twrong client\textra hops\tslowest\tover 1 s\t")
	for _, r := range results {
		wrong := "-"
		if r.WrongClient > 0 {
			wrong = fmt.Sprint(r.WrongClient)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%.2f s\t%d\t\n", r.Scenario, r.Mode, r.Held, r.Opened, r.Refused,
			r.Closed, r.Gone, len(r.Lived), r.Moved, wrong, r.Hops, r.Stall.Seconds(), r.Stalls)
	}
	return t.Flush()
}
