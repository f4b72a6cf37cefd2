package desired

import (
	"fmt"
	"net/netip"
	"time"
)

// Mode is how packets reach a backend.
type Mode string

const (
	ModeDSR  Mode = "dsr"  // through a tunnel; its replies go straight to the client
	ModeNAT  Mode = "nat"  // translated on this node, both ways
	ModeNone Mode = "none" // not at all
)

// Backend says how packets reach one backend of a service, and why so. It is
// there for those with ModeNone too, which the service does not have.
type Backend struct {
	Service string         `json:"service"` // as in maps.Service
	Addr    netip.AddrPort `json:"addr"`
	Node    string         `json:"node,omitempty"`
	Mode    Mode           `json:"mode"`
	Tunnel  netip.Addr     `json:"tunnel,omitzero"` // with ModeDSR
	Reason  Reason         `json:"reason"`
	Detail  string         `json:"detail"`
}

// way is how endpoints on one node are reached.
type way struct {
	mode   Mode
	tunnel netip.Addr
	reason Reason
	detail string
	silent bool      // the node does not answer: no new flows
	since  time.Time // that it does not, if it did
}

// ways knows the way to each node.
type ways struct {
	*fabric
	site    Site
	tunnels map[string]way // by node, as dsr would have it
}

func newWays(f *fabric, site Site) *ways {
	return &ways{fabric: f, site: site, tunnels: map[string]way{}}
}

// to gives the way to the endpoints on a node for Services that ask for f, and in
// source what it is that asks.
func (w *ways) to(node string, f Forwarding, source string) way {
	if f == ForwardingNAT {
		return way{mode: ModeNAT, reason: AskedFor, detail: source + " asks for nat"}
	}
	t, known := w.tunnels[node]
	if !known {
		t = w.tunnel(node)
		w.tunnels[node] = t
	}
	if f == ForwardingAuto && (t.mode == ModeNone || t.silent && t.reason == NeverAnswered) {
		t = way{mode: ModeNAT, reason: t.reason, detail: t.detail}
	}
	return t
}

// tunnel gives the way to a node with forwarding dsr.
func (w *ways) tunnel(node string) way {
	none := func(r Reason, format string, args ...any) way {
		return way{mode: ModeNone, reason: r, detail: fmt.Sprintf(format, args...)}
	}
	m := w.members[node]
	switch {
	case node == "":
		return none(NodeUnknown, "neither the EndpointSlice nor a Pod object names its node")
	case node == w.self:
		return none(OwnNode, "it is on this LB node, to which there is no tunnel")
	case !w.known[node]:
		return none(NotIngressNode, "there is no Node object %s", node)
	case m == nil || !m.backend:
		return none(NotIngressNode, "node %s has no annotation %s: backend, nor %s of an agent", node, RoleAnnotation, BackendAnnotation)
	case w.elsewhere(m):
		return none(OtherTunnelPort, "node %s takes tunnel packets on port %d, and this node sends them to %d; make tunnel.port the same on both", node, m.port, w.port)
	}
	addr, why := w.tunnelTo(m)
	if !addr.IsValid() {
		return none(NoTunnelAddress, "node %s: %s", node, why)
	}
	out := way{mode: ModeDSR, tunnel: addr, reason: Answering}
	since, dead := w.site.Dead[addr]
	switch {
	case dead:
		out.reason, out.silent, out.since = NodeDead, true, since
		out.detail = fmt.Sprintf("node %s has not answered at %s since %s; flows that it has stay, new ones go elsewhere", node, addr, since.UTC().Format(time.RFC3339))
	case w.site.Answering[addr] && w.site.FailOpen:
		out.detail = fmt.Sprintf("node %s at %s counts as answering, as do all, for more are dead than tunnel.failOpen allows; 'penstock nodes' has which answer", node, addr)
	case w.site.Answering[addr]:
		out.detail = fmt.Sprintf("node %s answers at %s", node, addr)
	case w.site.Sticky[addr]:
		out.detail = fmt.Sprintf("node %s answered at %s before; it has yet to be asked again", node, addr)
	default:
		out.reason, out.silent = NeverAnswered, true
		out.detail = fmt.Sprintf("node %s has never answered at %s: run its agent with role: backend and the same tunnel.port, let it know this node, and let that UDP port through", node, addr)
		if m.unready != "" {
			out.detail += "; its agent says that it is not ready: " + m.unready
		}
	}
	return out
}
