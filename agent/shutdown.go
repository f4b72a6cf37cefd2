package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/agent/tenure"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

const (
	stopTimeout = 5 * time.Second        // for the routers to be told
	drainPoll   = 200 * time.Millisecond // between two looks at the counters
	stragglers  = 2 * time.Second        // for what is under way once the routes are withdrawn
)

// shutdown ends as configured. Unless that is for good, program and tables stay pinned: after
// a drain they carry the stragglers, after a restart they carry everything.
func (a *Agent) shutdown(ctx context.Context) error {
	v := control.Outcome(ctx, a.cfg, a.deps.Cluster)
	a.log.Info("shutting down", "mode", a.cfg.Shutdown, "outcome", v.Outcome, "why", v.Why)
	a.update(func(s *api.Status) { s.State = api.Draining })
	a.ending, a.leaving = true, v.Outcome == tenure.Leave
	if v.Outcome == tenure.Restart {
		return a.stopSpeaker(ctx, bgp.StopRestart)
	}
	if a.reconciler.synced {
		a.leave(ctx)
	}
	err := a.stopSpeaker(ctx, bgp.StopDrain)
	if a.leaving {
		err = errors.Join(err, a.remove(ctx))
	}
	return err
}

// leaveMargin is what an end for good takes at most beside drainTimeout.
const leaveMargin = stopTimeout + stragglers + control.ForgetTimeout + 3*time.Second

// remove takes away what this agent made of its node. Ingress nodes know it until its program is
// gone: what comes back from them is for flows that it has sent.
func (a *Agent) remove(ctx context.Context) error {
	devices, err := a.datapath.Remove()
	err = errors.Join(err, a.deps.Martians.Reset())
	if err == nil {
		a.log.Info("left for good: nothing is attached or pinned any more", "interfaces", devices)
	}
	return errors.Join(err, control.Forget(ctx, a.deps.Cluster))
}

func (a *Agent) stopSpeaker(ctx context.Context, mode bgp.StopMode) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := a.reconciler.speaker.Stop(ctx, mode, "the agent of node "+a.cfg.Node+" ends"); err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}

// leave drains this node, keeping the tables up to date, until the routes are withdrawn and
// nothing more arrives. The sessions stay: routers withdraw by them without a moment in which
// they have lost a peer.
func (a *Agent) leave(ctx context.Context) {
	began := time.Now()
	a.life.ending = &drain.Ask{By: drain.Shutdown, Why: "the agent ends", Since: began, Timeout: a.cfg.DrainTimeout}
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	a.pass(ctx, true)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-poll.C:
			if a.steer(now) {
				a.pass(ctx, true)
			}
			if d := a.life.drain; d.Stage == drain.Withdrawn && (d.Gone(now) || now.Sub(d.Since) >= stragglers) {
				a.left(now.Sub(began), d.Gone(now))
				return
			}
			continue
		case c := <-a.commands:
			c.answer <- answer{err: errEnding}
			continue
		case <-a.deps.Source.Changed():
		case <-a.deps.Resolver.Changed():
		case <-a.deps.Prober.Changed():
		case <-a.due.C:
		case <-a.retry.C:
		}
		a.pass(ctx, true)
	}
}

// left says how a drain ended.
func (a *Agent) left(after time.Duration, gone bool) {
	if !gone {
		a.log.Warn("drained for as long as drainTimeout allows, traffic still arrives", "timeout", a.cfg.DrainTimeout)
		return
	}
	a.log.Info("drained", "after", after.Round(time.Millisecond))
}

// forwarded counts the packets for VIPs that were carried either way, or answered. While the
// counters cannot be read traffic counts as moving, so that the timeout decides.
func (a *Agent) forwarded() uint64 {
	verdicts, err := a.Verdicts()
	if err != nil {
		return uint64(time.Now().UnixNano())
	}
	return carriedPackets(verdicts)
}

func carriedPackets(verdicts []maps.VerdictCount) uint64 {
	var sum uint64
	for _, v := range verdicts {
		switch v.Action {
		case "forward", "encap", "reply", "icmp":
			sum += v.Packets
		}
	}
	return sum
}

// mute is the speaker of a node without BGP.
type mute struct{}

func (mute) Run(ctx context.Context) error                    { <-ctx.Done(); return nil }
func (mute) Sync(context.Context, []bgp.Path) error           { return nil }
func (mute) Changed() <-chan struct{}                         { return nil }
func (mute) Peers() []bgp.PeerState                           { return []bgp.PeerState{} }
func (mute) Routes() []bgp.Route                              { return []bgp.Route{} }
func (mute) Stop(context.Context, bgp.StopMode, string) error { return nil }
func (mute) SetPeers(_ context.Context, p []bgp.Peer) error {
	if len(p) > 0 {
		return errors.New("the agent was started without bgp.asn; restart it")
	}
	return nil
}
