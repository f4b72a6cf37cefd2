package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
)

func (c *cli) poolsCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "pools",
		Short: "Show how full the pools of addresses are",
		Long: `Show how many addresses of each pool Services hold, by family. One agent of the
cluster allocates, the leader, and it alone knows: the others say which node it is
on. A total that says "many" is of a pool too large to count. Addresses that a
Service holds and that no pool has any more are not in here; the condition
penstock.dev/Allocated on that Service says PoolShrunk.`,
		Example: `  penstock pools
  penstock pools -o json | jq -r '.leader'
  penstock pools -o json | jq -e '.self and all(.pools[]; .allocated < .total)'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pools, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (api.PoolsStatus, error) { return a.Pools(ctx) })
			if err != nil {
				return err
			}
			if pools.Error != "" && !pools.Self && c.output != "json" {
				if pools.Leader != "" {
					pools.Error += "; the agent on " + printable(pools.Leader) + " leads and knows: run this there"
				}
				return errors.New(pools.Error)
			}
			return c.print(pools, func(w io.Writer) error { return printPools(w, pools) })
		},
	})
}

// countless is the Total of a pool that has no smaller one.
const countless = ^uint64(0)

func printPools(w io.Writer, s api.PoolsStatus) error {
	switch {
	case s.Self:
	case s.Leader == "":
		_, err := fmt.Fprintln(w, "No agent leads at the moment, so that no address is allocated. Those that Services hold stay in force.")
		return err
	default:
		_, err := fmt.Fprintf(w, "The agent on %s leads and knows; run this there.\n", printable(s.Leader))
		return err
	}
	t := newTable(w, "POOL", "FAMILY", "ALLOCATED", "TOTAL", "FREE", "USED")
	for _, u := range s.Pools {
		total, free, used := number(u.Total), number(u.Total-min(u.Allocated, u.Total)), ""
		if u.Total == countless {
			total, free = "many", "many"
		} else if u.Total > 0 {
			used = fmt.Sprintf("%.1f%%", 100*float64(u.Allocated)/float64(u.Total))
		}
		t.row(u.Pool, u.Family, number(u.Allocated), total, free, used)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if s.Error != "" {
		fmt.Fprintf(w, "\nWhat was decided cannot be written: %s\n", printable(s.Error))
	}
	return nil
}
