package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bpf"
)

// reload takes over what changed in the configuration and applies live. What
// needs a restart is named and left as it was; the next pass does the rest.
func (a *Agent) reload() {
	now := time.Now()
	if err := a.deps.Configs.Err(); err != nil {
		a.update(func(s *api.Status) {
			s.Config.Error, s.Config.ErrorAt = err.Error(), now
			s.Config.Failures++
		})
		return
	}
	next := a.deps.Configs.Config()
	live := keys(config.Diff(a.cfg, next).Live)
	restart := keys(config.Diff(a.booted, next).Restart)
	a.cfg = next
	a.configure()
	a.deps.Level.Set(next.Log.Level)
	if slices.ContainsFunc(live, func(key string) bool { return strings.HasPrefix(key, "bgp.peers") }) {
		a.peersPending = true
	}
	if len(live) > 0 {
		a.log.Info("configuration reloaded", "applied", live)
	}
	if len(restart) > 0 {
		a.log.Warn("restart the agent to apply the rest of the configuration", "keys", restart)
	}
	a.update(func(s *api.Status) {
		s.Config.Loaded, s.Config.Error, s.Config.ErrorAt = now, "", time.Time{}
		s.Config.Restart = restart
		s.Config.Reloads++
	})
}

// configure hands on what others need of the configuration. It is valid.
func (a *Agent) configure() {
	a.lbNodes, _ = config.ParseSelector(a.cfg.LBNodes)
	if a.deps.Cluster != nil {
		a.deps.Cluster.Configure(a.cfg)
	}
}

func keys(changes []config.Change) []string {
	out := make([]string, len(changes))
	for i, c := range changes {
		out[i] = c.Key
	}
	return out
}

func modeOf(c *config.Config) bpf.Mode { return bpf.Mode(c.Datapath.Mode) }
