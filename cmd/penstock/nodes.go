package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
)

func (c *cli) nodesCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "nodes",
		Short: "List the LB and ingress nodes, what they say of themselves, and whether they answer",
		Long: `List the nodes with a role, a line for each role. VERSION, PORT (of tunnels, UDP) and
READY are what the agent there has written into its Node object; without them the role was
given by hand, or its agent has no access to the API server.

The rest is how this LB node finds the ingress nodes (role backend): it probes the program
on each of them a few times a second. STATE is alive, dead (it answered before), silent (it
never did) or unknown (not asked often enough yet), SINCE when; a dead one takes no new
flows. MTU is that of the path to it in bytes, tunnel included. DEATHS counts how often it
stopped answering; one that flaps has to answer longer each time before it counts as alive.
DETAIL names what is wrong. LB nodes do not probe each other, and ingress nodes probe nobody.`,
		Example: `  penstock nodes
  penstock nodes -o json | jq -e 'map(select(.role == "backend")) | all(.state == "alive")'
  penstock nodes -o json | jq -r '.[] | select(.problems) | "\(.name) \(.problems[])"'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) })
			if err != nil {
				return err
			}
			switch {
			case status.Ingress != nil && len(status.Nodes) == 0:
				return errIngressNode
			case status.Ingress == nil && status.Tunnels == nil:
				return errors.New("this agent has not read its source yet; 'penstock status' says why")
			}
			rows := nodeRows(status, c.now())
			return c.print(rows, func(w io.Writer) error { return c.printNodes(w, status, rows) })
		},
	})
}

// nodeRow is one role of a node: what its agent publishes, beside what the probes find.
type nodeRow struct {
	Name string `json:"name"`
	Role string `json:"role"`

	*api.IngressNode                    // nil of LB nodes, and of those to which there can be no tunnel
	Published        *desired.Published `json:"published,omitempty"`
	Problems         []string           `json:"problems,omitempty"`
}

// nodeRows joins the two by name. A node that is probed has the role backend, however it came by it.
func nodeRows(s api.Status, now time.Time) []nodeRow {
	rows := []nodeRow{}
	if s.Tunnels != nil {
		for _, n := range s.Tunnels.Nodes {
			rows = append(rows, nodeRow{IngressNode: &n, Name: n.Name, Role: "backend"})
		}
	}
	for _, n := range s.Nodes {
		at := slices.IndexFunc(rows, func(r nodeRow) bool { return r.Name == n.Name && r.Role == n.Role })
		if at < 0 {
			at = len(rows)
			rows = append(rows, nodeRow{Name: n.Name, Role: n.Role})
		}
		rows[at].Published = n.Published
		if n.Problem != "" {
			rows[at].Problems = append(rows[at].Problems, n.Problem)
		}
		if n.Drained != "" {
			rows[at].Problems = append(rows[at].Problems, "it drains, if another LB node can take over: "+n.Drained)
		}
	}
	slices.SortStableFunc(rows, func(a, b nodeRow) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Role, b.Role)) })
	for i := range rows {
		rows[i].judge(s)
		// While the API server is away, nobody is heard of.
		if p := rows[i].Published; p != nil && !s.Source.Lost() && !p.Alive.IsZero() && now.Sub(p.Alive) > desired.AliveFor {
			rows[i].Problems = append(rows[i].Problems, "its agent has not been heard of for "+age(now, p.Alive))
		}
	}
	return rows
}

// portOfTunnels is that of this node, and whether it probes others. LB nodes meet ingress
// nodes, and these LB nodes.
func portOfTunnels(s api.Status) (port uint16, asks bool) {
	if s.Tunnels != nil {
		return s.Tunnels.Port, true
	}
	return s.Ingress.Port, false
}

// judge names what is wrong, the nearer cause first.
func (r *nodeRow) judge(s api.Status) {
	add := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	here, asks := portOfTunnels(s)
	if p := r.Published; p != nil {
		if !p.Ready {
			add("its agent is not ready: %s", cmp.Or(p.Reason, "it does not say why"))
		}
		if (r.Role == "backend") == asks && p.TunnelPort != here {
			add("its tunnel.port is %d, and %d here: no tunnel", p.TunnelPort, here)
		}
		if p.Version != s.Version {
			add("version %s, and %s here", cmp.Or(p.Version, "unknown"), s.Version)
		}
	}
	switch {
	case r.IngressNode != nil && r.Reason != "":
		add("%s", r.Reason)
	case asks && r.IngressNode == nil && r.Role == "backend" && r.Name != s.Node && len(r.Problems) == 0:
		add("there is no tunnel to it: see the problems in 'penstock status'")
	}
}

func (c *cli) printNodes(w io.Writer, s api.Status, rows []nodeRow) error {
	t := newTable(w, "NODE", "ROLE", "VERSION", "PORT", "READY", "ADDRESS", "STATE", "SINCE", "RTT", "MTU", "DEATHS", "DETAIL")
	for _, r := range rows {
		cells := append([]string{r.Name, r.Role}, publishedCells(r.Published)...)
		cells = append(cells, c.probedCells(r.IngressNode)...)
		t.row(append(cells, strings.Join(r.Problems, "; "))...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if s.Tunnels == nil {
		return nil
	}
	if s.Tunnels.Open {
		fmt.Fprintln(w, "\nMore of them are dead than tunnel.failOpen allows, so all count as alive.")
	}
	if s.Tunnels.Error != "" {
		fmt.Fprintf(w, "\nThey cannot be probed: %s\n", printable(s.Tunnels.Error))
	}
	return nil
}

func publishedCells(p *desired.Published) []string {
	if p == nil {
		return []string{"", "", ""}
	}
	return []string{p.Version, number(p.TunnelPort), yesNo(p.Ready)}
}

func (c *cli) probedCells(n *api.IngressNode) []string {
	if n == nil {
		return []string{"", "", "", "", "", ""}
	}
	rtt, mtu := "", ""
	if n.RTT > 0 {
		rtt = time.Duration(n.RTT * float64(time.Second)).Round(time.Microsecond).String()
	}
	if n.MTU > 0 {
		mtu = number(n.MTU)
	}
	return []string{n.Addr.String(), string(n.State), age(c.now(), n.Since), rtt, mtu, number(n.Deaths)}
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
