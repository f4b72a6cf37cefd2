package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/kube"
)

// errUnclean makes uninstall exit with exitExpired after it has printed.
var errUnclean = errors.New("nodes are left to look after")

func (c *cli) uninstallCmd() *cobra.Command {
	var o kube.UninstallOptions
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Penstock out of a cluster, without leaving anything on its nodes",
		Long: `Delete the DaemonSets of Penstock, penstock-lb first, and wait for their agents to end,
which drain, withdraw their routes and remove what they made on their nodes
('shutdown: auto'). penstock-backend follows when nothing is sent to ingress nodes any more.
Then remove what agents published: the annotations penstock.dev/lb and
penstock.dev/backend of Nodes, and the Leases penstock-leader and penstock-fence.

Services keep their addresses, so that Penstock gives the same ones when it is installed
again. Accounts, rights and configuration are for 'helm uninstall' or 'kubectl delete' to
remove, after this: agents need them to clean up. The Helm chart runs this command by
itself.

Nodes that could not be cleaned up are named, with what to do there. All the rest is done
nevertheless, and again it does no harm.

Exit codes:
  0  nothing is left
  1  the cluster could not be read, or not be written to
  2  the command line is wrong
  4  nodes are left to look after`,
		Example: `  penstock uninstall --dry-run --kubeconfig ~/.kube/config
  penstock uninstall --timeout 10m       # in a pod, with the rights of deploy/uninstall/rbac.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.Timeout <= 0 {
				return fmt.Errorf("--timeout %s: write a time above 0, as in 30s or 5m", o.Timeout)
			}
			return noArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.UserAgent = "penstock/" + version
			o.Say = func(line string) { fmt.Fprintln(c.stdout, printable(line)) }
			unclean, err := kube.Uninstall(cmd.Context(), o)
			c.printUnclean(unclean)
			switch {
			case err != nil:
				return err
			case len(unclean) > 0:
				return errUnclean
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.Namespace, "namespace", "n", kube.Namespace(), "namespace of the DaemonSets and Leases")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "file that says where the API server is and how to log in (default: the ServiceAccount of the pod)")
	flags.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "time for the pods of one DaemonSet to end")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

// printUnclean says what is to be done by hand.
func (c *cli) printUnclean(nodes []kube.Unclean) {
	if len(nodes) == 0 {
		return
	}
	fmt.Fprintln(c.stdout, "These nodes may not be clean: what the agent left in the kernel forwards on there.")
	for _, n := range nodes {
		fmt.Fprintf(c.stdout, "  %s: %s\n", printable(n.Node), printable(n.Why))
	}
	fmt.Fprint(c.stdout, `Reboot them, or run 'penstock cleanup' there, as from a pod:
  kubectl debug node/NODE -it --profile=sysadmin --image=penstock-lb/penstock:`+version+` -- \
    penstock cleanup --bpffs /host/sys/fs/bpf/penstock --socket /host/run/penstock/agent.sock
`)
}
