package model

import (
	"github.com/penstock-lb/penstock/maps/flowhash"
	"github.com/penstock-lb/penstock/test/packet"
)

// The source port of a tunnel packet is that of its flow, and carries by which version of the row its owner was
// found, of a primary's only which one that is. If it comes back and the row has another version by now the search
// begins anew, a few times, which its port counts, too. What was learned is not by the row, nor is the last owner.
const (
	tunnelPortFirst = 49152
	portBits        = 14
	restart         = 1 << 12
	restarts        = 3 * restart
)

// flowPort is the port of a flow's tunnel packets before anything else is in it.
func (m *Model) flowPort(t tuple) uint16 {
	return tunnelPortFirst + uint16(flowhash.FlowHash(m.cfg.Seed, t.src, t.dst, t.proto)>>(32-portBits))
}

// stampOf is what the port of a packet that came back says besides the flow, 0 of any other.
func (m *Model) stampOf(p *parsed, t tuple) uint16 {
	if !p.bounced {
		return 0
	}
	return (p.outerPort ^ m.flowPort(t)) & (1<<portBits - 1)
}

// beginsAnew says whether the search about a packet that came back with a stamp begins anew.
func (v Version) beginsAnew(p *parsed, stamp uint16) bool {
	return p.bounced && p.asked != packet.HopLearned && stamp&restarts != restarts && stamp&^restarts != v.at(p.asked)
}

// at is what is stamped on a packet to the owner at a hop.
func (v Version) at(hop uint8) uint16 {
	if hop == 0 {
		return v.Primary
	}
	return v.Row
}
