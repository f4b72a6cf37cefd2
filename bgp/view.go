package bgp

import (
	"maps"
	"net/netip"
	"time"
)

func newState(p Peer) PeerState {
	state := PeerState{Name: p.Name, Address: p.Address, Interface: p.Interface, ASN: p.ASN, State: Idle}
	for _, f := range p.Families {
		state.Families = append(state.Families, FamilyState{Family: f})
	}
	if p.BFD.Enabled {
		state.BFD = &BFDState{State: BFDOff}
	}
	return state
}

// state says how the session does.
func (s *session) state(now time.Time) PeerState {
	s.mu.Lock()
	peer, hops := s.peer, s.hops
	s.mu.Unlock()
	state := newState(peer)
	s.history.fill(&state, now)
	if state.State != Established {
		return state
	}
	for prefix := range s.announced() {
		for i := range state.Families {
			if state.Families[i].Family == familyOf(prefix.Addr()) {
				state.Families[i].Announced++
			}
		}
	}
	for i := range state.Families {
		f := &state.Families[i]
		f.Received = s.relay.received(f.Family)
		if hops != nil {
			f.Reason = hops.lacks[f.Family]
		}
	}
	return state
}

// announced is a copy of what the server has.
func (s *session) announced() map[netip.Prefix]sentPath {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sent)
}

// routes returns what the router was given, nil unless the session is established.
func (s *session) routes() map[netip.Prefix]RoutePeer {
	since, up := s.history.established()
	if !up {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[netip.Prefix]RoutePeer, len(s.sent))
	for prefix, path := range s.sent {
		r := RoutePeer{Peer: s.name, NextHop: path.hop, Since: path.since, Attributes: path.attributes}
		if since.After(r.Since) {
			r.Since = since
		}
		out[prefix] = r
	}
	return out
}
