package desired

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Annotations in which agents publish themselves on their Nodes, one for each role: a
// Published as JSON.
const (
	LBAnnotation      = "penstock.dev/lb"
	BackendAnnotation = "penstock.dev/backend"
)

// DrainsBy begins the Reason of an LB node that is not ready as it drains.
const DrainsBy = "it drains, by "

// Published is what an agent says of itself on its Node.
type Published struct {
	Version    string    `json:"version"`
	TunnelPort uint16    `json:"tunnelPort"`
	Ready      bool      `json:"ready"`                // its programs are attached and its tables written
	Reason     string    `json:"reason,omitempty"`     // why it is not ready
	Leaving    bool      `json:"leaving,omitempty"`    // it is about to end for good
	Placement  string    `json:"placement,omitempty"`  // of an LB node: a digest of all that decides where flows go
	Allocation string    `json:"allocation,omitempty"` // of an LB node: a digest of all that decides which addresses Services have
	Alive      time.Time `json:"alive,omitzero"`       // of an LB node: when its agent last said so, about every 30 s, by its own clock
	Datapath   string    `json:"datapath,omitempty"`   // where programs run: native, generic, tcx, clsact; several with a comma
}

// unready says why the agent is not ready; empty if it is.
func (p Published) unready() string {
	if p.Ready {
		return ""
	}
	return cmp.Or(p.Reason, "it does not say why")
}

// published reads one of those annotations of a Node; false where it has none that can be
// read, and then why says what is wrong with it, if it is there.
func published(n *corev1.Node, name string) (p Published, ok bool, why string) {
	text, set := n.Annotations[name]
	if !set {
		return p, false, ""
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return Published{}, false, "not a JSON object"
	}
	// What a later version adds does not count here.
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Published{}, false, err.Error()
	}
	return p, true, ""
}
