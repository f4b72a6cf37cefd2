package agent

import (
	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/bpf"
)

// reload takes over what changed in the configuration and applies live; the next pass does
// the rest.
func (a *Agent) reload() {
	r := control.Reload(a.deps.Configs, a.booted, a.cfg, a.deps.Level, a.log)
	a.cfg = r.Config
	a.configure()
	a.peering.doubt = true
	if a.deps.Cluster != nil && r.Refused != "" {
		a.deps.Cluster.Trouble(kube.ConfigRefused, "lb", r.Refused)
	}
	a.update(func(s *api.Status) {
		r.Note(&s.Config)
		a.inForce = config.InForce(a.booted, a.cfg)
	})
}

// InForce returns the configuration that the agent works with, without secrets.
func (a *Agent) InForce() config.Dump {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.inForce
}

// configure hands on what others need of the configuration. It is valid.
func (a *Agent) configure() {
	a.life.cfg = a.cfg
	a.lbNodes, _ = config.ParseSelector(a.cfg.LBNodes)
	if a.deps.Cluster != nil {
		a.deps.Cluster.Configure(a.cfg)
	}
}

func modeOf(c *config.Config) bpf.Mode { return bpf.Mode(c.Datapath.Mode) }
