package bfd

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
)

// table finds the session of a packet.
type table struct {
	byDiscriminator map[uint32]*session
	byPeer          map[peerKey][]*session
}

// peerKey has the peer without zone; a session's accepts tells the rest apart.
type peerKey struct {
	addr     netip.Addr
	multihop bool
}

func newTable() table {
	return table{byDiscriminator: map[uint32]*session{}, byPeer: map[peerKey][]*session{}}
}

func (s *session) peerKey() peerKey {
	return peerKey{addr: s.endpoint.peer.WithZone(""), multihop: s.endpoint.multihop}
}

func (t table) add(s *session) {
	t.byDiscriminator[s.local] = s
	t.byPeer[s.peerKey()] = append(t.byPeer[s.peerKey()], s)
}

func (t table) remove(s *session) {
	delete(t.byDiscriminator, s.local)
	key := s.peerKey()
	t.byPeer[key] = slices.DeleteFunc(t.byPeer[key], func(other *session) bool { return other == s })
	if len(t.byPeer[key]) == 0 {
		delete(t.byPeer, key)
	}
}

// between is the session of a datagram by its addresses and interface, or nil.
func (t table) between(key listenKey, d datagram) *session {
	for _, s := range t.byPeer[peerKey{d.from, key.multihop}] {
		if s.accepts(d) {
			return s
		}
	}
	return nil
}

// accepts says whether a datagram between these addresses on this interface may be of the session.
func (s *session) accepts(d datagram) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.from == s.endpoint.peer.WithZone("") && d.to == s.sender.local &&
		(s.sender.ifindex == 0 || d.ifindex == s.sender.ifindex)
}

func (s *session) minTTL() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.endpoint.multihop {
		return directTTL
	}
	return int(s.want.MinTTL)
}

// clashes says whether packets could not be told apart from another session's.
func (s *session) clashes(other *session) bool {
	a, b := s.endpoint, other.endpoint
	return a.peer.WithZone("") == b.peer.WithZone("") && a.multihop == b.multihop && s.localAddr() == other.localAddr() &&
		(a.device == b.device || a.device == "" || b.device == "")
}

func (s *session) localAddr() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sender.local
}

// deliver is the reception of RFC 5880 section 6.8.6 up to the choice of the session. What is dropped is
// counted for the session that the addresses name, whoever sent it, or else for the server.
func (s *Server) deliver(key listenKey, d datagram) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	session := s.table.between(key, d)
	p, err := Parse(d.data)
	reason := Reason("")
	switch {
	case errors.As(err, &reason):
		s.drop(session, reason)
	case !key.multihop && d.ttl != directTTL:
		s.drop(session, BadTTL)
	case p.YourDiscriminator != 0:
		named := s.table.byDiscriminator[p.YourDiscriminator]
		switch {
		case named == nil:
			s.drop(session, UnknownDiscriminator)
		case named != session:
			s.drop(named, WrongPeer)
		default:
			s.hand(session, d, p)
		}
	case session == nil:
		s.drop(nil, UnknownPeer)
	default:
		s.hand(session, d, p)
	}
}

func (s *Server) hand(session *session, d datagram, p Packet) {
	if d.ttl < session.minTTL() {
		session.drop(BadTTL)
		return
	}
	session.receive(p)
}

func (s *Server) drop(session *session, why Reason) {
	if session != nil {
		session.drop(why)
		return
	}
	s.dropMu.Lock()
	defer s.dropMu.Unlock()
	s.dropped[why]++
}

// Dropped counts the packets that were dropped and belong to no session, by reason.
func (s *Server) Dropped() map[Reason]uint64 {
	s.dropMu.Lock()
	defer s.dropMu.Unlock()
	return maps.Clone(s.dropped)
}

// listener returns the socket of a kind, which is opened for the first session that needs it.
func (s *Server) listener(key listenKey) (*listener, error) {
	if l, ok := s.listeners[key]; ok {
		return l, nil
	}
	l, err := listen(key, s.deliver)
	if err == nil {
		s.listeners[key] = l
	}
	return l, err
}

// closeIdleListeners gives back ports that no session needs.
func (s *Server) closeIdleListeners() error {
	s.mu.RLock()
	used := map[listenKey]bool{}
	for _, session := range s.sessions {
		used[session.endpoint.listenKey()] = true
	}
	s.mu.RUnlock()
	for key, l := range s.listeners {
		if used[key] {
			continue
		}
		delete(s.listeners, key)
		if err := l.close(); err != nil {
			return err
		}
	}
	return nil
}
