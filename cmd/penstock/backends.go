package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

func (c *cli) backendsCmd() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "backends [-n NAMESPACE] [NAME...]",
		Short: "List the backends of services, their share and counters",
		Long: `List the backends of the services that are named, or of all. SHARE is the part of
the service's table that names the backend, and so of its new flows; a backend
that is draining has none and keeps the flows that it has. MODE is dsr for those that
are reached through a tunnel to their node and answer clients by themselves, nat for those
whose packets are translated here both ways, and none for those that are not reached;
WHY says what decided it, and -o wide in full. NEXT HOP is the device and the MAC that packets leave by,
with dsr those towards the node; a dash says that the kernel's routes decide. NEW FLOWS
counts the flows that ever began at the backend; with dsr, the TCP ones by their SYNs.`,
		Example: `  penstock backends
  penstock backends -n default web
  penstock backends -o json | jq -r '.[] | select(.mode == "nat") | "\(.addr) \(.detail)"'
  penstock backends -o json | jq 'map(select(.rows == 0))'   # draining`,
		ValidArgsFunction: c.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := c.qualify(cmd.Context(), namespace, args)
			if err != nil {
				return err
			}
			backends, err := askOrRead(cmd.Context(), c,
				func(ctx context.Context, a *api.Client) ([]api.Backend, error) { return a.Backends(ctx, names...) },
				func(v view) ([]api.Backend, error) {
					if err := ofLB(v); err != nil {
						return nil, err
					}
					services, err := pinnedServices(v, names)
					return api.Backends(api.InKernel(services), nil), err
				})
			if err == nil && len(backends) == 0 {
				err = c.askedLB(cmd.Context())
			}
			if err != nil {
				return err
			}
			if len(backends) == 0 && len(names) > 0 {
				return c.notFound(cmd.Context(), names)
			}
			if namespace != "" {
				backends = slices.DeleteFunc(backends, func(b api.Backend) bool { return !strings.HasPrefix(b.Service, namespace+"/") })
			}
			return c.print(backends, func(w io.Writer) error { return c.printBackends(w, backends) })
		},
	}
	c.namespaceFlag(cmd, &namespace)
	return c.withOutput(cmd)
}

func (c *cli) printBackends(w io.Writer, backends []api.Backend) error {
	header := []string{"SERVICE", "BACKEND", "SHARE", "MODE", "NODE", "NEXT HOP", "PACKETS", "BYTES", "NEW FLOWS", "WHY"}
	if c.output == wide {
		header = append(header, "TUNNEL", "DETAIL")
	}
	t := newTable(w, header...)
	for _, b := range backends {
		share := "draining"
		if b.Rows > 0 {
			share = fmt.Sprintf("%.1f%%", 100*b.Share)
		}
		if b.Wanted == desired.ModeNone {
			share = ""
		}
		why := string(b.Reason)
		if b.Mode == maps.DSR && b.Dead && b.Reason == "" {
			why = string(desired.NodeDead)
		}
		t.row(b.Service, b.Addr.String(), share, string(b.Mode), nodeOf(b), nextHop(b), number(b.Packets), size(b.Bytes), number(b.NewFlows), why,
			address(b.Tunnel), b.Detail)
	}
	return t.flush()
}

// address is empty where there is none.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// nodeOf names a backend's node, and without an agent the end of its tunnel.
func nodeOf(b api.Backend) string {
	if b.Node == "" && b.Tunnel.IsValid() {
		return b.Tunnel.String()
	}
	return b.Node
}

func nextHop(b api.Backend) string {
	h := b.NextHop
	if h.Ifindex == 0 {
		return ""
	}
	device := b.Device
	if device == "" {
		device = fmt.Sprintf("device %d", h.Ifindex)
	}
	if h.VLAN != 0 {
		device += fmt.Sprintf(" VLAN %d", h.VLAN)
	}
	return device + " " + net.HardwareAddr(h.DstMAC[:]).String()
}
