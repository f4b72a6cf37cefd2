package model

import (
	"net/netip"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// keeper is the backend that kept a displaced flow.
type keeper struct {
	service string
	backend netip.AddrPort
}

// owner is who is asked about a packet.
type owner struct {
	maps.Backend
	hop    uint8
	accept bool   // it is to take the flow, even unknown
	stamp  uint16 // in the source port
}

// hopEnd is the hop of a packet that all owners of its row were asked about. A row's
// owners are, by hop, its primary, the longest chain's and the extra ranks.
const hopEnd = 1 + 15 + 3

// choose says who is asked about a packet of flow t: the primary about one that
// opens a flow; else the one that kept the flow, if that is known; else one owner
// of the row after the other, as they send it back; and past the last one the
// primary again, which takes it, unless TCP may have its flow on a node that does not
// answer now: then that is asked. Where no backend is usable, the first of the chain
// takes nothing, but stands for the primary until it has sent the packet back. It is
// false if there is none.
func (m *Model) choose(p *parsed, s *service, t tuple) (owner, bool) {
	row := m.row(s, t)
	list := s.table.AppendChain(nil, row)
	version := m.cfg.Version(s.Name, row)
	var primary maps.Backend
	if len(list) > 0 {
		primary, _ = s.backend(list[0])
	}
	if len(list) == 1 && !p.bounced {
		return owner{Backend: primary, accept: t.proto == protoUDP, stamp: version.Primary}, true // of which no packet says that it opens a flow
	}
	if p.isSYN() {
		delete(m.learned, t)
		return owner{Backend: primary, stamp: version.Primary}, true
	}
	if k, ok := m.learned[t]; ok && !p.bounced && k.service == s.Name {
		if b, ok := s.backend(k.backend); ok && b.Tunnel.IsValid() {
			return owner{Backend: b, hop: packet.HopLearned}, true
		}
	}
	next := 0
	if p.bounced && p.asked != packet.HopLearned {
		next = int(p.asked) + 1
	}
	stamp := m.stampOf(p, t)
	if version.beginsAnew(p, stamp) {
		next, stamp = 0, stamp+restart
		m.Restarts++
	}
	if hop, b := m.nextOwner(s, row, next); hop < hopEnd {
		if p.bounced && hop > 0 {
			m.learned[t] = keeper{s.Name, b.Addr} // if not, it will be overwritten
		} else if p.bounced {
			delete(m.learned, t)
		}
		return owner{Backend: b, hop: hop, stamp: stamp&restarts | version.at(hop)}, true
	}
	delete(m.learned, t)
	if p.proto != protoUDP {
		var silent []maps.Backend
		for _, addr := range s.owners(row) {
			if b, ok := s.backend(addr); ok && m.dead[b.Tunnel] {
				silent = append(silent, b)
			}
		}
		if len(silent) == 1 {
			m.learned[t] = keeper{s.Name, silent[0].Addr}
		}
		if len(silent) > 0 {
			return owner{Backend: silent[0], hop: hopEnd}, true
		}
	}
	return owner{Backend: primary, hop: hopEnd, accept: true}, len(list) > 0
}

// nextOwner is the first from a hop on who can be asked, and hopEnd if nobody can.
func (m *Model) nextOwner(s *service, row uint32, from int) (uint8, maps.Backend) {
	for hop, addr := range s.owners(row) {
		if b, ok := s.backend(addr); hop >= from && ok && b.Tunnel.IsValid() && !m.dead[b.Tunnel] {
			return uint8(hop), b
		}
	}
	return hopEnd, maps.Backend{}
}

// owners are a row's by hop: the primary; where there is a chain, its owners, of
// which the first is the primary and so nobody else; the extra ranks.
func (s *service) owners(row uint32) []netip.AddrPort {
	list := s.table.AppendChain([]netip.AddrPort{{}}, row)
	switch len(list) {
	case 1: // nobody, and no chain
	case 2:
		list = list[1:]
	default:
		list[0], list[1] = list[1], netip.AddrPort{}
	}
	return s.table.AppendExtra(list, row)
}
