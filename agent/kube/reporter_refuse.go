package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// refuse writes why parts of a Service are not in force: an Event for each reason, so that
// a Service with thousands of bad ports has no more Events than another.
func (r *Reporter) refuse(ctx context.Context, service string) error {
	p, t, s, ok := r.latest(service)
	if !ok || !r.leads() {
		return nil
	}
	now := refusals(p)
	for _, reason := range slices.Sorted(maps.Keys(now)) {
		message := now[reason]
		said, heard := t.said[reason]
		if said == message {
			continue
		}
		err := r.events.put(ctx, s, eventName(s, reason), func(e *corev1.Event) bool {
			if !heard && e.Message == cut(message, maxMessage) {
				return false // by an earlier leader
			}
			return again(e, corev1.EventTypeWarning, reason, message)
		})
		if err != nil {
			return err
		}
		r.tell(s, func(t *told) { t.said[reason] = message })
	}
	r.tell(s, func(t *told) {
		for reason := range t.said {
			if _, still := now[reason]; !still {
				t.said[reason] = ""
			}
		}
	})
	return nil
}

// refusals gives the messages of p's reasons, by reason.
func refusals(p ServiceReport) map[string]string {
	byReason := map[string][]string{}
	for _, why := range p.Reasons {
		if why.Foreign() || !worthTelling(why.Reason) {
			continue
		}
		text := why.Detail
		if why.Subject != "" {
			text = why.Subject + ": " + text
		}
		byReason[string(why.Reason)] = append(byReason[string(why.Reason)], text)
	}
	out := map[string]string{}
	for reason, list := range byReason {
		if n := len(list); n > mostRefusals {
			list = append(slices.Clone(list[:mostRefusals]), fmt.Sprintf("and %d more like these", n-mostRefusals))
		}
		out[reason] = strings.Join(list, "; ")
	}
	return out
}

// worthTelling leaves out what is no news to who reads a Service's Events: that it is of
// another type or being deleted, that it waits for an address, which the Events of the
// allocation tell of, and what every rolling update passes through.
func worthTelling(r desired.Reason) bool {
	switch r {
	case desired.NotLoadBalancer, desired.Deleted, desired.NoAddress, desired.TerminatingOnly:
		return false
	}
	return true
}
