package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/cluster"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/system"
)

func (c *cli) cleanupCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Stop forwarding: detach the program and remove its pinned tables",
		Long: `Detach the programs from every interface and remove all pinned tables, on an LB node
and on an ingress node alike. Forwarding on
this node ends, and with it every flow through it: drain it first, by ending the
agent with 'shutdown: drain', for routers with graceful restart keep the routes of a
node that ends otherwise for bgp.gracefulRestart.restartTime. A socket that an agent
left behind is removed as well and, with 'source.kind: kubernetes', what the agent
published on its Node: other nodes forget it. Refused while an agent runs: of a pod,
have its DaemonSet want none on the Node first.`,
		Example: `  systemctl stop penstock && penstock cleanup
  kubectl debug node/lb1 -it --profile=sysadmin --image=penstock-lb/penstock:` + version + ` -- \
    penstock cleanup --bpffs /host/sys/fs/bpf/penstock --socket /host/run/penstock/agent.sock`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			socket, bpffs := c.places()
			devices, err := c.cleanup(bpffs)
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return fmt.Errorf("an agent runs on %s: stop the agent first (systemctl stop penstock, or let its DaemonSet want no pod on this Node)", bpffs)
			}
			for _, d := range devices {
				fmt.Fprintf(c.stdout, "detached from %s\n", d)
			}
			if err != nil {
				return fmt.Errorf("clean up %s: %w", bpffs, err)
			}
			if err := (system.AcceptLocal{File: config.AcceptLocalFile(socket)}).Reset(); err != nil {
				return fmt.Errorf("put back what the agent changed of devices: %w", err)
			}
			fmt.Fprintf(c.stdout, "nothing is pinned under %s any more\n", bpffs)
			if removed, err := api.RemoveStale(socket); err != nil {
				c.mention("%v", err) // no reason to fail: it may be a socket of another agent
			} else if removed {
				fmt.Fprintf(c.stdout, "removed %s, which nobody listens on\n", socket)
			}
			c.forget(cmd.Context())
			if len(devices) > 0 && !c.ofIngressNode() {
				c.mention("warning: if this is an LB node whose agent did not drain, routers with graceful restart keep its routes for restartTime (bgp.gracefulRestart.restartTime, 2m by default) and send here in vain")
			}
			return nil
		},
	}
}

// ofIngressNode tells whether the configuration is an ingress node's, which has no routes.
func (c *cli) ofIngressNode() bool {
	path, _ := c.configPath()
	cfg, err := config.Load(path, nil)
	return err == nil && cfg.Role == config.RoleBackend
}

// forgetTimeout is what the API server has for an answer.
const forgetTimeout = 10 * time.Second

// forget takes back what this node's agent published in the cluster, if it is of one. It
// does no harm if that fails: an agent that does not answer gets no flows.
func (c *cli) forget(ctx context.Context) {
	path, _ := c.configPath()
	cfg, err := config.Load(path, nil)
	if err != nil || cfg.Source.Kind != config.SourceKubernetes {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	at, err := cluster.Connect(cfg, version, slog.New(slog.DiscardHandler))
	if err == nil {
		err = at.Forget(ctx)
	}
	if err != nil {
		c.mention("warning: Node %s still says that an agent is here: %v; 'kubectl annotate node %s penstock.dev/%s-' removes that", cfg.Node, err, cfg.Node, cfg.Role)
		return
	}
	fmt.Fprintf(c.stdout, "Node %s says no more that an agent is here\n", cfg.Node)
}

func (c *cli) versionCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  penstock version -o json | jq -r .version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return c.print(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "penstock %s, %s, %s\n", v.Version, v.Go, v.Platform)
				return err
			})
		},
	})
}
