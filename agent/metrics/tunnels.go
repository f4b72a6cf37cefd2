package metrics

import (
	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bpf"
)

// tunnels are an LB node's ways to ingress nodes.
func (e emitter) tunnels(s *api.TunnelStatus) {
	if s == nil {
		return
	}
	e.truth(tunnelOpen, s.Open)
	for _, n := range s.Nodes {
		addr := n.Addr.String()
		e.truth(tunnelUp, n.State == probe.Alive, n.Name, addr)
		e.counter(tunnelDeaths, n.Deaths, n.Name, addr)
		e.counter(tunnelProbes, n.Sent, n.Name, addr)
		e.counter(tunnelAnswers, n.Answered, n.Name, addr)
		if n.RTT > 0 {
			e.gauge(tunnelRTT, n.RTT, n.Name, addr)
		}
		if n.MTU > 0 {
			e.gauge(tunnelMTU, float64(n.MTU), n.Name, addr)
		}
	}
}

// ingress is an ingress node's end.
func (e emitter) ingress(s api.Status) {
	if s.Ingress == nil || !s.Datapath.Loaded {
		return
	}
	f, in := s.Datapath.Flows, s.Ingress
	e.gauge(nodeFlows, float64(f.Entries), "established")
	e.gauge(nodeFlowsCapacity, float64(f.Capacity), "established")
	e.gauge(nodeFlows, float64(f.Young), "young")
	e.gauge(nodeFlowsCapacity, float64(f.YoungCapacity), "young")
	for event, n := range map[string]uint64{
		"collision": in.Events.Collisions, "witness": in.Events.Witnessed, "full": in.Events.Full, "clamp": in.Events.Clamped,
	} {
		e.counter(nodeFlowEvents, n, event)
	}
	unplaced := 0
	for _, p := range in.Pods {
		if p.Netns == bpf.PodNetnsUnknown {
			unplaced++
		}
	}
	e.gauge(nodePods, float64(len(in.Pods)))
	e.gauge(nodePodsUnplaced, float64(unplaced))
	e.gauge(nodeLBs, float64(len(in.LBs)))
	e.gauge(nodeMTU, float64(in.MTU))
}
