package model

import (
	"github.com/penstock-lb/penstock/maps/flowhash"
	"github.com/penstock-lb/penstock/test/packet"
)

// The source port of a tunnel packet is that of its flow. One that is sent to an owner after the first also carries
// which version of the row the owner's hop is of. If it comes back and the row has another one by now the search
// begins anew, once, of which its port tells, too.
const (
	tunnelPortFirst = 49152
	portBits        = 14
	again           = 1 << (portBits - 1)
)

// flowPort is the port of a flow's tunnel packets by which no row was searched.
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
func beginsAnew(p *parsed, stamp, version uint16) bool {
	return p.bounced && p.asked != 0 && p.asked != packet.HopLearned && stamp&again == 0 && stamp != version
}
