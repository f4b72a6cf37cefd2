package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

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
		Long: `List the peers that this node has. LOCAL is its end of the session; SINCE is when that
came up or went down; HOLD is the silence after which it ends, as both sides agreed;
BFD is off until there is a session that it watches. ANNOUNCED and RECEIVED count
routes by family, FLAPS the sessions that ended, and of what; DETAIL is why the session
is down or, while it is up, after "before:" why the one before it ended.`,
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
	header := []string{"PEER", "ADDRESS", "LOCAL", "AS", "STATE", "SINCE", "HOLD", "BFD", "ANNOUNCED", "RECEIVED", "FLAPS", "DETAIL"}
	if c.output == wide {
		header = append(header, "INTERFACE", "MALFORMED", "BFD SINCE", "BFD DETECTION", "BFD DETECTIONS", "BFD DETAIL")
	}
	t := newTable(w, header...)
	for _, p := range peers {
		var announced, received []string
		for _, f := range p.Families {
			announced = append(announced, string(f.Family)+":"+number(f.Announced))
			received = append(received, string(f.Family)+":"+number(f.Received))
		}
		watched := bfdOf(p)
		t.row(p.Name, cmp.Or(addrText(p.Address), p.Interface), addrText(p.LocalAddress), number(p.ASN), string(p.State), age(c.now(), p.Since),
			seconds(p.HoldTime), watched.State, strings.Join(announced, " "), strings.Join(received, " "), flapsOf(p), downReason(p),
			p.Interface, number(p.Malformed), age(c.now(), watched.Since), seconds(watched.Detection), number(watched.Detections), watched.Reason)
	}
	return t.flush()
}

// downReason tells what is past from what is.
func downReason(p bgp.PeerState) string {
	if api.SessionUp(p) && p.DownReason != "" {
		return "before: " + p.DownReason
	}
	return p.DownReason
}

// bfdOf is empty for a peer without BFD.
func bfdOf(p bgp.PeerState) bgp.BFDState {
	if p.BFD == nil {
		return bgp.BFDState{}
	}
	return *p.BFD
}

// flapsOf counts the sessions that ended, and of what.
func flapsOf(p bgp.PeerState) string {
	text := number(p.Flaps)
	var causes []string
	for _, cause := range bgpCauses(p) {
		causes = append(causes, fmt.Sprintf("%s %d", cause, p.Causes[cause]))
	}
	if len(causes) > 0 {
		text += " (" + strings.Join(causes, ", ") + ")"
	}
	return text
}

// bgpCauses are those that there were, the most frequent first.
func bgpCauses(p bgp.PeerState) []bgp.Cause {
	var out []bgp.Cause
	for cause, n := range p.Causes {
		if n > 0 {
			out = append(out, cause)
		}
	}
	slices.SortFunc(out, func(a, b bgp.Cause) int {
		return cmp.Or(-cmp.Compare(p.Causes[a], p.Causes[b]), cmp.Compare(a, b))
	})
	return out
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// seconds is empty for 0.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func (c *cli) routesCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "routes",
		Short: "List the VIPs: announced to whom since when and how, or why not",
		Long: `List the VIPs, one line for each peer that carries their family. SINCE is when that
peer was given the route as it is; NEXT HOP and ATTRIBUTES are what it was given.
WHY NOT is why the peer does not have the route or, where no peer is named, why
nobody is told of it: no reason to worry if its aggregate is announced.`,
		Example: `  penstock bgp routes
  penstock bgp routes -o wide                                 # and which Services
  penstock bgp routes -o json | jq -r '.[] | select(.announced).prefix'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) ([]api.Announcement, error) { return a.Announcements(ctx) })
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

func (c *cli) printRoutes(w io.Writer, routes []api.Announcement) error {
	header := []string{"PREFIX", "PEER", "NEXT HOP", "SINCE", "ATTRIBUTES", "WHY NOT"}
	if c.output == wide {
		header = append(header, "SERVICES")
	}
	t := newTable(w, header...)
	for _, r := range routes {
		services := strings.Join(r.Services, ", ")
		for _, p := range r.Peers {
			since := p.Since
			if since.IsZero() {
				since = r.Since
			}
			t.row(r.Prefix.String(), p.Peer, addrText(p.NextHop), age(c.now(), since), attributesOf(p.Attributes), "", services)
		}
		for _, m := range r.Missing {
			t.row(r.Prefix.String(), m.Peer, "", "", "", m.Why, services)
		}
		if len(r.Peers)+len(r.Missing) == 0 {
			why := strings.Join(slices.DeleteFunc([]string{string(r.Reason), r.Detail}, func(s string) bool { return s == "" }), ": ")
			t.row(r.Prefix.String(), "", "", age(c.now(), r.Since), "", why, services)
		}
	}
	return t.flush()
}
