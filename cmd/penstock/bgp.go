package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bgp"
)

func (c *cli) bgpCmd() *cobra.Command {
	cmd := group("bgp", "Look at BGP sessions and announced routes", c.peersCmd(), c.routesCmd())
	cmd.Example = "  penstock bgp peers\n  penstock bgp routes"
	return cmd
}

func (c *cli) peersCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "peers",
		Short: "List the BGP peers and their sessions",
		Long: `List the configured peers. SINCE is when the session came up or went down; ANNOUNCED
and RECEIVED count routes by family; DETAIL is why the session is down or, while it
is up, why the one before it ended.`,
		Example: `  penstock bgp peers
  penstock bgp peers -o json | jq -e 'all(.state == "established")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			peers, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) ([]bgp.PeerState, error) { return a.Peers(ctx) })
			if err == nil && len(peers) == 0 {
				err = c.askedLB(cmd.Context())
			}
			if err != nil {
				return err
			}
			return c.print(peers, func(w io.Writer) error { return c.printPeers(w, peers) })
		},
	})
}

func (c *cli) printPeers(w io.Writer, peers []bgp.PeerState) error {
	t := newTable(w, "PEER", "ADDRESS", "AS", "STATE", "SINCE", "ANNOUNCED", "RECEIVED", "FLAPS", "DETAIL")
	for _, p := range peers {
		var announced, received []string
		for _, f := range p.Families {
			announced = append(announced, string(f.Family)+":"+number(f.Announced))
			received = append(received, string(f.Family)+":"+number(f.Received))
		}
		t.row(p.Name, p.Address.String(), number(p.ASN), string(p.State), age(c.now(), p.Since),
			strings.Join(announced, " "), strings.Join(received, " "), number(p.Flaps), p.DownReason)
	}
	return t.flush()
}

func (c *cli) routesCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "routes",
		Short: "List the announced routes and the peers that have them",
		Long: `List the routes that are announced, one line for each peer that has one. A route
without a peer waits for a session.`,
		Example: `  penstock bgp routes
  penstock bgp routes -o json | jq -r '.[].prefix'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) ([]bgp.Route, error) { return a.Routes(ctx) })
			if err == nil && len(routes) == 0 {
				err = c.askedLB(cmd.Context())
			}
			if err != nil {
				return err
			}
			return c.print(routes, func(w io.Writer) error { return c.printRoutes(w, routes) })
		},
	})
}

func (c *cli) printRoutes(w io.Writer, routes []bgp.Route) error {
	t := newTable(w, "PREFIX", "PEER", "NEXT HOP", "SINCE")
	for _, r := range routes {
		since := age(c.now(), r.Since)
		if len(r.Peers) == 0 {
			t.row(r.Prefix.String(), "", "", since)
		}
		for _, p := range r.Peers {
			t.row(r.Prefix.String(), p.Peer, p.NextHop.String(), since)
		}
	}
	return t.flush()
}
