package node

import (
	"errors"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/system"
)

// update changes the published status. Slices in it are replaced, never written to,
// because readers share them.
func (a *Agent) update(change func(*api.Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
}

// Status returns what the last pass published.
func (a *Agent) Status() api.Status {
	a.mu.RLock()
	s := a.status
	a.mu.RUnlock()
	s.VIPs, s.Services, s.Reasons = []api.VIPStatus{}, []api.ServiceStatus{}, []desired.ServiceReason{}
	s.Source.Problems, s.Datapath.Interfaces = nonNil(s.Source.Problems), nonNil(s.Datapath.Interfaces)
	s.BGP.Peers = a.Peers()
	s.Warnings = slices.Clone(s.Warnings)
	if a.deps.Cluster != nil {
		link := a.deps.Cluster.Link()
		s.Source.API = &link
	}
	if events, err := a.events(); err == nil {
		ingress := *s.Ingress
		ingress.Events, s.Ingress = events, &ingress
	}
	s.Assess()
	return s
}

// report logs what is new since the last pass. The source logs its own problems.
func (a *Agent) report(out outcome) {
	for _, p := range out.Problems {
		a.ledger.Note("object", p.Kind+" "+p.Name+" "+p.Field, p.String())
	}
	for what, err := range map[string]error{"addresses": out.own, "sync": out.sync, "attach": out.attach} {
		if err != nil {
			a.ledger.Note("step", what, err.Error())
		}
	}
	for _, f := range out.forwarding {
		a.ledger.Note("family", f.Family, f.Text)
	}
	for _, text := range out.ingress.Obstacles() {
		a.ledger.Note("step", "tunnels", text)
	}
	if a.quiet(out) {
		a.ledger.Note("step", "probes", a.seen.quiet)
	}
	a.ledger.Settle()
	now := text(out.attach)
	if a.deps.Cluster != nil && now != "" && now != a.troubled {
		a.deps.Cluster.Trouble(kube.AttachFailed, "backend", now)
	}
	a.troubled = now
}

// quiet tells whether no probe comes in where some should: no obstacle says why.
func (a *Agent) quiet(out outcome) bool {
	return a.seen.quiet != "" && len(out.ingress.Obstacles()) == 0
}

// publish makes a pass visible to readers.
func (a *Agent) publish(delta desired.Delta, out outcome, began, next time.Time) {
	warnings := append(a.cfg.Warnings(), control.TenureWarnings(a.cfg, a.deps.Cluster, leaveMargin)...)
	if len(a.uplinks.attached()) > 1 { // a client's packet may come by another one than its reply leaves by
		warnings = append(warnings, system.Warnings(a.deps.System, a.uplinks.status())...)
	}
	if a.quiet(out) {
		warnings = append(warnings, a.seen.quiet)
	}
	flows, flowsErr := a.tables.Flows()
	err := text(errors.Join(out.own, out.sync))
	a.update(func(s *api.Status) {
		if s.State == api.Starting && a.synced {
			s.State = api.Running
		}
		s.Source.Synced = true
		s.Source.Problems = slices.Concat(delta.Problems, out.Problems)
		s.Warnings = warnings
		s.Ingress = &out.ingress
		s.Datapath.Interfaces, s.Datapath.Forwarding = a.uplinks.status(), out.forwarding
		if flowsErr == nil && s.Datapath.SweptAt.IsZero() {
			s.Datapath.Flows, s.Datapath.SweptAt = flows, began
		}
		s.Sync.Synced = a.synced
		s.Sync.At = began
		s.Sync.Duration = time.Since(began).Seconds()
		s.Sync.TotalDuration += s.Sync.Duration
		s.Sync.Passes++
		if err != "" {
			s.Sync.Errors++
		}
		s.Sync.Error, s.Sync.NextAttempt = err, next
	})
}

// reload takes over what changed in the configuration and applies live. What needs a
// restart is named and left as it was; the next pass does the rest.
func (a *Agent) reload() {
	r := control.Reload(a.deps.Configs, a.booted, a.cfg, a.deps.Level, a.log)
	a.cfg = r.Config
	a.lbNodes, _ = config.ParseSelector(a.cfg.LBNodes) // it is valid
	a.linger.update(a.linger.nodes, a.lbNodes, time.Now())
	if a.deps.Cluster != nil && r.Refused != "" {
		a.deps.Cluster.Trouble(kube.ConfigRefused, "backend", r.Refused)
	}
	a.update(func(s *api.Status) { r.Note(&s.Config) })
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// tellNode publishes this node as the last pass left it.
func (a *Agent) tellNode() {
	if a.deps.Cluster == nil {
		return
	}
	p := desired.Published{Version: a.deps.Version, TunnelPort: a.booted.Tunnel.Port, Datapath: api.Datapaths(a.uplinks.status())}
	switch {
	case !a.synced:
		p.Reason = "its tables are not written yet"
	case len(a.uplinks.attached()) == 0:
		p.Reason = "its programs are attached to no interface"
	default:
		p.Ready = true
	}
	a.deps.Cluster.Node(p)
}
