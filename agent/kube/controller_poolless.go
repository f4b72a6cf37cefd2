package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// noPoolAnywhere is what a Service is told that waits for an address which nobody gives.
const noPoolAnywhere = "no pool is configured on any LB node, so that nobody gives it an address; add pools to the agents' configuration, of every LB node alike"

// looksIdle is how often an agent without pools looks whether another one leads, in retry periods.
const looksIdle = 5

// tellUnserved has Services that wait for an address say why, where no agent has a pool. All
// agents see the same then, and one Event stands for what they say.
func (c *Controller) tellUnserved(ctx context.Context, told map[types.UID]bool) {
	if !c.leaderless(ctx) {
		clear(told)
		return
	}
	c.cache.EachService(func(svc *corev1.Service) {
		if told[svc.UID] || len(svc.Status.LoadBalancer.Ingress) > 0 || !c.serves(svc) {
			return
		}
		told[svc.UID] = true
		c.notes.hint(nameOf(svc.Namespace, svc.Name), svc.UID, string(ipam.NoPool), noPoolAnywhere)
	})
}

// leaderless tells whether it is certain that no agent leads.
func (c *Controller) leaderless(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	lease, err := c.set.CoordinationV1().Leases(c.opts.Namespace).Get(ctx, LeaderLease, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return true
	}
	return time.Since(spec.RenewTime.Time) > time.Duration(*spec.LeaseDurationSeconds)*time.Second+c.opts.LeaseDuration
}

// hint queues an Event that is written once, whoever sees the same.
func (r *recorder) hint(service string, uid types.UID, reason, message string) {
	s := subject{service, uid}
	name := eventName(s, reason)
	r.out.put(service+" "+name, 0, func(ctx context.Context) error {
		return r.events.put(ctx, s, name, func(e *corev1.Event) bool {
			return e.Message != message && again(e, corev1.EventTypeWarning, reason, message)
		})
	})
}
