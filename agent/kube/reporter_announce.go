package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// Reasons of Events of announcements.
const (
	Announced = "Announced"
	Withdrawn = "Withdrawn"
)

// Why an address is withdrawn that the report gives no reason for.
const (
	noPeer    desired.Reason = "NoPeer" // no BGP peer has the route any more
	noAddress                = desired.NoAddress
)

// nodesAnnotation, on an Event, is what each node adds to it, from which the message is
// made: JSON.
const nodesAnnotation = "penstock.dev/nodes"

// sameTime is how long after one node another that withdraws for the same reason does so
// together with it.
const sameTime = 2 * time.Minute

// announce writes which peers of this node have the addresses of a Service, if the Event
// does not say so already. There is one Event, to which each node adds itself, and which it
// leaves when it withdraws.
func (r *Reporter) announce(ctx context.Context, service string) error {
	p, t, s, ok := r.latest(service)
	if !ok {
		return nil
	}
	line, was := lineOf(p), ""
	err := r.events.put(ctx, s, eventName(s, Announced), func(e *corev1.Event) bool {
		nodes := nodesOf(e)
		was = nodes[r.node]
		if line == "" || line == was {
			return false
		}
		first := len(nodes) == 0
		nodes[r.node] = line
		setNodes(e, nodes)
		return occur(e, first, corev1.EventTypeNormal, Announced, announcement(nodes))
	})
	if err != nil {
		return err
	}
	if !t.known && was != "" {
		t.known, t.line = true, was
	}
	if err := r.withdraw(ctx, p, t, s); err != nil {
		return err
	}
	if line == "" && was != "" {
		if err := r.leave(ctx, s); err != nil {
			return err
		}
	}
	r.tell(s, func(t *told) {
		t.known, t.line, t.vips, t.ended = true, line, heard(p), nil
		r.queue(r.reports[service], t) // of which a part may have come while this was written
	})
	return nil
}

// leave takes this node out of the Event of those that announce, which keeps its time: when
// the last of them came.
func (r *Reporter) leave(ctx context.Context, s subject) error {
	return r.events.put(ctx, s, eventName(s, Announced), func(e *corev1.Event) bool {
		nodes := nodesOf(e)
		if _, there := nodes[r.node]; !there {
			return false
		}
		delete(nodes, r.node)
		setNodes(e, nodes)
		e.Message = cut(announcement(nodes), maxMessage)
		return true
	})
}

// withdraw writes why this node does not announce what it did: an Event for each reason.
func (r *Reporter) withdraw(ctx context.Context, p ServiceReport, t told, s subject) error {
	gone := withdrawn(p, &t)
	for _, reason := range slices.Sorted(maps.Keys(gone)) {
		if t.ended[string(reason)] {
			continue // by an earlier try of this job
		}
		g := gone[reason]
		err := r.events.put(ctx, s, eventName(s, Withdrawn, string(reason)), func(e *corev1.Event) bool {
			nodes, now := nodesOf(e), time.Now().UTC()
			maps.DeleteFunc(nodes, func(_, at string) bool {
				when, err := time.Parse(time.RFC3339, at)
				return err != nil || now.Sub(when) > sameTime
			})
			first := len(nodes) == 0 || nodes[r.node] != ""
			nodes[r.node] = now.Format(time.RFC3339)
			setNodes(e, nodes)
			return occur(e, first, g.kind(reason), Withdrawn, fmt.Sprintf("%s withdrawn by %s: %s: %s",
				join(texts(g.vips)), abridge(slices.Sorted(maps.Keys(nodes)), mostNodes), reason, g.detail))
		})
		if err != nil {
			return err
		}
		r.tell(s, func(t *told) {
			if t.ended == nil {
				t.ended = map[string]bool{}
			}
			t.ended[string(reason)] = true
		})
	}
	return nil
}

// occur makes an Event say message. What several nodes add to it is one occurrence.
func occur(e *corev1.Event, first bool, kind, reason, message string) bool {
	count := e.Count
	again(e, kind, reason, message)
	if !first {
		e.Count = max(1, count)
	}
	return true
}

// withdrawal is what one reason ended.
type withdrawal struct {
	vips   []netip.Addr
	detail string
}

// kind is a warning unless somebody wanted it so.
func (*withdrawal) kind(reason desired.Reason) string {
	if reason == desired.NodeExcluded || reason == noAddress || strings.HasSuffix(string(reason), "Drained") || reason == "Draining" {
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// withdrawn gives why addresses that were announced are not any more, by reason.
func withdrawn(p ServiceReport, t *told) map[desired.Reason]*withdrawal {
	if !t.known || t.line == "" {
		return nil
	}
	out := map[desired.Reason]*withdrawal{}
	add := func(reason desired.Reason, vip netip.Addr, detail string) {
		if out[reason] == nil {
			out[reason] = &withdrawal{detail: detail}
		}
		out[reason].vips = append(out[reason].vips, vip)
	}
	was := func(a netip.Addr) bool { return t.vips == nil || slices.Contains(t.vips, a) }
	left := slices.Clone(t.vips)
	for _, v := range p.VIPs {
		left = slices.DeleteFunc(left, func(a netip.Addr) bool { return a == v.VIP })
		switch {
		case !was(v.VIP) || v.Announced && len(v.Peers) > 0:
		case t.vips == nil && len(heard(p)) > 0: // an earlier process announced one or the other
		case v.Announced:
			add(noPeer, v.VIP, "no BGP peer has the route any more; see penstock bgp peers on the node")
		default:
			add(v.Reason, v.VIP, v.Detail)
		}
	}
	for _, a := range left {
		add(noAddress, a, "it is no address of the Service any more")
	}
	return out
}

// heard gives the addresses that a peer has.
func heard(p ServiceReport) []netip.Addr {
	out := []netip.Addr{}
	for _, v := range p.VIPs {
		if v.Announced && len(v.Peers) > 0 {
			out = append(out, v.VIP)
		}
	}
	return out
}

// unheard reports whether an address is announced, and no peer has it.
func unheard(p ServiceReport) bool {
	return slices.ContainsFunc(p.VIPs, func(v VIPReport) bool { return v.Announced && len(v.Peers) == 0 })
}

func nodesOf(e *corev1.Event) map[string]string {
	nodes := map[string]string{}
	if err := json.Unmarshal([]byte(e.Annotations[nodesAnnotation]), &nodes); err != nil {
		return map[string]string{} // none, or somebody edited it: it is made anew
	}
	return nodes
}

func setNodes(e *corev1.Event, nodes map[string]string) {
	text, err := json.Marshal(nodes)
	if err != nil {
		return // strings always encode
	}
	if e.Annotations == nil {
		e.Annotations = map[string]string{}
	}
	e.Annotations[nodesAnnotation] = string(text)
}
