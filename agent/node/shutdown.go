package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/control"
	"github.com/penstock-lb/penstock/agent/tenure"
)

// An ingress node that is left for good goes on until nobody sends to it any more.
const (
	leavePoll = 200 * time.Millisecond
	// companions is what LB nodes' agents have to say that they leave too, where the whole of
	// Penstock does: what is sent here by flows that live is theirs to end.
	companions = 5 * time.Second
	// lbMargin is what they take beside drainTimeout.
	lbMargin = 15 * time.Second
	// silence is how long nothing must have come out of a tunnel, and hearing how long that is
	// waited for at most, once LB nodes have been told that there is none to this node.
	silence, hearing = 2 * time.Second, 8 * time.Second

	leaveMargin = lbMargin + control.ForgetTimeout + hearing + 2*time.Second
)

// shutdown ends at once, with the programs in place, unless this node is left for good.
func (a *Agent) shutdown(ctx context.Context) error {
	v := tenure.Verdict{Outcome: tenure.Restart, Why: "shutdown is " + string(a.cfg.Shutdown)}
	if a.cfg.Shutdown == config.ShutdownAuto {
		v = control.Outcome(ctx, a.cfg, a.deps.Cluster)
	}
	a.log.Info("shutting down", "mode", a.cfg.Shutdown, "outcome", v.Outcome, "why", v.Why)
	if v.Outcome != tenure.Leave {
		a.log.Info("ended; the programs stay attached and forward on", "interfaces", a.uplinks.attached())
		return nil
	}
	a.leaving = true
	a.update(func(s *api.Status) { s.State = api.Draining })
	if v.Whole {
		a.awaitLBs(ctx)
	}
	err := control.Forget(ctx, a.deps.Cluster)
	if err != nil {
		err = fmt.Errorf("LB nodes have not been told that this node leaves: %w", err)
	}
	a.awaitSilence(ctx)
	devices, removeErr := a.datapath.Remove()
	if removeErr == nil {
		a.log.Info("left for good: nothing is attached or pinned any more", "interfaces", devices)
	}
	return errors.Join(err, removeErr)
}

// awaitLBs keeps this node as it should be until the LB nodes that leave too have drained. They
// take their own annotation back in the end. One that stays is not waited for.
func (a *Agent) awaitLBs(ctx context.Context) {
	began := time.Now()
	poll := time.NewTicker(leavePoll)
	defer poll.Stop()
	for {
		all, leaving := a.senders()
		waited := time.Since(began)
		switch {
		case all == 0, leaving == 0 && waited >= companions:
			return
		case waited >= a.cfg.DrainTimeout+lbMargin:
			a.log.Warn("LB nodes that leave too have not come to their end in time", "nodes", leaving)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-a.deps.Source.Changed():
			a.pass(ctx)
		case <-a.retry.C:
			a.pass(ctx)
		}
	}
}

// senders counts the other LB nodes, and those of them that are about to leave for good.
func (a *Agent) senders() (all, leaving int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, n := range a.status.Nodes {
		if n.Role != string(config.RoleLB) || n.Name == a.booted.Node {
			continue
		}
		all++
		if n.Published != nil && n.Published.Leaving {
			leaving++
		}
	}
	return all, leaving
}

// awaitSilence leaves the tables as they are: by them this node takes what is still sent to it,
// although it is no ingress node any more.
func (a *Agent) awaitSilence(ctx context.Context) {
	began := time.Now()
	if all, _ := a.senders(); all == 0 {
		return
	}
	poll := time.NewTicker(leavePoll)
	defer poll.Stop()
	last, since := a.received(), began
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-poll.C:
			if n := a.received(); n != last {
				last, since = n, now
			}
			if now.Sub(since) >= silence {
				return
			}
			if now.Sub(began) >= hearing {
				a.log.Warn("packets still come out of tunnels; their flows end here")
				return
			}
		}
	}
}

// received counts what came out of tunnels for pods.
func (a *Agent) received() (n uint64) {
	verdicts, err := a.Verdicts()
	if err != nil {
		return 0
	}
	for _, v := range verdicts {
		if v.Action == "deliver" || v.Action == "bounce" {
			n += v.Packets
		}
	}
	return n
}
