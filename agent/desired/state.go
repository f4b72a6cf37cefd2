package desired

import (
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// State is everything that a node should do. All slices are sorted.
type State struct {
	Services []maps.Service // by name; those without a usable endpoint too
	VIPs     []VIP          // by address
	Reasons  []ServiceReason

	Backends []Backend     // by service and address, those that are left out of Services too
	Members  []maps.Member // by address
	Nodes    []IngressNode // by name; those to which there can be tunnels
	Problems []Problem     // of Node objects, by name

	// Dead are the addresses of ingress nodes that have endpoints of Services, but do
	// not answer: no displaced flow is to be looked for there.
	Dead map[netip.Addr]bool
	// Drain says why this node is to take no traffic, for its VIPs' NodeDrained; empty: it may.
	// VIPs are judged without it: what a drain does comes in stages, which are the agent's.
	Drain string
	// Sources are the addresses of this node's tunnel packets, at most one of which
	// counts for each family: the first.
	Sources []netip.Addr
}

// Source gives the address from which this node sends tunnel packets to peer, and
// from which others take them; invalid if there is none of its family.
func (s State) Source(peer netip.Addr) netip.Addr {
	for _, a := range s.Sources {
		if a.Is4() == peer.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// VIP is one external address of a Service that is ours.
type VIP struct {
	Addr netip.Addr `json:"addr"`
	Path bgp.Path   // of Addr alone, with its offers

	// Aggregates are announced while Addr or another of their members is. Suppressed says that Path
	// is not then.
	Aggregates []advertise.Aggregate
	Suppressed bool

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
	OtherClass          Reason = "OtherClass"          // loadBalancerClass names another implementation, or nobody by default
	Deleted             Reason = "Deleted"             // its deletionTimestamp has passed
	Headless            Reason = "Headless"            // clusterIP is None
	SourceRanges        Reason = "SourceRanges"        // it restricts its sources in a way that cannot be read
	NoAddress           Reason = "NoAddress"           // it has no external address
	AddressPending      Reason = "AddressPending"      // it has yet to get an address from a pool
	NoPorts             Reason = "NoPorts"             // it has no port
	TooManyPorts        Reason = "TooManyPorts"        // the data path has no room for all of its ports
	UnsupportedAffinity Reason = "UnsupportedAffinity" // sessionAffinity is unknown; None is used
	ClientAddressHidden Reason = "ClientAddressHidden" // in force, but externalTrafficPolicy Local asks for what is not
	NoTunnel            Reason = "NoTunnel"            // it is to be forwarded through tunnels alone, and some endpoints have none
	InvalidAnnotation   Reason = "InvalidAnnotation"   // an annotation of it, of a Pod or of a slice does not count, by its name or value

	// Of an address or a frontend.
	InvalidAddress    Reason = "InvalidAddress"    // not a unicast IP address of global or private scope
	AddressIsNode     Reason = "AddressIsNode"     // it is a node's own address
	AddressClaimed    Reason = "AddressClaimed"    // in force, although a Node says that it is its own
	AddressIsPeer     Reason = "AddressIsPeer"     // it is a BGP peer's, or a next hop
	AddressIsEndpoint Reason = "AddressIsEndpoint" // a Service has an endpoint there
	OutsideVIPs       Reason = "OutsideVIPs"       // the configuration does not allow it as a VIP
	ExternalIPRefused Reason = "ExternalIPRefused" // externalIPs has it, and no pool, or another Service, does
	OutsidePools      Reason = "OutsidePools"      // in force, but no pool has it any more
	FrontendTaken     Reason = "FrontendTaken"     // a senior Service has the same address, port and protocol

	// Of a port.
	NobodyAdmitted      Reason = "NobodyAdmitted" // it restricts its sources, to none of the family
	UnsupportedProtocol Reason = "UnsupportedProtocol"
	InvalidPort         Reason = "InvalidPort"

	// Of endpoints.
	UnsupportedSlice  Reason = "UnsupportedSlice"  // its addressType is neither IPv4 nor IPv6
	InvalidEndpoint   Reason = "InvalidEndpoint"   // an address or a port that no flow can be sent to
	NoEndpoints       Reason = "NoEndpoints"       // no slice lists an endpoint of the family
	PortNotFound      Reason = "PortNotFound"      // no slice with endpoints has the Service's port
	NoUsableEndpoints Reason = "NoUsableEndpoints" // none is ready, nor terminating and serving
	NodesSilent       Reason = "NodesSilent"       // some are, but their nodes do not answer through their tunnels
	TerminatingOnly   Reason = "TerminatingOnly"   // in force, on terminating endpoints

	HintsIgnored Reason = "HintsIgnored" // in force, but zone hints do not count

	// Of a VIP.
	NoFrontends  Reason = "NoFrontends"  // none of its ports is in force
	NodeExcluded Reason = "NodeExcluded" // this node's label keeps it out of load balancing
	NodeDrained  Reason = "NodeDrained"  // this node is cordoned, or has a taint that drains it

	NotAdvertised      Reason = "NotAdvertised"      // no advertisement is for it
	OtherAdvertisement Reason = "OtherAdvertisement" // routers are told of it what another Service says, which shares it

	// Of a backend: why its packets go the way that they do.
	Answering       Reason = "Answering"       // through a tunnel
	NodeDead        Reason = "NodeDead"        // through a tunnel, but its node does not answer any more
	NeverAnswered   Reason = "NeverAnswered"   // its node is an ingress node, but has not answered so far
	NotIngressNode  Reason = "NotIngressNode"  // its node is none
	NodeUnknown     Reason = "NodeUnknown"     // nothing says which node it is on
	OtherTunnelPort Reason = "OtherTunnelPort" // its node has another tunnel.port
	OwnNode         Reason = "OwnNode"         // it is on this node
	NoTunnelAddress Reason = "NoTunnelAddress" // its node has no address that this node could send to
	OtherZone       Reason = "OtherZone"       // its zone hints name others than the LB nodes'; it gets no new flows
	AskedFor        Reason = "AskedFor"        // translated, as the Service or the configuration wants it
)

// Allocation tells whether it is about how addresses are given, which the Service's own
// condition and Events say already.
func (r ServiceReason) Allocation() bool {
	return r.Reason == NoAddress || r.Reason == AddressPending || slices.Contains(ipam.Refusals, ipam.Reason(r.Reason))
}

// Foreign tells whether the Service is another implementation's affair.
func (r ServiceReason) Foreign() bool { return r.Reason == OtherClass }
