// Package cluster joins what an agent does with the API server: its source of objects,
// the reports that it writes, and the allocation of addresses, if it is an LB node's.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
)

// Cluster is one agent's way to the API server. Its methods may be called concurrently,
// and none but Run waits for an answer.
type Cluster struct {
	client     *kube.Client
	source     *kube.Source
	copied     *Copy // nil: no copy of the source's objects is kept
	reporter   *kube.Reporter
	controller *kube.Controller // nil: this role allocates no addresses
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
