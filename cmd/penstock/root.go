package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/maps"
)

// Exit codes.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitDegraded = 3 // of status
	exitExpired  = 4 // of drain and uninstall: not all came to its end
)

// env is what the commands touch of the world beside files and sockets.
type env struct {
	stdout, stderr io.Writer
	now            func() time.Time
	progress       time.Duration // between two lines of it; 0: a second
	openView       func(pins string) (view, error)
	pinned         func(pins string) []api.InterfaceStatus // devices with a pinned link
	cleanup        func(pins string) (devices []string, err error)
}

// view reads the pinned tables.
type view interface {
	Services() ([]maps.ServiceStatus, error)
	ServicesOf(names ...string) ([]maps.ServiceStatus, error) // as in api.Select
	Verdicts() ([]maps.VerdictCount, error)
	Flows() (maps.FlowStats, error)
	Usage() (maps.Usage, error)
	Close() error
}

// cli is one call of the command.
type cli struct {
	env
	started   bool // a command's own code runs, so errors are not of usage
	mentioned []string

	config, socket, bpffs string // the flags of all commands
	output                output
}

// errDegraded makes status exit with exitDegraded after it has printed.
var errDegraded = errors.New("degraded")

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, e env) int {
	c := &cli{env: e, output: "table"}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDegraded):
		return exitDegraded
	case errors.Is(err, errExpired), errors.Is(err, errUnclean):
		return exitExpired
	case !c.started:
		fmt.Fprintf(e.stderr, "penstock: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(e.stderr, "penstock: %v\n", err)
	return exitError
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "L4 load balancer in XDP, announced by BGP",
		Long: `Penstock gives Kubernetes Services of type LoadBalancer their external addresses.
'penstock agent' runs on each load balancer node, and on each ingress node with role
backend; the other commands ask it, over its unix socket. Where it does not run they
read its tables in the kernel, which go on forwarding without it.`,
		Example: `  penstock status                   # is this node well, and what does it announce?
  penstock services -n default web  # what became of a Service, from its object to the routers?
  penstock backends default/web     # where do the flows of a Service go?
  penstock nodes                    # which ingress nodes answer?
  penstock verdicts --watch         # what becomes of packets, right now?
  penstock config default           # a configuration to begin with`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			c.started = true
		},
	}
	fs := root.PersistentFlags()
	fs.StringVar(&c.config, "config", "", "configuration file, also PENSTOCK_CONFIG (default "+config.DefaultPath+")")
	fs.StringVar(&c.socket, "socket", "", "the agent's unix socket, also PENSTOCK_API_SOCKET (default: api.socket of the configuration)")
	fs.StringVar(&c.bpffs, "bpffs", "", "directory of the pinned tables, also PENSTOCK_DATAPATH_BPFFS (default: datapath.bpffs of the configuration)")
	root.SetVersionTemplate("penstock {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: "read", Title: "Look at a node:"}, &cobra.Group{ID: "cluster", Title: "A whole cluster:"}, &cobra.Group{ID: "run", Title: "Run one:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
		}
		root.AddCommand(commands...)
	}
	add("read", c.statusCmd(), c.servicesCmd(), c.backendsCmd(), c.nodesCmd(), c.poolsCmd(), c.verdictsCmd(), c.bgpCmd(), c.reasonsCmd())
	add("cluster", c.checkCmd(), c.uninstallCmd())
	add("run", c.agentCmd(), c.drainCmd(), c.undrainCmd(), c.configCmd(), c.sourcesCmd(), c.cleanupCmd(), c.versionCmd())
	return root
}

// group makes a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// output is the flag -o.
type output string

// wide is a table with all columns.
const wide output = "wide"

var outputs = []string{"table", "wide", "json"}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }
func (o *output) Set(s string) error {
	if !slices.Contains(outputs, s) {
		return errors.New("want table, wide or json")
	}
	*o = output(s)
	return nil
}

// withOutput gives cmd the flag -o.
func (c *cli) withOutput(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().VarP(&c.output, "output", "o", "table for people, wide for more of it where there is more, json for programs")
	// The only error is that of a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// shortFlags are other names of the agent's flags, which are those of all
// commands or are often typed.
var shortFlags = map[string]string{
	"socket": "api-socket", "bpffs": "datapath-bpffs", "interface": "datapath-interfaces", "interfaces": "datapath-interfaces",
}

func longFlag(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if long, ok := shortFlags[name]; ok {
		name = long
	}
	return pflag.NormalizedName(name)
}
