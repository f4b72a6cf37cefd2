package bgp

import (
	"net/netip"
	"time"
)

// SessionState is a state of RFC 4271 section 8.2.2.
type SessionState string

const (
	Idle        SessionState = "idle"
	Connect     SessionState = "connect"
	Active      SessionState = "active"
	OpenSent    SessionState = "openSent"
	OpenConfirm SessionState = "openConfirm"
	Established SessionState = "established"
)

// PeerState is a peer and how its session does.
type PeerState struct {
	Name    string       `json:"name"`
	Address netip.Addr   `json:"address"`
	ASN     uint32       `json:"asn"`
	State   SessionState `json:"state"`
	// Since is when the session came up or went down, or when the peer was configured.
	Since time.Time `json:"since"`
	// Uptime is 0 unless established; uptimeSeconds in JSON.
	Uptime time.Duration `json:"-"`
	// DownReason is why the session is not up or, while it is up, why the one before it ended.
	DownReason string `json:"downReason,omitempty"`
	// Flaps counts the established sessions that ended.
	Flaps    uint32        `json:"flaps"`
	Families []FamilyState `json:"families"`
}

// FamilyState counts the routes of a session in one family. Both are 0 unless established.
type FamilyState struct {
	Family Family `json:"family"`
	// Received are the router's routes. They are not used.
	Received uint64 `json:"received"`
	// Announced are ours.
	Announced uint64 `json:"announced"`
}

// Route is a path that is announced, or would be if a session were up.
type Route struct {
	Prefix netip.Prefix `json:"prefix"`
	// Since is when Sync first had it.
	Since time.Time `json:"since"`
	// Peers are the established sessions that it was given to, in the order of their names.
	Peers []RoutePeer `json:"peers"`
}

// RoutePeer is a route as one peer has it.
type RoutePeer struct {
	Peer    string     `json:"peer"`
	NextHop netip.Addr `json:"nextHop"`
}
