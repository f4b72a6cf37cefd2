package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/maps"
)

func (c *cli) verdictsCmd() *cobra.Command {
	var all, watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "verdicts",
		Short: "Show what became of packets, by reason",
		Long: `Show the data path's counters: each packet moves exactly one of them. The name says
why, the first word of it what became of the packet: pass (to the kernel,
untouched), forward and reply (translated), encap (through a tunnel), icmp, reject, drop or
abort; of an ingress node also deliver (to the pod), return (a pod's reply), bounce (back to
the LB node, as another owner may know it) and probe. Counters that never moved
are left out unless --all is given, which says what each means as well. With --watch the counters that moved are shown
at each interval, with their rates, until the command is interrupted.`,
		Example: `  penstock verdicts
  penstock verdicts --all                     # what does each of them mean?
  penstock verdicts --watch --interval 5s
  penstock verdicts -o json | jq 'map(select(.action == "drop"))'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval <= 0 {
				return fmt.Errorf("--interval %s: give more than 0", interval)
			}
			if watch {
				return c.watchVerdicts(cmd.Context(), all, interval)
			}
			counts, err := c.verdicts(cmd.Context())
			if err != nil {
				return err
			}
			shown, err := explain(moved(nil, counts, all))
			if err != nil {
				return err
			}
			return c.print(shown, func(w io.Writer) error { return printVerdicts(w, shown, all) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show counters that did not move too")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show the rates, again and again")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks with --watch")
	return c.withOutput(cmd)
}

func (c *cli) verdicts(ctx context.Context) ([]maps.VerdictCount, error) {
	return askOrRead(ctx, c,
		func(ctx context.Context, a *api.Client) ([]maps.VerdictCount, error) { return a.Verdicts(ctx) },
		func(v view) ([]maps.VerdictCount, error) { return v.Verdicts() })
}

// rate is a counter and how fast it moved since the last look.
type rate struct {
	maps.VerdictCount
	PacketsPerSecond float64 `json:"packetsPerSecond"`
	BytesPerSecond   float64 `json:"bytesPerSecond"`
}

// moved returns the counters that differ from before, or all. Without before
// they are compared with 0.
func moved(before, now []maps.VerdictCount, all bool) []maps.VerdictCount {
	out := []maps.VerdictCount{}
	for i, n := range now {
		if all || n.Packets != packetsAt(before, i) {
			out = append(out, n)
		}
	}
	return out
}

func packetsAt(counts []maps.VerdictCount, i int) uint64 {
	if i >= len(counts) {
		return 0
	}
	return counts[i].Packets
}

func printVerdicts(w io.Writer, counts []verdict, meaning bool) error {
	header := []string{"VERDICT", "ACTION", "PACKETS", "BYTES", "MEANING"}
	if !meaning {
		header = header[:4]
	}
	t := newTable(w, header...)
	for _, v := range counts {
		t.row([]string{v.Name, v.Action, number(v.Packets), size(v.Bytes), v.Meaning}[:len(header)]...)
	}
	return t.flush()
}

// watchVerdicts prints rates until ctx ends. It outlives the agent, whose end is
// mentioned once by the reader.
func (c *cli) watchVerdicts(ctx context.Context, all bool, interval time.Duration) error {
	before, err := c.verdicts(ctx)
	if err != nil {
		return err
	}
	at := c.now()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := c.verdicts(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		} else if err != nil {
			return err
		}
		t := c.now()
		if err := c.printRates(rates(before, now, all, t.Sub(at)), t); err != nil {
			return err
		}
		before, at = now, t
	}
}

func rates(before, now []maps.VerdictCount, all bool, took time.Duration) []rate {
	out := []rate{}
	for i, n := range now {
		var was maps.VerdictCount
		if i < len(before) {
			was = before[i]
		}
		// Fewer than before means that the tables were made anew in between.
		if n.Packets < was.Packets || n.Bytes < was.Bytes {
			was = maps.VerdictCount{}
		}
		if !all && n.Packets == was.Packets {
			continue
		}
		out = append(out, rate{n, float64(n.Packets-was.Packets) / took.Seconds(), float64(n.Bytes-was.Bytes) / took.Seconds()})
	}
	return out
}

// printRates writes one line of JSON, or one table with the time above it.
func (c *cli) printRates(rates []rate, at time.Time) error {
	if c.output == "json" {
		return json.NewEncoder(c.stdout).Encode(rates)
	}
	fmt.Fprintf(c.stdout, "%s\n", at.Format(time.TimeOnly))
	t := newTable(c.stdout, "VERDICT", "ACTION", "PACKETS/S", "BYTES/S", "PACKETS")
	for _, r := range rates {
		t.row(r.Name, r.Action, fmt.Sprintf("%.0f", r.PacketsPerSecond), size(uint64(r.BytesPerSecond)), number(r.Packets))
	}
	err := t.flush()
	fmt.Fprintln(c.stdout)
	return err
}
