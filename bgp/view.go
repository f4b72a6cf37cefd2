package bgp

import (
	"context"
	"maps"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"
)

var sessionStates = map[api.PeerState_SessionState]SessionState{
	api.PeerState_IDLE:        Idle,
	api.PeerState_CONNECT:     Connect,
	api.PeerState_ACTIVE:      Active,
	api.PeerState_OPENSENT:    OpenSent,
	api.PeerState_OPENCONFIRM: OpenConfirm,
	api.PeerState_ESTABLISHED: Established,
}

func newState(p Peer) PeerState {
	state := PeerState{Name: p.Name, Address: p.Address, ASN: p.ASN, State: Idle}
	for _, f := range p.Families {
		state.Families = append(state.Families, FamilyState{Family: f})
	}
	return state
}

// state asks the server how the session does.
func (s *session) state(now time.Time) PeerState {
	state, _ := s.stateAndAddress(now)
	return state
}

// stateAndAddress adds our end of the session, invalid unless it is established.
func (s *session) stateAndAddress(now time.Time) (PeerState, netip.Addr) {
	state := newState(s.peer)
	var local netip.Addr
	// GoBGP answers from memory, and its only error is that of a nil request. A session that is being
	// closed has no peer any more.
	_ = s.server.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		state.State = sessionStates[p.GetState().GetSessionState()]
		for i := range state.Families {
			state.Families[i].Received = received(p, state.Families[i].Family)
		}
		if addr, err := netip.ParseAddr(p.GetTransport().GetLocalAddress()); err == nil {
			local = addr
		}
	})
	s.history.fill(&state, now)
	if state.State != Established {
		down := newState(s.peer)
		state.Uptime, state.Families = 0, down.Families
		return state, netip.Addr{}
	}
	for prefix := range s.announced() {
		for i := range state.Families {
			if state.Families[i].Family == familyOf(prefix.Addr()) {
				state.Families[i].Announced++
			}
		}
	}
	return state, local
}

// announced is a copy of what the server has.
func (s *session) announced() map[netip.Prefix]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sent)
}

// nextHops returns what the router was given, nil unless the session is established.
func (s *session) nextHops() map[netip.Prefix]netip.Addr {
	_, local := s.stateAndAddress(time.Now())
	if !local.IsValid() {
		return nil
	}
	hops := map[netip.Prefix]netip.Addr{}
	for prefix := range s.announced() {
		hop := s.peer.nextHop(familyOf(prefix.Addr()))
		if hop.IsUnspecified() {
			hop = local
		}
		hops[prefix] = hop
	}
	return hops
}

func received(p *api.Peer, f Family) uint64 {
	want := f.api()
	for _, af := range p.AfiSafis {
		if got := af.GetState().GetFamily(); got.GetAfi() == want.Afi && got.GetSafi() == want.Safi {
			return af.State.Received
		}
	}
	return 0
}
