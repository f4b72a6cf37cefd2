package churn

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/lab"
)

var (
	flows     = flag.Int("churn.flows", 5000, "TCP flows of TestTable; a tenth as many UDP flows come on top")
	modes     = flag.String("churn.modes", "", "comma-separated names of modes for TestTable; empty: all")
	scenarios = flag.String("churn.scenarios", "", "comma-separated beginnings of scenarios' names for TestTable; empty: all")
	table     = flag.Bool("churn.table", false, "run TestTable")
	seed      = flag.Uint64("churn.seed", 1, "of what scenarios choose at random")
	underlay6 = flag.Bool("churn.underlay6", false, "tunnel over IPv6")
)

func TestMain(m *testing.M) {
	Role()
	flag.Parse()
	os.Exit(lab.BuildOnce(m.Run)) // the binary once for all tests
}

// TestTable is `make churn`: every scenario in every mode, 0 broken by DSR.
func TestTable(t *testing.T) {
	if !*table {
		t.Skip("only with -churn.table, as it takes an hour: make churn")
	}
	var results []Result
	opts := Options{TCP: *flows, UDP: *flows / 10, Interval: time.Second, Seed: *seed, Underlay6: *underlay6}
	for _, scenario := range Scenarios {
		if !chosen(*scenarios, scenario.Name) {
			continue
		}
		for _, mode := range Modes {
			if scenario.Penstock && mode.nft || !chosen(*modes, mode.Name) {
				continue
			}
			t.Run(scenario.Name+"/"+mode.Name, func(t *testing.T) {
				r := Run(t, opts, mode, scenario)
				results = append(results, r)
				fmt.Println(describe(r))
				if mode.Name == "dsr" {
					expectNone(t, r)
				}
			})
		}
	}
	fmt.Println()
	if err := Print(os.Stdout, results); err != nil {
		t.Fatal(err)
	}
}

func chosen(list, name string) bool {
	return list == "" || slices.ContainsFunc(strings.Split(list, ","), func(s string) bool { return strings.HasPrefix(name, s) })
}

func describe(r Result) string {
	return fmt.Sprintf("%s by %s: %d flows, %d opened, %d refused, %d closed, %d with their pod, %d BROKEN (%s), %d wrong client, %d hops, slowest %s, %d over 1 s, took %s; %v",
		r.Scenario, r.Mode, r.Held, r.Opened, r.Refused, r.Closed, r.Gone, len(r.Lived), r.Causes(), r.WrongClient, r.Hops,
		r.Stall.Round(time.Millisecond), r.Stalls, r.Took.Round(time.Second), r.Drops)
}

// story is what was done, among it what was slow and what broke, in the order of time.
func story(r Result) string {
	all := slices.Clone(r.Log)
	for _, x := range r.Slow {
		all = append(all, Event{x.From, fmt.Sprintf("  slow: %s flow %d of %s on %s, %s", x.Proto, x.Flow, x.Client, x.Pod, x.Took)})
	}
	for _, b := range r.Lived[:min(20, len(r.Lived))] {
		all = append(all, Event{b.At, fmt.Sprintf("  BROKEN: %s flow %d of %s on %s after %s: %s %s", b.Proto, b.Flow, b.Client, b.Pod, b.Age, b.Why, b.Moved)})
	}
	slices.SortFunc(all, func(a, b Event) int { return a.At.Compare(b.At) })
	var out strings.Builder
	for _, e := range all {
		fmt.Fprintf(&out, "\n%s %s", e.At.Format("05.000"), e.What)
	}
	return out.String()
}

// expectNone fails the test if a flow broke whose pod lived, or was not what it seemed.
func expectNone(t *testing.T, r Result) {
	t.Helper()
	if len(r.Lived) > 0 || r.WrongClient > 0 {
		t.Errorf("%d flows broke though their pod lived (%s), %d were another client's to the pod:%s", len(r.Lived), r.Causes(), r.WrongClient, story(r))
	}
}
