package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

func (c *cli) statusCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "status",
		Short: "Say whether this node is well, and what it announces",
		Long: `Show what the agent says about itself: its source, its data path, its BGP sessions,
each VIP and why it is not announced, and whatever is wrong. Of many VIPs that are
announced the first few are shown, with -o wide all. Without an agent, show what the
kernel has.

With source.kind kubernetes the line API says whether the API server answers. While it
does not, that is degraded, but the node stays ready: it goes on with the last objects
that it has seen, for as long as it takes.

Exit codes:
  0  nothing is listed under Degraded
  1  neither an agent nor pinned tables could be read, or the agent's answer is an error
  2  the command line is wrong
  3  something is listed under Degraded; that no agent runs is, too

Degraded is what an operator of this node has to mend: a source, a configuration or
tables that are not in force, services that the tables refuse (Refused), a device
without the program, replies that are lost, a session that is down. What a Service
says of itself and cannot be followed (FrontendTaken, InvalidAddress, NoEndpoints …)
is listed with its reason and is not degraded: the node is well, and its exit code
must not hang on each user's YAML; penstock_service_problems counts it. A document
that cannot be read at all is degraded. Warnings are never.`,
		Example: `  penstock status
  penstock status -o json | jq -r '.vips[] | select(.announced | not) | "\(.vip) \(.reason)"'
  penstock status > /dev/null || echo "this node wants a look"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := askOrRead(cmd.Context(), c,
				func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) }, c.pinnedStatus)
			if err != nil {
				return err
			}
			if err := c.print(status, func(w io.Writer) error { return c.printStatus(w, status) }); err != nil {
				return err
			}
			if len(status.Degraded) > 0 {
				return errDegraded
			}
			return nil
		},
	})
}

// pinnedStatus is what the tables say of a node whose agent does not run.
func (c *cli) pinnedStatus(v view) (api.Status, error) {
	if node, ok := v.(nodeView); ok {
		return c.pinnedNode(node)
	}
	services, err := v.Services()
	flows, flowsErr := v.Flows()
	usage, usageErr := v.Usage()
	_, bpffs := c.places()
	s := api.Status{
		Version: version, State: api.Stopped,
		Source:   api.SourceStatus{Problems: []desired.Problem{}},
		Datapath: api.DatapathStatus{Loaded: true, Pins: bpffs, Flows: flows, Usage: usage, Interfaces: c.pinned(bpffs)},
		BGP:      api.BGPStatus{Peers: []bgp.PeerState{}},
		VIPs:     []api.VIPStatus{}, Services: []api.ServiceStatus{}, Reasons: []desired.ServiceReason{},
		NotReady: []string{"agent is not running"}, Degraded: []string{"agent is not running"}, Warnings: []string{},
	}
	for _, svc := range services {
		s.Services = append(s.Services, pinnedService(svc))
	}
	for _, i := range s.Datapath.Interfaces {
		if !i.Attached {
			s.Degraded = append(s.Degraded, fmt.Sprintf("interface %s is not attached: %s", i.Name, i.Error))
		}
	}
	return s, errors.Join(err, flowsErr, usageErr)
}

func pinnedService(s maps.ServiceStatus) api.ServiceStatus {
	return api.ServiceStatus{Name: s.Name, Frontends: s.Frontends, Backends: len(s.Backends), InKernel: true}
}

func (c *cli) printStatus(w io.Writer, s api.Status) error {
	c.summary(w, s)
	sections := []func(io.Writer, api.Status) error{printInterfaces, c.printPeersOf, c.printNodesOf, c.printVIPs, printTrouble}
	for _, section := range sections {
		if err := section(w, s); err != nil {
			return err
		}
	}
	printList(w, "Degraded", s.Degraded)
	printList(w, "Warnings", s.Warnings)
	return nil
}

// summary is one line for each part of the node.
func (c *cli) summary(w io.Writer, s api.Status) {
	now := c.now()
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-11s%s\n", name+":", printable(fmt.Sprintf(format, args...)))
	}
	d := s.Datapath
	flows, tables := lbTables(s)
	kind := "Tables"
	if s.Ingress != nil {
		flows, tables = nodeTables(s)
		kind = "Events"
	}
	if s.State == api.Stopped {
		line("Agent", "not running")
		line("Data path", "%s", flows)
		line(kind, "%s", tables)
		if s.Ingress != nil {
			line("Tunnels", "%s", tunnelsTo(s.Ingress))
			line("Pods", "%s", podsHere(s.Ingress))
		}
		return
	}
	who := s.Node
	if s.Ingress != nil {
		who += " (ingress node)"
	}
	line("Agent", "%s on %s for %s, version %s", s.State, who, age(now, s.Since), s.Version)
	ready := "yes"
	switch {
	case len(s.NotReady) > 0:
		ready = "no: " + strings.Join(s.NotReady, "; ")
	case len(s.Degraded) > 0: // a screen of users' problems stands between
		ready += fmt.Sprintf(", and degraded: %d, see the end", len(s.Degraded))
	}
	line("Ready", "%s", ready)
	if s.Drain != nil {
		line("Drain", "%s", drainState(*s.Drain, now))
	}
	line("Config", "%s", configState(s.Config, now))
	line("Source", "%s, %s", s.Source.Name, sourceState(s.Source, now))
	if s.Source.API != nil {
		line("API", "%s", linkState(s.Source, now))
	}
	if d.Loaded {
		line("Data path", "%s, schema %s", flows, d.Schema)
		line(kind, "%s", tables)
	} else {
		line("Data path", "not loaded")
	}
	if d.Program.Compiled {
		line("Program", "%s", programState(d.Program))
	}
	if s.Ingress != nil {
		line("Tunnels", "%s", tunnelsTo(s.Ingress))
		line("Pods", "%s", podsHere(s.Ingress))
	} else {
		line("Tunnels", "%s", tunnelsFrom(s.Tunnels))
		line("BGP", "%s", bgpState(s.BGP))
	}
	if s.Sync.At.IsZero() {
		line("Last sync", "none yet")
	} else {
		took := time.Duration(s.Sync.Duration * float64(time.Second)).Round(10 * time.Microsecond)
		line("Last sync", "%s ago, took %s", age(now, s.Sync.At), took)
	}
}

func bgpState(s api.BGPStatus) string {
	if s.ASN == 0 {
		return "not configured"
	}
	up := 0
	for _, p := range s.Peers {
		if api.SessionUp(p) {
			up++
		}
	}
	return fmt.Sprintf("AS %d, identifier %s, %d of %d sessions up", s.ASN, s.RouterID, up, len(s.Peers))
}

func fill(f maps.Fill) string { return fmt.Sprintf("%d of %d", f.Used, f.Total) }

func programState(p api.ProgramStatus) string {
	from := cmp.Or(p.Sources, "the sources in this binary")
	text := fmt.Sprintf("compiled on this node from %s, digest %s", from, p.Digest)
	if p.Changed {
		text += ", which are not those of this binary"
	}
	return text
}

func configState(s api.ConfigStatus, now time.Time) string {
	text := "no file"
	if s.File != "" {
		text = s.File
	}
	text += ", loaded " + age(now, s.Loaded) + " ago"
	if s.Error != "" {
		text += ", the newest is not valid"
	}
	return text
}

// linkState says whether the API server answers, and what it means if not.
func linkState(s api.SourceStatus, now time.Time) string {
	l := s.API
	if l.Connected {
		return fmt.Sprintf("%s answers, for %s", l.Server, cmp.Or(age(now, l.Since), "ever"))
	}
	return fmt.Sprintf("%s has not answered for %s: %s", l.Server, cmp.Or(age(now, l.Since), "ever"), s.Meanwhile())
}

func sourceState(s api.SourceStatus, now time.Time) string {
	text := "not synced yet"
	if s.Synced {
		text = "synced"
	}
	if !s.Changed.IsZero() {
		text += ", changed " + age(now, s.Changed) + " ago"
	}
	if n := len(s.Problems); n > 0 {
		text += fmt.Sprintf(", problems: %d", n)
	}
	return text
}

func printInterfaces(w io.Writer, s api.Status) error {
	if len(s.Datapath.Interfaces) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	header := []string{"INTERFACE", "ATTACHED", "MODE", "DETAIL"}
	if s.Ingress != nil {
		header = []string{"UPLINK", "ATTACHED", "INGRESS", "EGRESS", "DETAIL"}
	}
	t := newTable(w, header...)
	for _, i := range s.Datapath.Interfaces {
		detail := i.Error
		if detail == "" && i.Fallback != "" {
			detail = "not native: " + i.Fallback
		}
		if s.Ingress != nil {
			t.row(i.Name, yesNo(i.Attached), i.Mode, i.Egress, detail)
		} else {
			t.row(i.Name, yesNo(i.Attached), i.Mode, detail)
		}
	}
	return t.flush()
}

func (c *cli) printPeersOf(w io.Writer, s api.Status) error {
	if len(s.BGP.Peers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "PEER", "ADDRESS", "STATE", "SINCE", "DETAIL")
	for _, p := range s.BGP.Peers {
		t.row(p.Name, cmp.Or(addrText(p.Address), p.Interface), string(p.State), age(c.now(), p.Since), downReason(p))
	}
	return t.flush()
}

// mostAnnounced is how many VIPs that are as they should be are shown; -o wide has all.
const mostAnnounced = 20

func (c *cli) printVIPs(w io.Writer, s api.Status) error {
	if len(s.VIPs) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "VIP", "ANNOUNCED", "REASON", "SERVICES", "DETAIL")
	services := servicesByVIP(s)
	var rows [][]string
	announced, left := 0, 0
	for _, v := range s.VIPs {
		names := services[v.VIP]
		reason, detail := string(v.Reason), v.Detail
		if v.Announced {
			if announced++; announced > mostAnnounced && c.output != wide {
				left++
				continue
			}
			if v.Reason == desired.Announceable {
				reason, detail = "", v.How()
			}
		} else if explained(s, names, reason) {
			detail = "" // it is in the next table
		}
		rows = append(rows, []string{v.VIP.String(), yesNo(v.Announced), reason, list(names), detail})
	}
	for _, r := range collapse(rows, 2) {
		t.row(r...)
	}
	if left > 0 {
		t.row(fmt.Sprintf("and %d more", left), "yes")
	}
	return t.flush()
}

// servicesByVIP names the Kubernetes Services that have a frontend on each VIP.
func servicesByVIP(s api.Status) map[netip.Addr][]string {
	names := map[netip.Addr][]string{}
	add := func(vip netip.Addr, table string) {
		if whole := desired.ServiceOf(table); !slices.Contains(names[vip], whole) {
			names[vip] = append(names[vip], whole)
		}
	}
	for _, v := range s.VIPs {
		for _, name := range v.Services {
			add(v.VIP, name)
		}
	}
	for _, svc := range s.Services {
		for _, f := range svc.Frontends {
			add(f.VIP, svc.Name)
		}
	}
	return names
}

// explained tells whether the reason is told of one of the Services as well.
func explained(s api.Status, services []string, reason string) bool {
	if reason == string(api.Refused) {
		return true
	}
	return slices.ContainsFunc(s.Reasons, func(r desired.ServiceReason) bool {
		return string(r.Reason) == reason && slices.Contains(services, r.Service)
	})
}

func printList(w io.Writer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, i := range items {
		fmt.Fprintf(w, "  %s\n", printable(i))
	}
}
