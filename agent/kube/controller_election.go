package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// errExpired says that this agent may lead no more.
var errExpired = errors.New("the leader's lease has not been renewed in time")

// campaign takes part in the election until ctx ends, or until this agent has led and does
// not any more. When ctx ends, the term ends first and then the lease is given back, so
// that the next leader need not wait for it to expire.
func (c *Controller) campaign(ctx context.Context) error {
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		if self, _ := c.Leader(); !self {
			stop()
		}
	})()
	var elector *leaderelection.LeaderElector
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: LeaderLease,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.opts.Namespace, Name: LeaderLease},
			Client:     c.set.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.opts.Identity},
		},
		LeaseDuration: c.opts.LeaseDuration, RenewDeadline: c.opts.RenewDeadline, RetryPeriod: c.opts.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(led context.Context) {
				defer stop()
				work, end := context.WithCancel(led)
				defer end()
				defer context.AfterFunc(ctx, end)()
				c.lead(work, func() error { return c.leads(elector) })
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(name string) {
				c.mu.Lock()
				c.leader = name
				c.mu.Unlock()
				c.log.Info("leader", "leader", name, "self", name == c.opts.Identity)
			},
		},
	})
	if err != nil {
		return fmt.Errorf("election of lease %s/%s: %w", c.opts.Namespace, LeaderLease, err)
	}
	elector.Run(klog.NewContext(outer, logr.FromSlogHandler(hushed{c.log.Handler()})))
	stop()
	c.turn.Lock() // until the term has ended too
	defer c.turn.Unlock()
	return nil
}

// leads says why this agent may not write: after a pause of the whole process the election
// has not heard of its end yet when the first write wakes up.
func (c *Controller) leads(elector *leaderelection.LeaderElector) error {
	if !elector.IsLeader() || elector.Check(c.opts.RenewDeadline-c.opts.LeaseDuration) != nil {
		return errExpired
	}
	return nil
}

// hushed makes what the election logs, every two seconds while the API server is away, of
// interest to who looks for it. That the server is away is told of elsewhere, once.
type hushed struct{ slog.Handler }

func (h hushed) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h hushed) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	if !h.Handler.Enabled(ctx, r.Level) { // whoever logs an error does not ask before
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h hushed) WithAttrs(a []slog.Attr) slog.Handler { return hushed{h.Handler.WithAttrs(a)} }
func (h hushed) WithGroup(name string) slog.Handler   { return hushed{h.Handler.WithGroup(name)} }
