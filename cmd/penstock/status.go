package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
each VIP and why it is not announced, and whatever is wrong. Exit code 3 says that
something is wrong, 0 that nothing is.`,
		Example: `  penstock status
  penstock status -o json | jq -r '.vips[] | select(.announced | not) | "\(.vip) \(.reason)"'
  penstock status > /dev/null || echo "this node wants a look"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := askOrRead(cmd.Context(), c,
				func(ctx context.Context, a *api.Client) (api.Status, error) { return a.Status(ctx) }, pinnedStatus)
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
func pinnedStatus(v view) (api.Status, error) {
	services, err := v.Services()
	flows, flowsErr := v.Flows()
	s := api.Status{
		Version: version, State: api.Stopped,
		Source:   api.SourceStatus{Problems: []desired.Problem{}},
		Datapath: api.DatapathStatus{Loaded: true, Flows: flows, Interfaces: []api.InterfaceStatus{}},
		BGP:      api.BGPStatus{Peers: []bgp.PeerState{}},
		VIPs:     []api.VIPStatus{}, Services: []api.ServiceStatus{}, Reasons: []desired.ServiceReason{},
		NotReady: []string{"agent is not running"}, Degraded: []string{"agent is not running"}, Warnings: []string{},
	}
	for _, svc := range services {
		s.Services = append(s.Services, pinnedService(svc))
	}
	return s, errors.Join(err, flowsErr)
}

func pinnedService(s maps.ServiceStatus) api.ServiceStatus {
	return api.ServiceStatus{Name: s.Name, Frontends: s.Frontends, Backends: len(s.Backends), InKernel: true}
}

func (c *cli) printStatus(w io.Writer, s api.Status) error {
	c.summary(w, s)
	sections := []func(io.Writer, api.Status) error{printInterfaces, c.printPeersOf, printVIPs, printTrouble}
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
		fmt.Fprintf(w, "%-11s"+format+"\n", append([]any{name + ":"}, args...)...)
	}
	flows := fmt.Sprintf("services: %d, flow entries: %d of %d", len(s.Services), s.Datapath.Flows.Entries, s.Datapath.Flows.Capacity)
	if s.State == api.Stopped {
		line("Agent", "not running")
		line("Data path", "%s", flows)
		return
	}
	line("Agent", "%s on %s for %s, version %s", s.State, s.Node, age(now, s.Since), s.Version)
	ready := "yes"
	if len(s.NotReady) > 0 {
		ready = "no: " + strings.Join(s.NotReady, "; ")
	}
	line("Ready", "%s", ready)
	line("Config", "%s", configState(s.Config, now))
	line("Source", "%s, %s", s.Source.Name, sourceState(s.Source, now))
	switch {
	case !s.Datapath.Loaded:
		line("Data path", "not loaded")
	default:
		line("Data path", "%s, schema %s", flows, s.Datapath.Schema)
	}
	up := 0
	for _, p := range s.BGP.Peers {
		if api.SessionUp(p) {
			up++
		}
	}
	if s.BGP.ASN == 0 {
		line("BGP", "not configured")
	} else {
		line("BGP", "AS %d, identifier %s, %d of %d sessions up", s.BGP.ASN, s.BGP.RouterID, up, len(s.BGP.Peers))
	}
	if s.Sync.At.IsZero() {
		line("Last sync", "none yet")
	} else {
		took := time.Duration(s.Sync.Duration * float64(time.Second)).Round(10 * time.Microsecond)
		line("Last sync", "%s ago, took %s", age(now, s.Sync.At), took)
	}
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
	t := newTable(w, "INTERFACE", "ATTACHED", "MODE", "DETAIL")
	for _, i := range s.Datapath.Interfaces {
		detail := i.Error
		if detail == "" && i.Fallback != "" {
			detail = "not native: " + i.Fallback
		}
		t.row(i.Name, yesNo(i.Attached), i.Mode, detail)
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
		t.row(p.Name, p.Address.String(), string(p.State), age(c.now(), p.Since), p.DownReason)
	}
	return t.flush()
}

func printVIPs(w io.Writer, s api.Status) error {
	if len(s.VIPs) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "VIP", "ANNOUNCED", "REASON", "SERVICES", "DETAIL")
	for _, v := range s.VIPs {
		reason := string(v.Reason)
		if v.Announced {
			reason = ""
		}
		t.row(v.VIP.String(), yesNo(v.Announced), reason, list(v.Services), v.Detail)
	}
	return t.flush()
}

// printTrouble lists what is not in force.
func printTrouble(w io.Writer, s api.Status) error {
	var rows [][]string
	for _, svc := range s.Services {
		if svc.Error != "" {
			rows = append(rows, []string{svc.Name, "Refused", svc.Error})
		}
	}
	for _, r := range s.Reasons {
		rows = append(rows, []string{strings.TrimSpace(r.Service + " " + r.Subject), string(r.Reason), r.Detail})
	}
	for _, p := range s.Source.Problems {
		rows = append(rows, []string{"", "SourceProblem", p.String()})
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "OBJECT", "REASON", "DETAIL")
	for _, r := range rows {
		t.row(r...)
	}
	return t.flush()
}

func printList(w io.Writer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, i := range items {
		fmt.Fprintf(w, "  %s\n", i)
	}
}
