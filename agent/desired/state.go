package desired

import (
	"net/netip"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// State is everything that a node should do. All slices are sorted.
type State struct {
	Services []maps.Service // by name; those without a usable endpoint too
	VIPs     []VIP          // by address
	Reasons  []ServiceReason
}

// VIP is one external address of a Service that is ours.
type VIP struct {
	Addr netip.Addr `json:"addr"`
	Path bgp.Path

	// Services names the maps.Services on Addr that have a usable endpoint,
	// sorted. Addr may be announced while one of them is in the kernel.
	Services []string `json:"services"`

	Reason Reason `json:"reason"` // Announceable, or why it is not
	Detail string `json:"detail,omitempty"`
}

// ServiceReason says why a part of a Service is not in force, or not as it is
// written.
type ServiceReason struct {
	Service string `json:"service"`           // namespace/name
	Subject string `json:"subject,omitempty"` // the part: a port, an address, a slice; empty for the whole
	Reason  Reason `json:"reason"`
	Detail  string `json:"detail,omitempty"`
}

// Reason names why something is or is not in force. Names are part of the API
// and of metrics; they do not change.
type Reason string

const (
	Announceable Reason = "Announceable"

	// Of a whole Service.
	NotLoadBalancer     Reason = "NotLoadBalancer"     // it has our class, but another type
	OtherClass          Reason = "OtherClass"          // loadBalancerClass names another implementation
	Deleted             Reason = "Deleted"             // its deletionTimestamp has passed
	Headless            Reason = "Headless"            // clusterIP is None
	SourceRanges        Reason = "SourceRanges"        // it restricts its sources
	NoAddress           Reason = "NoAddress"           // it has no external address
	NoPorts             Reason = "NoPorts"             // it has no port
	UnsupportedAffinity Reason = "UnsupportedAffinity" // sessionAffinity is unknown; None is used
	ClientAddressHidden Reason = "ClientAddressHidden" // in force, but externalTrafficPolicy Local asks for what is not

	// Of an address or a frontend.
	InvalidAddress    Reason = "InvalidAddress"    // not a unicast IP address of global or private scope
	AddressIsNode     Reason = "AddressIsNode"     // it is a node's own address
	AddressIsPeer     Reason = "AddressIsPeer"     // it is a BGP peer's, or a next hop
	AddressIsEndpoint Reason = "AddressIsEndpoint" // a Service has an endpoint there
	OutsideVIPs       Reason = "OutsideVIPs"       // the configuration does not allow it as a VIP
	FrontendTaken     Reason = "FrontendTaken"     // a senior Service has the same address, port and protocol

	// Of a port.
	UnsupportedProtocol Reason = "UnsupportedProtocol"
	InvalidPort         Reason = "InvalidPort"

	// Of endpoints.
	UnsupportedSlice  Reason = "UnsupportedSlice"  // its addressType is neither IPv4 nor IPv6
	InvalidEndpoint   Reason = "InvalidEndpoint"   // an address or a port that no flow can be sent to
	NoEndpoints       Reason = "NoEndpoints"       // no slice lists an endpoint of the family
	PortNotFound      Reason = "PortNotFound"      // no slice with endpoints has the Service's port
	NoUsableEndpoints Reason = "NoUsableEndpoints" // none is ready, nor terminating and serving
	TerminatingOnly   Reason = "TerminatingOnly"   // in force, on terminating endpoints

	// Of a VIP.
	NoFrontends  Reason = "NoFrontends"  // none of its ports is in force
	NodeExcluded Reason = "NodeExcluded" // this node's label keeps it out of load balancing
)
