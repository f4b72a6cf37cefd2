package bpf

import "net/netip"

// The layouts of node_types.h, which only ingress nodes have. Keys may also be given as
// Addr and Tuple, which are laid out alike.
type (
	Pod          = nodePod
	NodeFlow     = nodeNodeFlow
	CollisionKey = nodeCollisionKey
	Collision    = nodeCollision
	Settings     = nodeSettings
)

// What a Pod can have for its network namespace, beside an ID of 0 and more.
const (
	PodNetnsOwn     = -1 // the node's own (hostNetwork)
	PodNetnsUnknown = -2 // the pod's sockets can't be asked
)

// NodeEvent as in enum node_event, an index of node_events.
type NodeEvent = nodeNodeEvent

// What is counted of flows.
const (
	EventCollision = nodeNodeEventEVENT_COLLISION // a flow got another client port, for its own was another flow's
	EventWitness   = nodeNodeEventEVENT_WITNESS   // a flow was found again by the pod's socket
	EventFull      = nodeNodeEventEVENT_FULL      // node_flows took no more, so a flow stayed evictable
	EventMSS       = nodeNodeEventEVENT_MSS       // the MSS of a SYN-ACK was lowered
	Events         = int(nodeNodeEventEVENTS)
)

// Netip returns a plain IPv4 address where one is mapped.
func (a nodeAddr) Netip() netip.Addr { return netip.AddrFrom16(a.Bytes).Unmap() }
