package bgp

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
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

// Peers returns all configured peers in the order of their names.
func (s *Speaker) Peers() []PeerState {
	now := time.Now()
	s.mu.Lock()
	peers, sessions := s.peers, maps.Clone(s.sessions)
	s.mu.Unlock()
	states := make([]PeerState, 0, len(peers))
	for _, p := range peers {
		if session, ok := sessions[p.Name]; ok {
			states = append(states, session.state(now))
			continue
		}
		state := newState(p)
		state.DownReason = "waits for the first set of paths"
		states = append(states, state)
	}
	s.fillBFD(states)
	slices.SortFunc(states, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	return states
}

// Routes returns all wanted paths, in order, with the peers that have them.
func (s *Speaker) Routes() []Route {
	s.mu.Lock()
	sessions := slices.SortedFunc(maps.Values(s.sessions), func(a, b *session) int { return strings.Compare(a.name, b.name) })
	paths := maps.Clone(s.paths)
	s.mu.Unlock()
	routes := make([]Route, 0, len(paths))
	for prefix, path := range paths {
		routes = append(routes, Route{Prefix: prefix, Since: path.since, Peers: []RoutePeer{}})
	}
	slices.SortFunc(routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	for _, session := range sessions {
		given := session.routes()
		for i := range routes {
			if r, ok := given[routes[i].Prefix]; ok {
				routes[i].Peers = append(routes[i].Peers, r)
			}
		}
	}
	return routes
}
