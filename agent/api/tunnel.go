package api

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/maps"
)

// TunnelStatus says how an LB node's tunnels to ingress nodes are.
type TunnelStatus struct {
	Port  uint16        `json:"port"`
	Nodes []IngressNode `json:"nodes"`
	Open  bool          `json:"failOpen"`        // so many nodes are dead that all count as alive
	Error string        `json:"error,omitempty"` // why some cannot be asked at all
}

// ways are Backends, with those named that take flows only because too many nodes are dead.
func (s *Status) ways() []desired.Backend {
	if s.Tunnels == nil || !s.Tunnels.Open {
		return s.Backends
	}
	dead := map[netip.Addr]string{}
	for _, n := range s.Tunnels.Nodes {
		if n.State == probe.Dead {
			dead[n.Addr] = n.Reason
		}
	}
	out := slices.Clone(s.Backends)
	for i, b := range out {
		if why, is := dead[b.Tunnel]; is && b.Reason == desired.Answering {
			out[i].Reason = FailOpen
			out[i].Detail = fmt.Sprintf("node %s does not answer at %s (%s), and counts as alive, as more are dead than tunnel.failOpen allows", b.Node, b.Tunnel, why)
		}
	}
	return out
}

// IngressNode is a node as its answers to probes show it, with the way to it.
type IngressNode struct {
	probe.Node
	MTU uint16 `json:"mtu"` // of the path to it in bytes of IP packet, tunnel included; 0 if unknown
}

// IngressStatus says what an ingress node takes out of tunnels.
type IngressStatus struct {
	Port    uint16          `json:"port"`
	MTU     uint32          `json:"mtu"`     // of a packet from an LB node, tunnel included, in bytes; 0: unknown
	MTUFrom string          `json:"mtuFrom"` // what says so: backend.mtu, or the uplink with the least
	LBs     []netip.Addr    `json:"lbs"`     // tunnel packets are taken from these, and no others
	Own     []netip.Addr    `json:"own"`     // and to these
	Pods    []maps.Pod      `json:"pods"`    // flows may be delivered to these
	Events  maps.NodeEvents `json:"events"`
}

// Obstacles say why no tunnel packet is taken at all.
func (s *IngressStatus) Obstacles() (why []string) {
	if len(s.Own) == 0 {
		why = append(why, s.noRole())
	}
	if len(s.LBs) == 0 {
		why = append(why, "no LB node is known, so no tunnel packet is taken: annotate their Node objects with penstock.dev/role: lb")
	}
	return why
}

func (s *IngressStatus) noRole() string {
	return "this node's Node object has no annotation penstock.dev/role: backend, or no address of tunnels: " +
		"no tunnel packet is taken; annotate it, and see that node in the configuration names it"
}

// Take sorts members into those that packets come from and those they come to.
func (s *IngressStatus) Take(members []maps.Member) {
	for _, m := range members {
		if m.LB && !m.Self {
			s.LBs = append(s.LBs, m.Addr)
		}
		if m.Self {
			s.Own = append(s.Own, m.Addr)
		}
	}
}
