package model

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// state is how far a TCP connection has come.
type state uint8

const (
	opening state = iota
	established
	closing // both sides are done, or the client gave up
	closed  // the backend refused, or has not yet spoken for a flow that began in the middle
	datagrams
)

// flow is one translation. The node's port is 0 until a packet has shown it.
type flow struct {
	request              tuple          // as the client sends
	backend              netip.AddrPort // where that goes
	node                 netip.AddrPort // and from where
	state                state
	clientFIN, backedFIN bool
	answered             bool   // SYN-ACK seen
	wantACK              uint16 // low half of what the client will have to acknowledge
	replaced             bool   // by a newer flow with the same request
}

// Flow is a translation that the model knows in full.
type Flow struct {
	Client, VIP   netip.AddrPort
	Node, Backend netip.AddrPort
	Proto         uint8
}

// Flows lists the flows that packets can belong to, by client and VIP.
func (m *Model) Flows() (list []Flow) {
	for t, f := range m.requests {
		if f.node.Port() != 0 && m.replies[f.reply()] == f {
			list = append(list, Flow{t.src, t.dst, f.node, f.backend, t.proto})
		}
	}
	slices.SortFunc(list, func(a, b Flow) int {
		return cmp.Or(a.Client.Compare(b.Client), a.VIP.Compare(b.VIP), cmp.Compare(a.Proto, b.Proto))
	})
	return list
}

// reply is the tuple of the backend's answers.
func (f *flow) reply() tuple { return tuple{f.backend, f.node, f.request.proto} }

func (f *flow) over() bool { return f.state == closing || f.state == closed }

// track follows TCP. Later fragments tell nothing.
func (f *flow) track(p *parsed, fromBackend bool) {
	if f.state == datagrams || p.part == later {
		return
	}
	switch {
	case p.tcpFlags&flagRST != 0 && fromBackend:
		f.state = closed
	case p.tcpFlags&flagRST != 0:
		f.state = closing
	case p.tcpFlags&flagFIN != 0:
		f.clientFIN = f.clientFIN || !fromBackend
		f.backedFIN = f.backedFIN || fromBackend
		if f.clientFIN && f.backedFIN {
			f.state = closing
		}
	case p.tcpFlags&flagSYN != 0:
		if fromBackend && f.state == opening && p.part == whole {
			f.answered, f.wantACK = true, uint16(p.seq+1)
		}
	case fromBackend && f.state == closed,
		!fromBackend && f.state == opening && f.answered && p.part == whole && uint16(p.ack) == f.wantACK,
		!fromBackend && f.state == closing && (!f.clientFIN || !f.backedFIN):
		f.state = established
	}
}

// find returns the packet's flow. A SYN finds none that is over.
func find(flows map[tuple]*flow, p *parsed) *flow {
	f := flows[p.tuple()]
	if f != nil && p.isSYN() && f.over() {
		return nil
	}
	return f
}

func (m *Model) open(p *parsed, backend netip.AddrPort, source netip.Addr) *flow {
	if old := m.requests[p.tuple()]; old != nil {
		old.replaced = true
	}
	f := &flow{request: p.tuple(), backend: backend, node: netip.AddrPortFrom(source, 0)}
	switch {
	case p.proto == protoUDP:
		f.state = datagrams
	case !p.isSYN():
		f.state = closed
	}
	m.requests[f.request] = f
	return f
}

func (m *Model) remove(f *flow) {
	delete(m.requests, f.request)
	if m.replies[f.reply()] == f {
		delete(m.replies, f.reply())
	}
}

// learn takes the port of a flow from what the program has made of its packet p.
func (m *Model) learn(f *flow, p *parsed, observed []byte) error {
	out, ok := parse(observed)
	if f.node.Port() != 0 || !ok || p.part == later {
		return nil
	}
	l4 := out.l3 + p.l4 - p.l3
	if len(observed) < l4+2 {
		return nil
	}
	port := binary.BigEndian.Uint16(observed[l4:])
	if port < m.cfg.PortFirst || port > m.cfg.PortLast {
		return fmt.Errorf("port %d of flow %v is outside %d-%d", port, f.request, m.cfg.PortFirst, m.cfg.PortLast)
	}
	f.node = netip.AddrPortFrom(f.node.Addr(), port)
	if other := m.replies[f.reply()]; other != nil && !other.over() {
		return fmt.Errorf("port %d of flow %v is in use by flow %v of the same backend %s", port, f.request, other.request, f.backend)
	}
	m.replies[f.reply()] = f
	return nil
}

func (m *Model) remember(p *parsed) {
	if p.part == first {
		m.fragments[p.datagram()] = fragment{p.ports, p.proto}
	}
}
