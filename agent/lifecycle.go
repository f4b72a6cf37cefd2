package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/damping"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/maps"
)

// Reasons of a VIP that come of what this node has done and seen over time.
const (
	Draining    desired.Reason = "Draining"      // this node drains; in force while its stage is gracefulShutdown
	WarmingUp   desired.Reason = "WarmingUp"     // in force as the last choice, for this node has just started
	Damped      desired.Reason = "Damped"        // it was withdrawn too often lately
	ProbeFailed desired.Reason = api.ProbeFailed // the loaded program does not forward to it
)

// probeAgain is when a VIP is tried again that the program does not forward to; a pass that
// changes its tables tries it before.
const probeAgain = 5 * time.Second

// lifecycle has the last word on VIPs that could be announced. Only the loop uses it.
//
// A VIP that is to be announced while the node drains is announced as the last choice, or not
// at all. Else the program is asked whether it forwards, and a VIP that was withdrawn too often
// has to wait.
type lifecycle struct {
	cfg   *config.Config // as in force
	probe func(maps.Service, maps.Frontend) (maps.ProbeResult, error)

	drain  drain.State
	saved  drain.Saved
	node   *drain.Ask  // the Node object's
	ending *drain.Ask  // SIGTERM's
	asks   []drain.Ask // of all, as of the last steer

	fresh bool      // the data path did not forward before this process
	warm  time.Time // since when there is something announced; zero before

	damper   *damping.Damper[netip.Addr]
	up       map[netip.Addr]bool      // VIPs that could be announced when they were last judged
	held     map[netip.Addr]time.Time // when those that are held back are to be judged again
	probeErr error                    // why nothing could be tried, in this pass
}

func newLifecycle(cfg *config.Config) *lifecycle {
	return &lifecycle{
		cfg: cfg, damper: damping.New[netip.Addr](), up: map[netip.Addr]bool{}, held: map[netip.Addr]time.Time{},
	}
}

// judge decides on a VIP; on are the services that the tables have on it, if it could be
// announced.
func (l *lifecycle) judge(v verdict, on []maps.Service) verdict {
	now := time.Now()
	delete(l.held, v.Addr)
	switch {
	case v.Reason != desired.Announceable:
		l.lose(v.Addr, now)
		return v
	case l.drain.Stage == drain.Withdrawn:
		delete(l.up, v.Addr) // what comes and goes now, no router hears of
		v.Reason, v.Detail = l.whyWithdrawn()
		return v
	case l.drain.Stage == drain.GracefulShutdown && l.up[v.Addr]: // a probe would count as traffic
	default:
		if why := l.refusal(v.Addr, on); why != "" {
			l.lose(v.Addr, now)
			l.held[v.Addr] = now.Add(probeAgain)
			v.Reason, v.Detail = ProbeFailed, why
			return v
		}
	}
	l.up[v.Addr] = true
	if until, losses := l.damper.Suppressed(v.Addr, dampingOptions(l.cfg), now); l.cfg.BGP.Damping.Enabled && !until.IsZero() {
		l.held[v.Addr] = until
		v.Reason, v.Detail = Damped, fmt.Sprintf("until %s, after it was withdrawn %d times", until.UTC().Format(time.RFC3339), losses)
		return v
	}
	return l.dress(v, now)
}

// dress gives an announced VIP's path what routers choose by.
func (l *lifecycle) dress(v verdict, now time.Time) verdict {
	if l.fresh && l.warm.IsZero() {
		l.warm = now
	}
	d := drainOptions(l.cfg)
	switch {
	case l.drain.Stage == drain.GracefulShutdown:
		v = lastChoice(v, d)
		v.as, v.Detail = Draining, l.stage()
	case l.warming(now):
		v = lastChoice(v, d)
		v.as = WarmingUp
		v.Detail = "until " + l.warm.Add(l.cfg.BGP.Warmup).UTC().Format(time.RFC3339)
	}
	return v
}

// lastChoice is v by paths that routers take if there is no other, its aggregates too.
func lastChoice(v verdict, d drain.Options) verdict {
	v.Path = d.Path(v.Path)
	v.Aggregates = slices.Clone(v.Aggregates)
	for i := range v.Aggregates {
		offer := &v.Aggregates[i].Offer
		offer.Attributes = d.Attributes(offer.Attributes)
	}
	return v
}

// warming tells whether routes are to be the last choice as this node has just started.
func (l *lifecycle) warming(now time.Time) bool {
	return l.fresh && !l.warm.IsZero() && now.Before(l.warm.Add(l.cfg.BGP.Warmup))
}

// refusal asks the program, and says why it does not forward to a VIP; "" if it does so for one
// of its services. Where it cannot be asked, nothing is held back for it.
func (l *lifecycle) refusal(vip netip.Addr, on []maps.Service) (why string) {
	for _, s := range on {
		for _, f := range s.Frontends {
			if f.VIP != vip {
				continue
			}
			r, err := l.probe(s, f)
			if err != nil {
				l.probeErr = err
			}
			if err != nil || r.Forwards {
				return ""
			}
			why = fmt.Sprintf("the loaded program answers a packet to %s with %s", f, r.Verdict)
			break
		}
	}
	return why
}

// lose notes that a VIP cannot be announced that could. Withdrawing it waits for nothing.
func (l *lifecycle) lose(vip netip.Addr, now time.Time) {
	if l.up[vip] && l.cfg.BGP.Damping.Enabled {
		l.damper.Lose(vip, dampingOptions(l.cfg), now)
	}
	delete(l.up, vip)
}

// forget is for a VIP that nobody wants any more. Its penalty stays, should it come back.
func (l *lifecycle) forget(vip netip.Addr) {
	delete(l.up, vip)
	delete(l.held, vip)
}

// begin begins a pass: it adds the VIPs to the change whose time has come.
func (l *lifecycle) begin(change *desired.Change, now time.Time) {
	l.probeErr = nil
	if !l.cfg.BGP.Damping.Enabled {
		l.damper.Reset()
	}
	l.damper.Prune(dampingOptions(l.cfg), now)
	for vip, at := range l.held {
		if !now.Before(at) {
			change.VIPs[vip] = true
		}
	}
}

// next is when time alone changes what judge says; zero: never.
func (l *lifecycle) next(now time.Time) (first time.Time) {
	for _, at := range l.held {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if l.warming(now) {
		if end := l.warm.Add(l.cfg.BGP.Warmup); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}
