package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/maps"
)

var _ api.Drainer = (*Agent)(nil)

// resume takes up a drain by command, and whether routers may have routes of the agent before.
func (a *Agent) resume(survived bool) {
	a.life.probe = a.probe
	saved, err := drain.Load(a.booted.DrainFile())
	if err != nil {
		a.log.Warn("drain", "err", err)
	}
	a.life.saved, a.life.fresh = saved, !survived || saved.Withdrawn
	if survived && !saved.Withdrawn {
		a.life.drain.Stage = drain.Announced
	}
}

// probe asks the program by the first device that it is attached to.
func (a *Agent) probe(s maps.Service, f maps.Frontend) (maps.ProbeResult, error) {
	for _, d := range a.attachments.devices {
		if d.Attached {
			return a.reconciler.tables.Probe(s, f, uint32(d.ifindex))
		}
	}
	return maps.ProbeResult{}, errors.New("the program is attached to no device")
}

// command waits for the loop.
type command struct {
	request *api.DrainRequest // nil: to end the drain
	answer  chan<- answer     // has room
}

type answer struct {
	status api.DrainStatus
	err    error
}

// Drain has this node drain until Undrain, over restarts of the agent.
func (a *Agent) Drain(ctx context.Context, r api.DrainRequest) (api.DrainStatus, error) {
	return a.command(ctx, &r)
}

// Undrain ends what Drain began.
func (a *Agent) Undrain(ctx context.Context) (api.DrainStatus, error) { return a.command(ctx, nil) }

func (a *Agent) command(ctx context.Context, r *api.DrainRequest) (api.DrainStatus, error) {
	answers := make(chan answer, 1)
	select {
	case a.commands <- command{r, answers}:
		ans := <-answers
		return ans.status, ans.err
	case <-ctx.Done():
		return api.DrainStatus{}, errors.New("the agent's loop is busy or has yet to begin; see 'penstock status', and ask again")
	}
}

var errEnding = errors.New("the agent is about to end, and withdraws its routes anyway; ask the next one")

// obey carries out a command, answers once what is to outlast the agent does, and tells whether
// that changes what is announced.
func (a *Agent) obey(c command, now time.Time) bool {
	saved, heir := a.life.saved, ""
	before := saved.Command
	saved.Command = nil
	if r := c.request; r != nil {
		fit, whyNot := a.successor(now)
		if fit == "" && !r.Force {
			c.answer <- answer{err: fmt.Errorf("node %s does not drain, as no other LB node could take over (%s); --force drains it nevertheless", a.cfg.Node, whyNot)}
			return false
		}
		heir = fit
		timeout := a.cfg.DrainTimeout
		if r.Timeout > 0 {
			timeout = time.Duration(r.Timeout * float64(time.Second))
		}
		why := r.Reason
		if why == "" && before != nil {
			why = before.Why // a second command may be for the timeout alone
		}
		saved.Command = &drain.Order{Why: why, Since: now.UTC(), Timeout: timeout.Seconds()}
	}
	if err := saved.Save(a.booted.DrainFile()); err != nil {
		c.answer <- answer{err: err}
		return false
	}
	a.life.saved = saved
	changed := a.steer(now)
	status := a.life.status()
	status.Successor = heir
	c.answer <- answer{status: status}
	return changed
}

// successor names an LB node that can take over.
func (a *Agent) successor(now time.Time) (fit, whyNot string) {
	if !a.reconciler.synced {
		return "", "the Nodes have not been read yet"
	}
	return a.model.Successor(now)
}

// steer moves the drain on, and tells whether that changes what is announced.
func (a *Agent) steer(now time.Time) bool {
	l := a.life
	before, who, wasWarming := l.drain.Stage, l.who(), a.warming
	l.node = asked(l.node, a.model.Fabric().Drain, now, a.cfg.DrainTimeout)
	l.asks = l.all()
	packets := uint64(0)
	if len(l.asks) > 0 {
		packets = a.forwarded()
	}
	l.drain = l.drain.Next(now, l.asks, packets)
	a.warming = l.warming(now)
	a.await(now)
	if l.drain.Stage != before {
		a.noteStage(before)
	}
	status := l.shown()
	a.update(func(s *api.Status) { s.Drain = status })
	return l.drain.Stage != before || l.who() != who || wasWarming && !a.warming
}

// asked keeps since when the Node has asked, whatever its words.
func asked(before *drain.Ask, why string, now time.Time, timeout time.Duration) *drain.Ask {
	if why == "" {
		return nil
	}
	ask := drain.Ask{By: drain.Node, Why: why, Since: now, Timeout: timeout}
	if before != nil {
		ask.Since = before.Since
	}
	return &ask
}

// all lists who has the node drain.
func (l *lifecycle) all() (asks []drain.Ask) {
	if l.saved.Command != nil {
		asks = append(asks, l.saved.Command.Ask())
	}
	for _, a := range []*drain.Ask{l.node, l.ending} {
		if a != nil {
			asks = append(asks, *a)
		}
	}
	return asks
}

// await looks again at traffic as long as the next stage waits for it.
func (a *Agent) await(now time.Time) {
	a.poll.Stop()
	if a.life.drain.Stage == drain.GracefulShutdown {
		a.poll.Reset(min(drainPoll, max(time.Millisecond, a.life.drain.Deadline.Sub(now))))
	}
}

// noteStage logs a stage, and remembers for the next agent what routers may have.
func (a *Agent) noteStage(before drain.Stage) {
	l := a.life
	level := a.log.Info
	if l.drain.Expired && l.drain.Stage == drain.Withdrawn {
		level = a.log.Warn
	}
	if before != "" || l.drain.Stage != drain.Announced {
		level("drain", "stage", l.drain.Stage, "by", l.asks, "expired", l.drain.Expired)
	}
	l.saved.Withdrawn = l.drain.Stage == drain.Withdrawn
	if err := l.saved.Save(a.booted.DrainFile()); err != nil {
		a.log.Warn("drain", "err", err)
	}
}

// whyWithdrawn gives the reason of VIPs of a node that drains.
func (l *lifecycle) whyWithdrawn() (desired.Reason, string) {
	if len(l.asks) == 1 && l.asks[0].By == drain.Node {
		return desired.NodeDrained, l.asks[0].Why
	}
	return Draining, l.stage()
}

// stage says how far the drain is, since when, and who wants it.
func (l *lifecycle) stage() string { return l.status().String() }

func (l *lifecycle) who() string { return l.status().By() }

func (l *lifecycle) status() api.DrainStatus {
	d := l.drain
	return api.DrainStatus{
		Stage: d.Stage, Since: d.Since, Began: d.Began, Deadline: d.Deadline, Expired: d.Expired,
		PacketsPerSecond: d.Rate, Asks: slices.Clone(l.asks),
	}
}

// shown is what the status has of a drain: nil without one.
func (l *lifecycle) shown() *api.DrainStatus {
	if len(l.asks) == 0 {
		return nil
	}
	s := l.status()
	return &s
}
