package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/drain"
)

// errExpired makes drain exit with exitExpired after it has printed.
var errExpired = errors.New("traffic did not cease")

func (c *cli) drainCmd() *cobra.Command {
	var request api.DrainRequest
	var timeout time.Duration
	var wait bool
	cmd := c.withOutput(&cobra.Command{
		Use:   "drain",
		Short: "Take this LB node out of the way of traffic, until undrain",
		Long: `Have this LB node drain, as before maintenance. The stages are

  announced          nothing is drained
  gracefulShutdown   every VIP stays announced as the last choice: with the community
                     GRACEFUL_SHUTDOWN (RFC 8326), local preference 0, and bgp.drain.med
                     and bgp.drain.prepend for routers that do not know it. Flows move to
                     other LB nodes; what still arrives is forwarded
  withdrawn          the routes are gone; what still arrives is forwarded all the same

The routes go when no packet for a VIP has arrived for a second, or after --timeout. The
agent and its sessions stay. The drain outlasts restarts of the agent, and with the usual
paths not a reboot: 'kubectl cordon' drains in the same stages and does. Flows by NAT are
known to this node alone and break where routers move them.

It is refused if no other LB node could take over: one that is not drained itself, whose
agent is ready and has been heard of lately. Among manifests that say nothing of other LB
nodes, none is known. --force drains nevertheless. One that has begun goes on, whatever
becomes of the others.

Exit codes:
  0  the drain has begun; with --wait, the routes are withdrawn and nothing arrived any more
  1  it has not begun, or with --wait was ended before the routes went
  2  the command line is wrong
  4  with --wait: the routes were withdrawn after the timeout, while traffic still arrived`,
		Example: `  penstock drain --reason "new RAM" --wait && poweroff
  penstock drain --timeout 5m          # long flows by NAT get the time to end
  penstock status                      # how far is it?
  penstock undrain`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && timeout <= 0 {
				return fmt.Errorf("--timeout %s: write a time above 0, as in 30s or 5m", timeout)
			}
			return noArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			request.Timeout = timeout.Seconds()
			s, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (api.DrainStatus, error) { return a.Drain(ctx, request) })
			if err != nil {
				return err
			}
			if s.Successor == "" {
				c.mention("no other LB node is known that could take over")
			}
			if wait {
				if s, err = c.waitDrained(cmd.Context(), s); err != nil {
					return err
				}
			}
			if err := c.printDrain(s); err != nil {
				return err
			}
			if wait && s.Expired {
				return errExpired
			}
			return nil
		},
	})
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for those who look at the node")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "time for traffic to cease (default: drainTimeout of the configuration)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the routes are withdrawn, and show how far it is on stderr")
	cmd.Flags().BoolVar(&request.Force, "force", false, "drain although no other LB node could take over")
	for _, name := range []string{"reason", "timeout"} {
		// The only error is that of a flag that does not exist.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (c *cli) undrainCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "undrain",
		Short: "End what drain began: announce the VIPs plainly again",
		Long: `End a drain by 'penstock drain', at whatever stage it is: the VIPs are announced plainly
in one step. A node that its Node object drains too, by a cordon or a taint, goes on to
drain until that is taken back. Without a drain, nothing is done.`,
		Example: `  penstock undrain
  penstock undrain -o json | jq -r .stage`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (api.DrainStatus, error) { return a.Undrain(ctx) })
			if err != nil {
				return err
			}
			if len(s.Asks) > 0 {
				c.mention("the node drains nevertheless, by %s", s.By())
			}
			return c.printDrain(s)
		},
	})
}

// waitDrained waits until the routes are gone, and shows how far it is.
func (c *cli) waitDrained(ctx context.Context, s api.DrainStatus) (api.DrainStatus, error) {
	tick := time.NewTicker(cmp.Or(c.progress, time.Second))
	defer tick.Stop()
	for s.Stage != drain.Withdrawn {
		fmt.Fprintf(c.stderr, "penstock: %s\n", drainState(s, c.now()))
		select {
		case <-ctx.Done():
			return s, errors.New("no longer waiting; the node goes on to drain, and 'penstock undrain' ends that")
		case <-tick.C:
		}
		status, err := ask(ctx, c, func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) })
		switch {
		case err != nil && ctx.Err() != nil:
			continue
		case err != nil:
			return s, err
		case status.Drain == nil:
			return s, errors.New("the drain was ended before the routes were withdrawn")
		}
		s = *status.Drain
	}
	return s, nil
}

func (c *cli) printDrain(s api.DrainStatus) error {
	return c.print(s, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, printable(drainState(s, c.now())))
		return err
	})
}

// drainState is how far a drain is, in a line.
func drainState(s api.DrainStatus, now time.Time) string {
	text := fmt.Sprintf("%s for %s", s.Stage, age(now, s.Since))
	if len(s.Asks) > 0 {
		text += ", by " + s.By()
	}
	switch {
	case s.Stage == drain.GracefulShutdown:
		text += fmt.Sprintf("; %.0f packets/s, the routes go in %s at the latest", s.PacketsPerSecond, span(s.Deadline.Sub(now)))
	case s.Expired:
		text += "; the routes went while traffic still arrived"
	}
	return text
}
