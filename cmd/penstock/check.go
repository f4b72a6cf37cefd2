package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/kube/rollout"
)

// checkPoll is the interval in which the API server is asked.
const checkPoll = time.Second

func (c *cli) checkCmd() *cobra.Command {
	var (
		kubeconfig, namespace string
		timeout               time.Duration
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the agents of a cluster: is each one there, ready, and known to the others?",
		Long: `Check the agents that a cluster's DaemonSets want: that each Node has one of the newest
version, that it is ready, which of an LB node means a session with a router, and that it
has published itself on its Node. Waits until all is so, at most for --timeout; what is
missing then is said, with the exit code 1. It asks the API server, from anywhere.`,
		Example: `  penstock check --kubeconfig ~/.kube/config
  helm test penstock -n penstock-system   # runs it in a pod`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := rollout.Connect(kubeconfig)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return c.check(ctx, func(ctx context.Context) (rollout.Report, error) {
				return rollout.Read(ctx, client, namespace)
			})
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file that says where the API server is (default: kubectl's, or in a pod the cluster's)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "penstock-system", "namespace of the agents")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait at most")
	return c.withOutput(cmd)
}

// check reads until there are no problems or ctx ends, and prints what it read last.
func (c *cli) check(ctx context.Context, read func(context.Context) (rollout.Report, error)) error {
	poll := time.NewTicker(checkPoll)
	defer poll.Stop()
	r, err := read(ctx)
	for ctx.Err() == nil && (err != nil || len(r.Problems) > 0) {
		select {
		case <-ctx.Done():
			continue
		case <-poll.C:
		}
		// One that the end of ctx cuts short says less than the one before.
		if next, nextErr := read(ctx); ctx.Err() == nil {
			r, err = next, nextErr
		}
	}
	if err != nil {
		return err
	}
	if err := c.print(r, func(w io.Writer) error { return agentTable(w, r.Agents) }); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return errors.New(strings.Join(r.Problems, "\npenstock: "))
	}
	c.mention("all %d agents are ready", len(r.Agents))
	return nil
}

func agentTable(w io.Writer, agents []rollout.Agent) error {
	t := newTable(w, "ROLE", "NODE", "POD", "READY", "WHY NOT")
	for _, a := range agents {
		ready := "yes"
		if !a.Ready {
			ready = "no"
		}
		t.row(a.Role, a.Node, a.Pod, ready, a.Why)
	}
	return t.flush()
}
