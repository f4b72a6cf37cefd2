package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// Site is what counts beside Kubernetes objects: which node this is, and which
// addresses its network has in use. Whoever may write a Service can ask for any
// address, so that this must not depend on Node objects.
type Site struct {
	Node  string                // name of this node's Node object
	Own   map[netip.Addr]string // this node's addresses, each with its device
	Peers map[netip.Addr]string // what each address is to BGP, as in "the address of BGP peer tor1"
	VIPs  []netip.Prefix        // networks that Services may have addresses of; none: of any

	Forwarding Forwarding // of Services that do not say; empty: auto
	TunnelPort uint16     // of this node; 0: not compared with others'

	Placement, Allocation string // as in Published; empty: not compared with others'

	// DefaultClass says that Services without a loadBalancerClass are ours too.
	DefaultClass bool
	// Allocated says that Services get their addresses from package ipam: what they ask
	// for is theirs once their status has it. Pools are where externalIPs may be from then.
	Allocated bool
	Pools     []ipam.Pool
	// Advertised says what routers are told of VIPs.
	Advertised advertise.Policy
	// LBNodes chooses the Nodes that may be LB nodes; nil: any.
	LBNodes ipam.Selector
	// Lingering names nodes, sorted, that count as LB nodes although LBNodes chooses them no more.
	Lingering []string

	// Publishes says that this node's agent writes its role into its Node object itself, and
	// Fresh that it has only just begun to.
	Publishes, Fresh bool

	// Capacity is what the data path can hold.
	Capacity Capacity

	// What this node knows of ingress nodes, by the addresses of State.Nodes: which
	// ones answer; since when others do not that did; and which ones endpoints had
	// tunnels to before, which they keep with ForwardingAuto. Others never answered.
	Answering map[netip.Addr]bool
	Dead      map[netip.Addr]time.Time
	FailOpen  bool // so many do not answer that all count as answering
	Sticky    map[netip.Addr]bool
}

// Capacity is what the data path can hold, of all Services. Zero: it is not known.
type Capacity struct {
	Tables    int // lookup tables: one for each port and address family of a Service
	Frontends int // addresses with a port and a protocol
}

// exceeded says why the data path cannot hold a Service, even if it were the only one. What
// it asks for is refused as a whole then: which of its ports are in force would depend on
// their order otherwise.
func (c Capacity) exceeded(ports []port, vips []netip.Addr) refusal {
	families := map[family]bool{}
	for _, a := range vips {
		families[familyOf(a)] = true
	}
	tables, frontends := len(ports)*len(families), len(ports)*len(vips)
	switch {
	case c.Tables > 0 && tables > c.Tables:
		return refusal{TooManyPorts, fmt.Sprintf("%d ports in %d address families take %d lookup tables, and there is room for %d of all Services together; raise datapath.maxRows, or give the Service fewer ports", len(ports), len(families), tables, c.Tables)}
	case c.Frontends > 0 && frontends > c.Frontends:
		return refusal{TooManyPorts, fmt.Sprintf("%d ports on %d addresses make %d frontends, and there is room for %d of all Services together; raise datapath.maxFrontends", len(ports), len(vips), frontends, c.Frontends)}
	}
	return refusal{}
}

// reserved says why no Service may have addr.
func (s Site) reserved(addr netip.Addr) refusal {
	device, own := s.Own[addr]
	peer, speaks := s.Peers[addr]
	switch {
	case own:
		return refusal{AddressIsNode, fmt.Sprintf("it is this node's own address on %s; give one that no host has", device)}
	case speaks:
		return refusal{AddressIsPeer, fmt.Sprintf("it is %s; give one that no host has", peer)}
	}
	return refusal{}
}

// outside says why addr may not be a VIP here.
func (s Site) outside(addr netip.Addr) refusal {
	if len(s.VIPs) == 0 || slices.ContainsFunc(s.VIPs, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return refusal{}
	}
	var networks []string
	for _, p := range s.VIPs {
		networks = append(networks, p.String())
	}
	return refusal{OutsideVIPs, fmt.Sprintf("the configuration allows vips %s; give an address of those, or add its network to vips", strings.Join(networks, ", "))}
}
