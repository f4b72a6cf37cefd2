// Package cluster joins what an agent does with the API server: its source of objects,
// the reports that it writes, and the allocation of addresses, if it is an LB node's.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/tenure"
)

// Cluster is one agent's way to the API server. Its methods may be called concurrently,
// and none but Run, Forget and Tenure waits for an answer.
type Cluster struct {
	client     *kube.Client
	source     *kube.Source
	copied     *Copy // nil: no copy of the source's objects is kept
	reporter   *kube.Reporter
	controller *kube.Controller // nil: this role allocates no addresses
	owner      *kube.Owner      // nil: the agent is of no DaemonSet
	node       string
	pooled     atomic.Bool // a pool is configured
}

// Connect prepares one. It sends nothing before Run.
func Connect(cfg *config.Config, version string, log *slog.Logger) (*Cluster, error) {
	client, err := kube.Connect(kube.Options{
		Kubeconfig: cfg.Source.Kubeconfig, Namespace: cfg.Source.Namespace,
		Node: cfg.Node, Role: string(cfg.Role), UserAgent: "penstock/" + version,
	}, log.With("part", "kubernetes"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{node: cfg.Node, client: client, source: kube.NewSource(client, log.With("part", "source"))}
	if cfg.Source.Copy != "" {
		c.copied = NewCopy(c.source, cfg.Source.Copy, log.With("part", "source"))
	}
	c.reporter = kube.NewReporter(client, cfg.Node, string(cfg.Role), log.With("part", "events"))
	if cfg.Source.DaemonSet != "" {
		c.owner = kube.NewOwner(client, c.source, cfg.Source.DaemonSet, log.With("part", "kubernetes"))
	}
	c.pooled.Store(len(cfg.Pools) > 0)
	if cfg.Role == config.RoleLB {
		c.controller = kube.NewController(client, c.source, kube.ControllerOptions{
			Identity: cfg.Node, Namespace: cfg.Source.Namespace, Pools: cfg.Pools, DefaultClass: cfg.DefaultClass,
		}, log.With("part", "addresses"))
		c.reporter.Refusals(c.controller)
	}
	return c, nil
}

// Source is where the agent's objects come from. It is run by who reads it.
func (c *Cluster) Source() Source {
	if c.copied != nil {
		return c.copied
	}
	return c.source
}

// Run writes what there is to be written until ctx ends.
func (c *Cluster) Run(ctx context.Context) error {
	defer c.client.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return part("reports", c.reporter.Run(ctx)) })
	if c.controller != nil {
		g.Go(func() error { return part("allocation of addresses", c.controller.Run(ctx)) })
	}
	if c.owner != nil {
		g.Go(func() error { return part("watch of the DaemonSet", c.owner.Run(ctx)) })
	}
	return g.Wait()
}

func part(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Configure takes over what applies live.
func (c *Cluster) Configure(cfg *config.Config) {
	c.pooled.Store(len(cfg.Pools) > 0)
	if c.controller != nil {
		c.controller.SetPools(cfg.Pools)
		c.controller.SetDefaultClass(cfg.DefaultClass)
	}
}

// Link tells whether the API server answers.
func (c *Cluster) Link() api.Link {
	l := c.client.Link()
	return api.Link{Server: l.Server, Connected: l.Connected, Since: l.Since, Error: l.Error}
}

// Pools tells how full the pools are, if this agent leads.
func (c *Cluster) Pools() api.PoolsStatus {
	if c.controller == nil {
		return api.PoolsStatus{Error: "ingress nodes allocate no addresses; ask an LB node"}
	}
	self, leader := c.controller.Leader()
	s := standing(self, leader, c.node, c.pooled.Load(), c.client.Link())
	if s.Self {
		s.Pools = c.controller.Usage()
	}
	return s
}

// standing tells who allocates, as far as node knows.
func standing(self bool, leader, node string, pooled bool, link kube.Link) api.PoolsStatus {
	s := api.PoolsStatus{Self: self, Leader: leader}
	if !self && leader == node {
		s.Leader = "" // it led, has given up, and has not heard of another one
	}
	switch {
	case self:
	case !link.Connected:
		s.Error = "the API server does not answer, so that this agent knows of no leader"
		if s.Leader != "" {
			s.Error = "the API server does not answer; the agent on " + s.Leader + " led when it did"
			s.Leader = ""
		}
	case !pooled:
		s.Error = "no pool is configured here, so that this agent allocates no addresses; write pools into its configuration, the same on all LB nodes"
	}
	return s
}

// Services reports what this node makes of Services.
func (c *Cluster) Services(reports []kube.ServiceReport) { c.reporter.Services(reports) }

// Gone forgets Services.
func (c *Cluster) Gone(services []string) { c.reporter.Gone(services) }

// SessionEnded tells of a BGP session of this node that ended.
func (c *Cluster) SessionEnded(end kube.SessionEnd) { c.reporter.SessionEnded(end) }

// Node publishes what this node is.
func (c *Cluster) Node(p desired.Published) { c.reporter.Node(p) }

// Forget takes back what Node published.
func (c *Cluster) Forget(ctx context.Context) error { return c.reporter.Forget(ctx) }

// Trouble tells of what keeps this agent from its work, on its Node.
func (c *Cluster) Trouble(reason, subject, message string) {
	c.reporter.Trouble(reason, subject, message)
}

// Tenure says what it means that this agent is told to end. It takes some seconds.
func (c *Cluster) Tenure(ctx context.Context) tenure.Verdict {
	if c.owner == nil {
		return tenure.Verdict{Outcome: tenure.Restart, Why: "source.daemonSet is not set, so that nothing says that this end is for good"}
	}
	return c.owner.Ask(ctx)
}

// TenureWarnings says what keeps Tenure from telling, and that less time is allowed for an end
// for good than the agent needs.
func (c *Cluster) TenureWarnings(needs time.Duration) (out []string) {
	if c.owner == nil {
		return nil
	}
	if p := c.owner.Problem(); p != "" {
		out = append(out, p)
	}
	if g := c.owner.Facts().Grace(); g != 0 && g < needs {
		out = append(out, fmt.Sprintf("the pod's terminationGracePeriodSeconds is %.0f, and an end for good may take %s, drainTimeout included: it would be cut short, and leave things behind; set it to %.0f at least", g.Seconds(), needs, needs.Seconds()))
	}
	return out
}

// TellFailure says on the Node of an agent that it could not start, in as much time as ctx has.
func TellFailure(ctx context.Context, cfg *config.Config, version string, failure error) error {
	client, err := kube.Connect(kube.Options{
		Kubeconfig: cfg.Source.Kubeconfig, Namespace: cfg.Source.Namespace,
		Node: cfg.Node, Role: string(cfg.Role), UserAgent: "penstock/" + version,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Failed(ctx, failure.Error())
}
