package api

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/peers"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// State is where in its life an agent is.
type State string

const (
	Starting State = "starting" // nothing has been synced yet
	Running  State = "running"
	Draining State = "draining" // it is about to end: Drain says how far it is
	Stopped  State = "stopped"
)

// Status is everything that an agent says about itself at one moment.
type Status struct {
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Role    string    `json:"role"`           // lb or backend; empty where no agent runs
	Since   time.Time `json:"since,omitzero"` // when the agent started
	State   State     `json:"state"`

	Config   ConfigStatus            `json:"config"`
	Source   SourceStatus            `json:"source"`
	Datapath DatapathStatus          `json:"datapath"`
	BGP      BGPStatus               `json:"bgp"`
	VIPs     []VIPStatus             `json:"vips"`
	Services []ServiceStatus         `json:"services"`
	Reasons  []desired.ServiceReason `json:"reasons"` // why parts of Services are not in force
	Sync     SyncStatus              `json:"sync"`
	Drain    *DrainStatus            `json:"drain,omitempty"` // nil: the node does not drain

	Nodes    []NodeStatus      `json:"nodes,omitempty"`   // what agents publish on their Node objects
	Tunnels  *TunnelStatus     `json:"tunnels,omitempty"` // of an LB node
	Ingress  *IngressStatus    `json:"ingress,omitempty"` // of an ingress node
	Backends []desired.Backend `json:"-"`                 // how packets reach each; /v1/backends has them

	// NotReady says what keeps the agent from being ready, Degraded what is
	// wrong with it, and Warnings what works but not as well as it could.
	NotReady []string `json:"notReady"`
	Degraded []string `json:"degraded"`
	Warnings []string `json:"warnings"`
}

// ConfigStatus says which configuration is in force.
type ConfigStatus struct {
	File     string    `json:"file,omitempty"`
	Loaded   time.Time `json:"loaded,omitzero"` // of the configuration in force
	Error    string    `json:"error,omitempty"` // why the last reload was refused
	ErrorAt  time.Time `json:"errorAt,omitzero"`
	Restart  []string  `json:"restart,omitempty"` // changed keys that wait for a restart
	Reloads  uint64    `json:"reloads"`
	Failures uint64    `json:"failures"`
}

// SourceStatus says what is known of the wanted state's origin.
type SourceStatus struct {
	Name     string            `json:"name"`           // for instance the manifests' directory
	Kind     string            `json:"kind,omitempty"` // manifests or kubernetes
	Synced   bool              `json:"synced"`
	Changed  time.Time         `json:"changed,omitzero"` // when the source last reported a change
	Problems []desired.Problem `json:"problems"`
	API      *Link             `json:"api,omitempty"` // with kubernetes
}

// Link says whether the API server answers. While it does not, the last state of its
// objects stays in force.
type Link struct {
	Server    string    `json:"server"` // its URL
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`  // it has been so
	Error     string    `json:"error,omitempty"` // why it does not answer
}

// Lost tells whether there is an API server that does not answer.
func (s SourceStatus) Lost() bool { return s.API != nil && !s.API.Connected }

// DatapathStatus says what runs in the kernel.
type DatapathStatus struct {
	Loaded     bool              `json:"loaded"`
	Survived   bool              `json:"survived"` // programs were found running at the start
	Pins       string            `json:"pins"`
	Schema     string            `json:"schema,omitempty"`
	Interfaces []InterfaceStatus `json:"interfaces"`

	Forwarding []ForwardingStatus `json:"forwardingOff,omitempty"` // families that have a VIP and are not forwarded
	Bypassed   []BypassStatus     `json:"bypassed,omitempty"`      // backends whose replies no program sees

	Flows      maps.FlowStats `json:"flows"` // as of SweptAt
	SweptAt    time.Time      `json:"sweptAt,omitzero"`
	Program    ProgramStatus  `json:"program,omitzero"`
	Usage      maps.Usage     `json:"usage"`
	SweepError string         `json:"sweepError,omitempty"`
}

// ProgramStatus says where the loaded program comes from.
type ProgramStatus struct {
	Compiled bool   `json:"compiled"`          // on this node, by datapath.compile
	Sources  string `json:"sources,omitempty"` // directory of its C files; empty: those in the binary
	Digest   string `json:"digest,omitempty"`  // of its C files
	Changed  bool   `json:"changed"`           // they are others than those in the binary
}

// InterfaceStatus is one configured interface.
type InterfaceStatus struct {
	Name     string    `json:"name"`
	Attached bool      `json:"attached"`
	Mode     string    `json:"mode,omitempty"`     // where the program runs, once attached: native or generic; bpf.Hook on an ingress node
	Egress   string    `json:"egress,omitempty"`   // where replies are caught on an ingress node: tcx or clsact
	Fallback string    `json:"fallback,omitempty"` // why not native
	Error    string    `json:"error,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// ForwardingStatus is a family that the kernel does not forward, or not by every
// attached device.
type ForwardingStatus struct {
	Family string `json:"family"` // ipv4 or ipv6
	Lost   bool   `json:"lost"`   // no attached device forwards it: its VIPs are not announced
	Text   string `json:"text"`
}

// BypassStatus is the usable backends of a Service that are reached by a device
// without a program, so that their replies are not translated.
type BypassStatus struct {
	Service   string       `json:"service"` // namespace/name
	Interface string       `json:"interface"`
	Backends  []netip.Addr `json:"backends"`
	Text      string       `json:"text"`
}

// BGPStatus is the speaker's.
type BGPStatus struct {
	ASN      uint32          `json:"asn"`
	RouterID netip.Addr      `json:"routerID"` // empty where there is none
	Error    string          `json:"error,omitempty"`
	Peers    []bgp.PeerState `json:"peers"`
	Problems []peers.Problem `json:"problems,omitempty"` // of configured peers
}

// VIPStatus is one external address, and why it is not announced if it is not.
type VIPStatus struct {
	VIP       netip.Addr     `json:"vip"`
	Prefix    netip.Prefix   `json:"prefix"`
	Announced bool           `json:"announced"`
	Reason    desired.Reason `json:"reason"` // desired.Announceable, or why it is not announced
	Detail    string         `json:"detail,omitempty"`
	Services  []string       `json:"services"` // the services that make it worth announcing

	// Within are aggregates that are announced for it; Suppressed says that they are in its stead.
	Within     []netip.Prefix `json:"within,omitempty"`
	Suppressed bool           `json:"suppressed,omitempty"`
}

// How says by what else than its own prefix a VIP is announced; empty: by that alone.
func (v VIPStatus) How() string {
	if len(v.Within) == 0 {
		return ""
	}
	words := make([]string, len(v.Within))
	for i, p := range v.Within {
		words[i] = p.String()
	}
	text := "aggregate " + strings.Join(words, ", ")
	if v.Suppressed {
		return "by " + text
	}
	return "by its own prefix and " + text
}

// By tells whether a route brings packets to the VIP.
func (v VIPStatus) By(route netip.Prefix) bool {
	return slices.Contains(v.Within, route) || !v.Suppressed && (route == v.Prefix || route.IsSingleIP() && route.Addr() == v.VIP)
}

// ServiceStatus is one wanted service: one lookup table.
type ServiceStatus struct {
	Name      string          `json:"name"`
	Frontends []maps.Frontend `json:"frontends"`
	Backends  int             `json:"backends"`
	InKernel  bool            `json:"inKernel"` // with an error: as it was before
	Error     string          `json:"error,omitempty"`
}

// SyncStatus is the loop's own record.
type SyncStatus struct {
	Synced        bool      `json:"synced"` // the tables were written at least once
	At            time.Time `json:"at,omitzero"`
	Duration      float64   `json:"durationSeconds"`
	TotalDuration float64   `json:"totalDurationSeconds"` // of all passes
	Error         string    `json:"error,omitempty"`
	Passes        uint64    `json:"passes"`
	Errors        uint64    `json:"errors"`
	NextAttempt   time.Time `json:"nextAttempt,omitzero"` // of a failed pass
}
