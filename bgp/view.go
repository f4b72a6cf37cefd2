package bgp

import (
	"context"
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
	ctx := context.Background() // GoBGP answers from memory
	state := newState(s.peer)
	// The only error is that of a nil request. A session that is being closed has no peer any more.
	_ = s.server.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		state.State = sessionStates[p.GetState().GetSessionState()]
		for i := range state.Families {
			state.Families[i].Received = received(p, state.Families[i].Family)
		}
	})
	s.history.fill(&state, now)
	if state.State != Established {
		state.Uptime = 0
		return state
	}
	for i := range state.Families {
		table, err := s.server.GetTable(ctx, &api.GetTableRequest{
			TableType: api.TableType_ADJ_OUT, Name: s.peer.Address.String(), Family: state.Families[i].Family.api(),
		})
		if err == nil { // an error means that the session was closed meanwhile
			state.Families[i].Announced = table.NumPath
		}
	}
	return state
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

// nextHops returns what the router was given, nil unless the session is established.
func (s *session) nextHops() map[netip.Prefix]netip.Addr {
	if s.state(time.Now()).State != Established {
		return nil
	}
	hops := map[netip.Prefix]netip.Addr{}
	for _, f := range s.peer.Families {
		req := &api.ListPathRequest{TableType: api.TableType_ADJ_OUT, Name: s.peer.Address.String(), Family: f.api()}
		// An error means that the session was closed meanwhile.
		_ = s.server.ListPath(context.Background(), req, func(d *api.Destination) {
			prefix, err := netip.ParsePrefix(d.Prefix)
			if err != nil || len(d.Paths) == 0 {
				return
			}
			hops[prefix] = apiNextHop(d.Paths[0])
		})
	}
	return hops
}

func apiNextHop(p *api.Path) netip.Addr {
	for _, attr := range p.Pattrs {
		var hop string
		if m := new(api.NextHopAttribute); attr.MessageIs(m) && attr.UnmarshalTo(m) == nil {
			hop = m.NextHop
		}
		if m := new(api.MpReachNLRIAttribute); attr.MessageIs(m) && attr.UnmarshalTo(m) == nil && len(m.NextHops) > 0 {
			hop = m.NextHops[0]
		}
		if addr, err := netip.ParseAddr(hop); err == nil {
			return addr
		}
	}
	return netip.Addr{}
}
