package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent"
	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/cluster"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/metrics"
	"github.com/penstock-lb/penstock/agent/node"
)

func (c *cli) agentCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a load balancer node, or of an ingress node",
		Long: `Run the agent: it reads Kubernetes objects, writes the tables of the XDP program,
attaches it, and announces to the BGP peers what it can deliver. With 'role: backend'
it is an ingress node's: its programs take packets of LB nodes out of their tunnels,
hand them to the pods, and give replies the VIP's address. Every key of the
configuration but the peers, the advertisements, the pools and the seed is a flag as
well, and a PENSTOCK_ variable.
--interface, --socket and --bpffs are short for --datapath-interfaces, --api-socket
and --datapath-bpffs.

SIGTERM drains as 'penstock drain' does: VIPs become the last choice, and their routes go
once traffic has ceased. With 'shutdown: restart' the agent leaves the routes to BGP
graceful restart. Either way the program stays attached and goes on forwarding;
'penstock cleanup' removes it.
An ingress node's agent ends at once: Kubernetes drains pods, and flows go on.

With 'shutdown: auto', for pods, the DaemonSet of 'source.daemonSet' decides: if it still
wants a pod on this Node, another agent follows, and this one does as with 'restart'.
Otherwise the node is left for good: it drains, and then removes what 'penstock cleanup'
would.

What keeps an agent from starting is an Event of its Node too: 'kubectl describe node'.

A second signal (Ctrl-C again) ends the agent at once, without waiting for traffic to
cease: the routers notice by the closed sessions, and those with graceful restart keep
the routes for bgp.gracefulRestart.restartTime.
A change of the file is applied by itself; what needs a restart is logged.`,
		Example: `  penstock agent
  penstock agent --role backend               # on an ingress node
  penstock agent --config lab.yaml --interface eth1 --log-level debug
  penstock agent --compile                    # with the node's own clang
  PENSTOCK_SHUTDOWN=restart penstock agent`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.SetNormalizeFunc(longFlag)
	flags.SortFlags = false // the order of the configuration file
	config.AddFlags(flags)
	completeValues(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, _ := c.configPath()
		cfg, err := config.Load(path, cmd.Flags())
		if err != nil {
			c.tellFailure(withoutConfig(), err)
			return err
		}
		level := new(slog.LevelVar)
		level.Set(cfg.Log.Level)
		log := newLogger(c.stderr, cfg.Log.Format, level)
		var configs control.Configs = fixed{cfg}
		if path != "" {
			configs = config.NewWatcher(path, cmd.Flags(), cfg, log)
		}
		a, err := forRole(cfg, configs, path, level, log)
		if err != nil {
			return err
		}
		err = runAgent(cmd.Context(), cfg, a, log)
		c.tellFailure(cfg, err)
		return err
	}
	return cmd
}

// failureTime is what telling of a failure may take: nobody waits for more than the next start.
const failureTime = 3 * time.Second

// tellFailure has the Node object say why its agent does not run, where there is an API server.
// It is a service to those who don't read the pod's log, and no matter if it fails.
func (c *cli) tellFailure(cfg *config.Config, failure error) {
	if failure == nil || cfg == nil || cfg.Source.Kind != config.SourceKubernetes {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), failureTime)
	defer cancel()
	if err := cluster.TellFailure(ctx, cfg, version, failure); err != nil {
		c.mention("warning: Node %s could not be told of this: %v", cfg.Node, err)
	}
}

// withoutConfig is what a pod knows of itself whose configuration is not valid; nil outside of pods.
func withoutConfig() *config.Config {
	node := os.Getenv("PENSTOCK_NODE")
	if node == "" || os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return nil
	}
	cfg := config.Default()
	cfg.Node, cfg.Source.Kind = node, config.SourceKubernetes
	return cfg
}

// runner is an agent of either role.
type runner interface {
	api.Agent
	Run(ctx context.Context) error
}

// forRole makes the agent that the configuration asks for.
func forRole(cfg *config.Config, configs control.Configs, path string, level *slog.LevelVar, log *slog.Logger) (runner, error) {
	if cfg.Role == config.RoleBackend {
		deps, err := node.Real(cfg, version, log)
		deps.Configs, deps.ConfigFile, deps.Level = configs, path, level
		return node.New(cfg, deps, log), err
	}
	deps, err := agent.Real(cfg, version, log)
	deps.Configs, deps.ConfigFile, deps.Level = configs, path, level
	return agent.New(cfg, deps, log), err
}

// runAgent binds the sockets before anything else, so that a second agent ends
// before it touches the first one's tables.
func runAgent(ctx context.Context, cfg *config.Config, a runner, log *slog.Logger) error {
	signal.Ignore(syscall.SIGHUP) // files are followed by themselves
	log.Info("penstock agent", "version", version, "node", cfg.Node, "role", cfg.Role)
	for _, w := range cfg.Warnings() {
		log.Warn("configuration", "warning", w)
	}
	server, err := api.Listen(api.Options{
		Socket: cfg.API.Socket, Loopback: cfg.API.Address, Metrics: cfg.Metrics.Address,
	}, a, metrics.Handler(a), log)
	if err != nil {
		return err
	}
	// The API serves until the agent has drained.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	signalled := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		endAtOnce(signalled, serving, cfg.API.Socket, log, os.Exit)
		return nil
	})
	g.Go(func() error {
		defer cancel()
		return server.Run(serving)
	})
	g.Go(func() error {
		defer stop()
		return a.Run(ctx)
	})
	return g.Wait()
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// fixed is the configuration of an agent without a file.
type fixed struct{ cfg *config.Config }

func (f fixed) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f fixed) Config() *config.Config        { return f.cfg }
func (f fixed) Err() error                    { return nil }
func (f fixed) Changed() <-chan struct{}      { return nil }
