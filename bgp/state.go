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
	Name string `json:"name"`
	// Address of the router; of an unnumbered peer once it is known.
	Address netip.Addr `json:"address"`
	// Interface is the one that the session is bound to, or that an unnumbered peer is on.
	Interface string       `json:"interface,omitempty"`
	ASN       uint32       `json:"asn"`
	State     SessionState `json:"state"`
	// LocalAddress is our end of the session; invalid unless there is a connection.
	LocalAddress netip.Addr `json:"localAddress"`
	// HoldTime is what both sides agreed on, holdTimeSeconds in JSON; 0 unless established.
	HoldTime time.Duration `json:"-"`
	// Since is when the session came up or went down, or when the peer was configured.
	Since time.Time `json:"since"`
	// Uptime is 0 unless established; uptimeSeconds in JSON.
	Uptime time.Duration `json:"-"`
	// DownReason is why the session is not up or, while it is up, why the one before it ended.
	DownReason string `json:"downReason,omitempty"`
	// Flaps counts the established sessions that ended; Causes says of what.
	Flaps  uint32           `json:"flaps"`
	Causes map[Cause]uint32 `json:"causes,omitempty"`
	// Malformed counts messages of the router that were not as they should be, and were left out.
	Malformed uint64 `json:"malformed"`
	// BFD is nil where it is off.
	BFD *BFDState `json:"bfd,omitempty"`

	Families []FamilyState `json:"families"`
}

// Cause is a class of reasons for the end of an established session.
type Cause string

const (
	CauseHoldTimer    Cause = "holdTimer"    // the router was silent for the hold time
	CauseBFD          Cause = "bfd"          // BFD found the path to the router dead
	CauseConnection   Cause = "connection"   // the connection broke, without a word of the router
	CauseNotification Cause = "notification" // the router ended the session, and said why
	CauseMaxPrefixes  Cause = "maxPrefixes"  // the router sent more routes than it may
	CauseProtocol     Cause = "protocol"     // we could not make sense of what the router sent
	CauseConfig       Cause = "config"       // we ended it: the peer was edited or removed, or we drained
)

// BFDOff is the state of BFD while there is no session that it could watch.
const BFDOff = "off"

// BFDState is how BFD does with a peer (RFC 5880).
type BFDState struct {
	// State is adminDown, down, init or up; off while there is no BGP session that it watches.
	State string `json:"state"`
	// RemoteState is what the router says of its side.
	RemoteState string    `json:"remoteState,omitempty"`
	Since       time.Time `json:"since"`
	// Detection is the silence after which the path counts as dead, detectionSeconds in JSON.
	Detection time.Duration `json:"-"`
	// Detections counts how often it did.
	Detections uint64 `json:"detections"`
	// Reason is why it is not up, or why it was not the last time.
	Reason string `json:"reason,omitempty"`
}

// FamilyState counts the routes of a session in one family. Both are 0 unless established.
type FamilyState struct {
	Family Family `json:"family"`
	// Received are the router's routes, at least: from 65536 on, or MaxPrefixes, no more are counted.
	// Those that have been through our AS do not count. They are not used.
	Received uint64 `json:"received"`
	// Announced are ours.
	Announced uint64 `json:"announced"`
	// Reason is why none can be announced, for want of a next hop.
	Reason string `json:"reason,omitempty"`
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
	// Since is when this peer was given the route as it is, in the session that there is now.
	Since time.Time `json:"since"`
	Attributes
}
