package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/probe"
)

func (c *cli) nodesCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "nodes",
		Short: "List the ingress nodes and whether their data paths answer",
		Long: `List the ingress nodes as this LB node finds them: it probes the program on each of them
a few times a second. STATE is alive, dead (it answered before), silent (it never did) or
unknown (not asked often enough yet), SINCE when; a dead one takes no new flows. MTU is that
of the path to it in bytes, tunnel included. DEATHS counts how often it stopped answering; one
that flaps has to answer longer each time before it counts as alive.`,
		Example: `  penstock nodes
  penstock nodes -o json | jq -e 'all(.state == "alive")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) })
			if err != nil {
				return err
			}
			if status.Ingress != nil {
				return errIngressNode
			}
			if status.Tunnels == nil {
				return errors.New("this agent has not read its source yet; 'penstock status' says why")
			}
			return c.print(status.Tunnels.Nodes, func(w io.Writer) error { return c.printNodes(w, status.Tunnels) })
		},
	})
}

func (c *cli) printNodes(w io.Writer, s *api.TunnelStatus) error {
	t := newTable(w, "NODE", "ADDRESS", "STATE", "SINCE", "RTT", "MTU", "DEATHS", "DETAIL")
	for _, n := range s.Nodes {
		rtt, mtu := "", ""
		if n.RTT > 0 {
			rtt = time.Duration(n.RTT * float64(time.Second)).Round(time.Microsecond).String()
		}
		if n.MTU > 0 {
			mtu = number(n.MTU)
		}
		t.row(n.Name, n.Addr.String(), string(n.State), age(c.now(), n.Since), rtt, mtu, number(n.Deaths), n.Reason)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if s.Open {
		fmt.Fprintln(w, "\nMore of them are dead than tunnel.failOpen allows, so all count as alive.")
	}
	if s.Error != "" {
		fmt.Fprintf(w, "\nThey cannot be probed: %s\n", s.Error)
	}
	return nil
}

// printNodesOf lists, in the status, the nodes that are not alive.
func (c *cli) printNodesOf(w io.Writer, s api.Status) error {
	if s.Tunnels == nil {
		return nil
	}
	t := newTable(w, "INGRESS NODE", "ADDRESS", "STATE", "SINCE", "DETAIL")
	var rows [][]string
	for _, n := range s.Tunnels.Nodes {
		if n.State != probe.Alive {
			rows = append(rows, []string{n.Name, n.Addr.String(), string(n.State), age(c.now(), n.Since), n.Reason})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	for _, r := range collapse(rows, 2) {
		t.row(r...)
	}
	return t.flush()
}
