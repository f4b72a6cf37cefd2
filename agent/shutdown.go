package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

const (
	stopTimeout = 5 * time.Second        // for the routers to be told
	drainPoll   = 200 * time.Millisecond // between two looks at the counters
	drainQuiet  = time.Second            // without a packet until traffic counts as gone
)

// shutdown ends as configured. Either way program and tables stay pinned: after
// a drain they carry the stragglers, after a restart they carry everything.
func (a *Agent) shutdown(ctx context.Context) error {
	mode := bgp.StopDrain
	if a.cfg.Shutdown == config.ShutdownRestart {
		mode = bgp.StopRestart
	}
	a.log.Info("shutting down", "mode", a.cfg.Shutdown)
	a.update(func(s *api.Status) { s.State = api.Draining })
	a.draining = true
	err := a.stopSpeaker(ctx, mode)
	if mode == bgp.StopDrain && a.reconciler.synced {
		a.drain(ctx)
	}
	return err
}

func (a *Agent) stopSpeaker(ctx context.Context, mode bgp.StopMode) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := a.reconciler.speaker.Stop(ctx, mode, "the agent of node "+a.cfg.Node+" ends"); err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}

// drain keeps the tables up to date until no traffic arrives any more, at most
// for drainTimeout.
func (a *Agent) drain(ctx context.Context) {
	began := time.Now()
	deadline := time.NewTimer(a.cfg.DrainTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	last, since := a.forwarded(), began
	a.pass(ctx, true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			a.log.Warn("drained for as long as drainTimeout allows, traffic still arrives", "timeout", a.cfg.DrainTimeout)
			return
		case <-poll.C:
			now := a.forwarded()
			if now != last {
				last, since = now, time.Now()
			} else if time.Since(since) >= drainQuiet {
				a.log.Info("drained", "after", time.Since(began).Round(time.Millisecond))
				return
			}
		case <-a.deps.Source.Changed():
			a.pass(ctx, true)
		case <-a.deps.Resolver.Changed():
			a.pass(ctx, true)
		case <-a.deps.Prober.Changed():
			a.pass(ctx, true)
		case <-a.due.C:
			a.pass(ctx, true)
		case <-a.retry.C:
			a.pass(ctx, true)
		}
	}
}

// forwarded counts the packets that were carried either way. While the counters
// cannot be read traffic counts as moving, so that the timeout decides.
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
		if v.Action == "forward" || v.Action == "encap" || v.Action == "reply" {
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
