package desired

import "net/netip"

// Annotations in which agents publish themselves on their Nodes, one for each role: a
// Published as JSON.
const (
	LBAnnotation      = "penstock.dev/lb"
	BackendAnnotation = "penstock.dev/backend"
)

// Published is what an agent says of itself on its Node.
type Published struct {
	Version    string       `json:"version"`
	TunnelPort uint16       `json:"tunnelPort"`
	Addresses  []netip.Addr `json:"addresses,omitempty"` // for tunnel packets, where they are not the InternalIPs
	Ready      bool         `json:"ready"`               // its programs are attached and its tables written
	Reason     string       `json:"reason,omitempty"`    // why it is not ready
	Datapath   string       `json:"datapath,omitempty"`  // where programs run: native, generic, tcx, clsact; several with a comma
}
