package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/maps"
)

// pass carries out what changed since the last one or, if it is to be the whole, all that is
// wanted. Until the source has synced once there is no wanted state, and what is in force stays.
func (a *Agent) pass(ctx context.Context, whole bool) {
	began := time.Now()
	a.watchdog.Begin(began)
	defer a.watchdog.End()
	site, err := a.site()
	if err != nil {
		a.ledger.Settle()
		a.update(func(s *api.Status) {
			s.Sync.Errors++
			s.Sync.Error, s.Sync.NextAttempt = err.Error(), a.schedule(true)
		})
		return
	}
	delta, synced := a.deps.Source.Delta()
	a.problems = delta.Problems
	if !synced {
		a.update(func(s *api.Status) { s.Source.Problems = nonNil(delta.Problems) })
		return
	}
	if a.seePeers(delta) {
		whole, site.Peers = true, peerAddresses(a.cfg, a.peering.set)
	}
	change := a.learn(ctx, delta, site, began)
	a.seeNodes(delta)
	a.life.begin(&change, began)
	if a.steer(began) || whole || a.shaken || !a.reconciler.synced || !a.follow(ctx, change, began) {
		a.everything(ctx, began)
	}
	a.remember(began)
}

// everything compares all that is wanted with all that is there.
func (a *Agent) everything(ctx context.Context, began time.Time) {
	want := a.model.State()
	want.Services = a.history.Observe(began, want.Services)
	a.named = map[string][]string{}
	for _, s := range want.Services {
		name := desired.ServiceOf(s.Name)
		a.named[name] = append(a.named[name], s.Name)
	}
	peersErr := a.syncPeers(ctx)
	out := a.reconciler.apply(ctx, want, func() block { return a.attach(began) })
	a.block, a.bypassed = out.block, a.worded(out.bypassed)
	a.report(want, out, peersErr, nil)
	a.shown.reset(a, want, out.vips)
	a.finish(want, out, peersErr, began)
	a.tellCluster(nil)
}

// follow carries out a change, and reports false where it takes more than that.
func (a *Agent) follow(ctx context.Context, change desired.Change, began time.Time) bool {
	p := a.part(change, began)
	out, enough := a.reconciler.follow(ctx, p, a.block, func() block { return a.attach(began) })
	if !enough {
		return false
	}
	a.bypassed = slices.DeleteFunc(slices.Clone(a.bypassed), func(b api.BypassStatus) bool { return change.Services[b.Service] })
	a.bypassed = append(a.bypassed, a.worded(out.bypassed)...)
	slices.SortFunc(a.bypassed, func(a, b api.BypassStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Interface, b.Interface))
	})
	want := p.fabric
	for name := range change.Services {
		want.Reasons = append(want.Reasons, a.model.Reasons(name)...)
	}
	for _, addr := range p.gone {
		a.unwanted(addr)
	}
	concerned := a.concerned(change, out.vips)
	a.report(want, out, nil, change.Services)
	a.shown.follow(a, p, change, out.vips)
	a.finish(want, out, nil, began)
	a.tellCluster(concerned)
	return true
}

// attach sees to the interfaces, and says what may not be announced.
func (a *Agent) attach(now time.Time) block {
	a.attachErr = a.attachments.ensure(a.cfg.Datapath.Interfaces, now)
	return a.blocked()
}

// finish schedules what failed, and publishes the pass.
func (a *Agent) finish(want desired.State, out outcome, peersErr error, began time.Time) {
	err := errors.Join(out.err, peersErr)
	a.shaken = err != nil
	next := a.schedule(errors.Join(err, a.attachErr) != nil || len(a.reconciler.failed) > 0)
	a.publish(want, err, began, next)
}

func (a *Agent) worded(bypassed []api.BypassStatus) []api.BypassStatus {
	for i := range bypassed {
		bypassed[i].Text = a.bypass(bypassed[i])
	}
	return bypassed
}

// blocked says what may not be announced.
func (a *Agent) blocked() block {
	a.forwarding = system.ForwardingOff(a.deps.System, a.model.Families(), a.attachments.status(), "replies")
	b := block{forwarding: a.forwarding, device: a.attachments.deviceName}
	if c, known := a.attachments.coverage(); known {
		b.coverage = &c
	}
	switch {
	case a.attachments.attached() == 0:
		b.all = NoInterface
	case len(a.peering.set.Peers) == 0:
		b.all, b.detail = NoPeers, a.peering.set.Why(a.peering.node.Name)
	}
	return b
}

// schedule sets the time of the next attempt after a failure; zero without one.
func (a *Agent) schedule(failed bool) time.Time {
	a.retry.Stop()
	if !failed {
		a.backoff.Reset()
		return time.Time{}
	}
	delay := a.backoff.Next()
	a.retry.Reset(delay)
	return time.Now().Add(delay)
}

// report logs what is new since the last pass. The source logs its own problems. Where
// some Services are named, the others' problems are as they were.
func (a *Agent) report(want desired.State, out outcome, peersErr error, only map[string]bool) {
	if only != nil {
		others := func(kind, name string) bool {
			of, _, _ := strings.Cut(name, " ")
			return kind == "object" && !only[of]
		}
		a.ledger.Keep(others)
		a.remarks.Keep(others)
	}
	for _, r := range want.Reasons {
		book := a.ledger
		if r.Foreign() || r.Reason == desired.AddressPending || r.Reason == desired.NotAdvertised {
			book = a.remarks
		}
		book.Note("object", strings.TrimSpace(r.Service+" "+r.Subject), fmt.Sprintf("%s: %s", r.Reason, r.Detail))
	}
	for name, err := range a.reconciler.failed {
		a.ledger.Note("service", name, err.Error())
	}
	for what, err := range map[string]error{"sync": out.err, "peers": peersErr, "attach": a.attachErr, "probe": a.life.probeErr} {
		if err != nil {
			a.ledger.Note("step", what, err.Error())
		}
	}
	for _, p := range want.Problems {
		a.ledger.Note("node", p.Name+" "+p.Field, p.String())
	}
	for _, p := range a.peering.set.Problems {
		a.ledger.Note("peer", p.Peer, p.Text)
	}
	for _, w := range a.reconciler.tables.Warnings() {
		a.ledger.Note("chains", w.Service, w.Err.Error())
	}
	for _, f := range a.forwarding {
		a.ledger.Note("family", f.Family, f.Text)
	}
	for _, b := range a.bypassed {
		a.ledger.Note("service", b.Service+" by "+b.Interface, b.Text)
	}
	a.ledger.Settle()
	a.remarks.Settle()
	a.tellTrouble()
	a.reportVIPs(out.vips, only == nil)
}

// tellTrouble has the Node object say what keeps the program from devices.
func (a *Agent) tellTrouble() {
	now := text(a.attachErr)
	if a.deps.Cluster != nil && now != "" && now != a.troubled && !a.ending {
		a.deps.Cluster.Trouble(kube.AttachFailed, "lb", now)
	}
	a.troubled = now
}

// reportVIPs logs what became of VIPs: of all that there are, or of some.
func (a *Agent) reportVIPs(vips []verdict, all bool) {
	now := make(map[netip.Addr]bool, len(vips))
	for _, v := range vips {
		now[v.Addr] = true
		before, known := a.announced[v.Addr]
		a.announced[v.Addr] = v
		switch {
		case v.announced && !before.announced:
			a.log.Info("VIP announced", "vip", v.Addr)
		case !v.announced && (!known || before.Reason != v.Reason):
			about := []any{"vip", v.Addr, "reason", v.Reason}
			if v.Detail != "" {
				about = append(about, "detail", v.Detail)
			}
			a.log.Info("VIP not announced", about...)
		}
	}
	for vip := range a.announced {
		if all && !now[vip] {
			a.unwanted(vip)
		}
	}
}

func (a *Agent) unwanted(vip netip.Addr) {
	if _, known := a.announced[vip]; known {
		a.log.Info("VIP no longer wanted", "vip", vip)
		delete(a.announced, vip)
	}
	a.life.forget(vip)
}

// publish makes a pass visible to readers.
func (a *Agent) publish(want desired.State, err error, began, next time.Time) {
	warnings := slices.Concat(a.cfg.Warnings(), system.Warnings(a.deps.System, a.attachments.status()), a.tunnelWarnings(want), a.capacityWarnings(), control.TenureWarnings(a.cfg, a.deps.Cluster, leaveMargin))
	tunnels := a.tunnels(want)
	usage, usageErr := a.reconciler.tables.Usage()
	if usageErr != nil {
		a.log.Debug("usage of the tables", "err", usageErr)
	}
	a.update(func(s *api.Status) {
		s.Datapath.Usage = usage
		if s.State == api.Starting && a.reconciler.synced {
			s.State = api.Running
		}
		s.Source.Synced = true
		s.Source.Problems = slices.Concat(nonNil(a.problems), want.Problems)
		s.Tunnels, s.Warnings = tunnels, warnings
		s.BGP.Problems = a.peering.set.Problems
		s.Datapath.Interfaces = a.attachments.status()
		s.Datapath.Forwarding, s.Datapath.Bypassed = a.forwarding, a.bypassed
		s.Sync.Synced = a.reconciler.synced
		s.Sync.At = began
		s.Sync.Duration = time.Since(began).Seconds()
		s.Sync.TotalDuration += s.Sync.Duration
		s.Sync.Passes++
		if err != nil || len(a.reconciler.failed) > 0 {
			s.Sync.Errors++
		}
		s.Sync.Error = text(err)
		s.Sync.NextAttempt = next
	})
}

func (a *Agent) serviceStatus(s maps.Service) api.ServiceStatus {
	_, written := a.reconciler.written[s.Name]
	err := a.reconciler.failed[s.Name]
	return api.ServiceStatus{
		Name: s.Name, Frontends: nonNil(s.Frontends), Backends: len(s.Backends),
		InKernel: written, Error: text(err),
	}
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
