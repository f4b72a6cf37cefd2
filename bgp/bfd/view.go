package bfd

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SessionState is a session and how it does.
type SessionState struct {
	Name      string     `json:"name"`
	Peer      netip.Addr `json:"peer"`
	Local     netip.Addr `json:"local"`
	Interface string     `json:"interface,omitempty"`
	Multihop  bool       `json:"multihop,omitempty"`

	State State `json:"state"`
	// RemoteState is what the peer said last; Down if it has not been heard for a detection time.
	RemoteState State     `json:"remoteState"`
	Diag        Diag      `json:"diag"`
	RemoteDiag  Diag      `json:"remoteDiag"`
	Since       time.Time `json:"since"`
	// Failed: the session was up, has failed and has not come up since, nor is either end out of
	// service. What depends on the path should look elsewhere.
	Failed bool `json:"failed"`
	// DownReason is why the session is not up or, while it is up, why it was last down.
	DownReason string `json:"downReason,omitempty"`

	// TxInterval is the longest time between our packets; txIntervalSeconds in JSON. 0: we send none.
	TxInterval time.Duration `json:"-"`
	// DetectionTime is how long the peer may be silent; detectionTimeSeconds in JSON. 0 while it has
	// not been heard.
	DetectionTime time.Duration `json:"-"`

	Discriminator       uint32 `json:"discriminator"`
	RemoteDiscriminator uint32 `json:"remoteDiscriminator"`

	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	// Dropped are the received packets with the session's addresses that were not accepted.
	Dropped map[Reason]uint64 `json:"dropped,omitempty"`
	// Downs are the times that the session left the state Up.
	Downs map[Diag]uint64 `json:"downs,omitempty"`
}

// States returns all wanted sessions in the order of their names, also those that could not be opened.
func (s *Server) States() []SessionState {
	s.mu.RLock()
	sessions, states := maps.Clone(s.sessions), slices.Collect(maps.Values(s.refused))
	s.mu.RUnlock()
	for _, session := range sessions {
		states = append(states, session.state())
	}
	slices.SortFunc(states, func(a, b SessionState) int { return strings.Compare(a.Name, b.Name) })
	return states
}

func (s *session) state() SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, h := s.machine, &s.history
	state := SessionState{
		Name: s.name, Peer: s.endpoint.peer, Local: s.sender.local.WithZone(s.endpoint.peer.Zone()),
		Interface: s.endpoint.device, Multihop: s.endpoint.multihop,
		State: m.state, RemoteState: m.remote.state, Diag: m.diag, RemoteDiag: m.remote.diag, Since: h.since,
		Failed: h.failed && m.remote.state != AdminDown, DownReason: s.downReason(),
		TxInterval: m.interval(), Discriminator: s.local, RemoteDiscriminator: m.remote.discriminator,
		Sent: h.sent, Received: h.received, Dropped: maps.Clone(h.dropped), Downs: maps.Clone(h.downs),
	}
	if !m.heard.IsZero() {
		state.DetectionTime = m.detection()
	}
	return state
}

// downReason prefers what stands in the way now to how the last session ended.
func (s *session) downReason() string {
	m, h := s.machine, &s.history
	switch {
	case m.state == Up:
		return h.lost
	case m.state == AdminDown:
		return "taken out of service here"
	case m.remote.state == AdminDown:
		return "the peer took the session out of service"
	case h.lost != "":
		return h.lost
	case errors.Is(h.sendErr, errRefused):
		return errRefused.Error()
	case h.sendErr != nil:
		return "send: " + h.sendErr.Error()
	}
	return "nothing heard from the peer yet"
}

// plainState is SessionState without its methods.
type plainState SessionState

type jsonTimes struct {
	TxInterval    float64 `json:"txIntervalSeconds"`
	DetectionTime float64 `json:"detectionTimeSeconds"`
}

// MarshalJSON gives durations in seconds, as they are given elsewhere.
func (s SessionState) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainState
		jsonTimes
	}{plainState(s), jsonTimes{s.TxInterval.Seconds(), s.DetectionTime.Seconds()}})
}

// UnmarshalJSON takes what MarshalJSON gives.
func (s *SessionState) UnmarshalJSON(b []byte) error {
	var times jsonTimes
	if err := json.Unmarshal(b, &times); err != nil {
		return err
	}
	if err := json.Unmarshal(b, (*plainState)(s)); err != nil {
		return err
	}
	s.TxInterval = time.Duration(times.TxInterval * float64(time.Second))
	s.DetectionTime = time.Duration(times.DetectionTime * float64(time.Second))
	return nil
}
