package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/maps"
)

// pass carries the whole wanted state out once. Until the source has synced there
// is no wanted state, and what is in force stays.
func (a *Agent) pass(ctx context.Context) {
	began := time.Now()
	a.busy.Store(began.UnixNano())
	defer a.busy.Store(0)
	snapshot, synced := a.deps.Source.Snapshot()
	if !synced {
		a.update(func(s *api.Status) { s.Source.Problems = nonNil(snapshot.Problems) })
		return
	}
	site, err := a.site()
	if err != nil {
		a.ledger.Settle()
		a.update(func(s *api.Status) { s.Sync.Error, s.Sync.NextAttempt = err.Error(), a.schedule(true) })
		return
	}
	want := a.want(ctx, snapshot, site, began)
	peersErr := a.syncPeers(ctx)
	out := a.apply(ctx, want, func() block {
		a.attachErr = a.attachments.ensure(a.cfg.Datapath.Interfaces, began)
		return a.blocked(want.VIPs)
	})
	if !a.draining {
		a.bypassed = out.bypassed
		for i := range a.bypassed {
			a.bypassed[i].Text = a.bypass(a.bypassed[i])
		}
	}
	a.report(want, out, peersErr)
	next := a.schedule(errors.Join(out.err, peersErr, a.attachErr) != nil || len(a.reconciler.failed) > 0)
	a.publish(snapshot, want, out, errors.Join(out.err, peersErr), began, next)
	a.remember(began)
}

// apply leaves the routers alone once they have been told to send elsewhere.
func (a *Agent) apply(ctx context.Context, want desired.State, attach func() block) outcome {
	if a.draining {
		return outcome{vips: judgeAll(want.VIPs, Draining), err: a.reconciler.sync(ctx, want, want.Services)}
	}
	return a.reconciler.apply(ctx, want, attach)
}

func (a *Agent) syncPeers(ctx context.Context) error {
	if !a.peersPending {
		return nil
	}
	if err := a.reconciler.speaker.SetPeers(ctx, peers(a.cfg)); err != nil {
		return fmt.Errorf("change BGP peers: %w", err)
	}
	a.peersPending = false
	return nil
}

// blocked says what may not be announced.
func (a *Agent) blocked(vips []desired.VIP) block {
	a.forwarding = system.ForwardingOff(a.deps.System, families(vips), a.attachments.status(), "replies")
	b := block{forwarding: a.forwarding, device: a.attachments.deviceName}
	if c, known := a.attachments.coverage(); known {
		b.sees = c.sees
	}
	switch {
	case a.attachments.attached() == 0:
		b.all = NoInterface
	case len(a.cfg.BGP.Peers) == 0:
		b.all = NoPeers
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

// report logs what is new since the last pass. The source logs its own problems.
func (a *Agent) report(want desired.State, out outcome, peersErr error) {
	for _, r := range want.Reasons {
		book := a.ledger
		if r.Reason == desired.OtherClass {
			book = a.remarks
		}
		book.Note("object", strings.TrimSpace(r.Service+" "+r.Subject), fmt.Sprintf("%s: %s", r.Reason, r.Detail))
	}
	for name, err := range a.reconciler.failed {
		a.ledger.Note("service", name, err.Error())
	}
	for what, err := range map[string]error{"sync": out.err, "peers": peersErr, "attach": a.attachErr} {
		if err != nil {
			a.ledger.Note("step", what, err.Error())
		}
	}
	for _, p := range want.Problems {
		a.ledger.Note("object", p.Kind+" "+p.Name+" "+p.Field, p.String())
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
	a.reportVIPs(out.vips)
}

func (a *Agent) reportVIPs(vips []verdict) {
	now := make(map[string]verdict, len(vips))
	for _, v := range vips {
		vip := v.Addr.String()
		now[vip] = v
		before, known := a.announced[vip]
		switch {
		case v.announced && !before.announced:
			a.log.Info("VIP announced", "vip", vip)
		case !v.announced && (!known || before.Reason != v.Reason):
			about := []any{"vip", vip, "reason", v.Reason}
			if v.Detail != "" {
				about = append(about, "detail", v.Detail)
			}
			a.log.Info("VIP not announced", about...)
		}
	}
	for vip := range a.announced {
		if _, still := now[vip]; !still {
			a.log.Info("VIP no longer wanted", "vip", vip)
		}
	}
	a.announced = now
}

// publish makes a pass visible to readers.
func (a *Agent) publish(snapshot desired.Snapshot, want desired.State, out outcome, err error, began, next time.Time) {
	vips := make([]api.VIPStatus, len(out.vips))
	for i, v := range out.vips {
		vips[i] = api.VIPStatus{
			VIP: v.Addr, Prefix: v.Path.Prefix, Announced: v.announced, Reason: v.Reason, Detail: v.Detail,
			Services: nonNil(v.Services),
		}
	}
	services := make([]api.ServiceStatus, len(want.Services))
	for i, s := range want.Services {
		services[i] = a.serviceStatus(s)
	}
	warnings := slices.Concat(a.cfg.Warnings(), system.Warnings(a.deps.System, a.attachments.status()), a.tunnelWarnings(want))
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
		s.Source.Problems = slices.Concat(nonNil(snapshot.Problems), want.Problems)
		s.Tunnels, s.Backends = tunnels, want.Backends
		s.VIPs, s.Services, s.Reasons, s.Warnings = vips, services, nonNil(want.Reasons), warnings
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

// families tells which address families have a VIP.
func families(vips []desired.VIP) map[string]bool {
	has := map[string]bool{}
	for _, v := range vips {
		has[system.FamilyOf(v.Addr)] = true
	}
	return has
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
