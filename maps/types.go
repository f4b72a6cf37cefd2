package maps

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/maps/chain"
)

// Proto is an IP protocol number (IANA).
type Proto uint8

// The protocols that a frontend can have.
const (
	TCP Proto = 6
	UDP Proto = 17
)

func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// MarshalText gives the name.
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText takes what MarshalText gives for TCP and UDP.
func (p *Proto) UnmarshalText(b []byte) error {
	switch string(b) {
	case "tcp":
		*p = TCP
	case "udp":
		*p = UDP
	default:
		return fmt.Errorf("protocol %q is neither tcp nor udp", b)
	}
	return nil
}

// Frontend is what clients address: a VIP, a port and a protocol.
type Frontend struct {
	VIP   netip.Addr `json:"vip"`
	Port  uint16     `json:"port"`
	Proto Proto      `json:"protocol"`
}

func (f Frontend) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.VIP, f.Port), f.Proto)
}

// Affinity says which packets of a client go to one backend.
type Affinity uint8

const (
	AffinityNone     Affinity = iota // each flow is placed on its own
	AffinityClientIP                 // all flows of a client's address go to one backend
)

func (a Affinity) String() string {
	if a == AffinityClientIP {
		return "ClientIP"
	}
	return "None"
}

// MarshalText gives the name that Kubernetes has for it.
func (a Affinity) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText takes what MarshalText gives.
func (a *Affinity) UnmarshalText(b []byte) error {
	switch string(b) {
	case "None":
		*a = AffinityNone
	case "ClientIP":
		*a = AffinityClientIP
	default:
		return fmt.Errorf("session affinity %q is neither None nor ClientIP", b)
	}
	return nil
}

// Backend is one endpoint of a service.
type Backend struct {
	Addr netip.AddrPort // the pod's
	Node string         // name of the node that it runs on, empty if unknown

	// Weight is the backend's share of new flows relative to the service's other
	// backends, also while it takes none. 0: it never takes any.
	Weight uint32
	// Draining says that it takes no new flow now, while those that it has go on: it
	// is not ready, or terminating, or its node does not answer.
	Draining bool

	// Tunnel is the address of the ingress node that takes the backend's packets out
	// of a tunnel. Invalid: they are translated on this node (NAT).
	Tunnel netip.Addr

	// BornAt is the earliest time at which it can have had flows; EligibleSince, unless
	// it is draining, since when it has taken new ones without a break. Zero stands for
	// time immemorial. LostAt, of a draining one, is since when it has taken none, zero
	// if that is not known. See package chain.
	BornAt, EligibleSince, LostAt time.Time
	Former                        []chain.Former // weights that it had before
}

// Eligible tells whether the backend takes new flows.
func (b Backend) Eligible() bool { return b.Weight > 0 && !b.Draining }

// Service is one lookup table: one port of one Kubernetes Service in one
// address family, reached by one or more frontends.
type Service struct {
	Name      string // unique, at most 159 bytes, as in "default/web:http/tcp/ipv4"
	Frontends []Frontend
	Backends  []Backend
	Affinity  Affinity
	Sizes     []chain.Size // that its table had before

	// Restricted says that only clients of Sources are served; of none, if it is empty.
	// Sources are of the frontends' family, in any order.
	Restricted bool
	Sources    []netip.Prefix
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText gives the usual notation.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes what MarshalText gives.
func (m *MAC) UnmarshalText(b []byte) error {
	mac, err := net.ParseMAC(string(b))
	if err != nil {
		return err
	}
	if len(mac) != len(m) {
		return fmt.Errorf("MAC %q has not 6 bytes", b)
	}
	*m = MAC(mac)
	return nil
}

// NextHop says how a packet leaves this node towards a backend. The zero value
// is unresolved: the data path asks the kernel's FIB.
type NextHop struct {
	Ifindex uint32     `json:"ifindex"` // the device that transmits (the lower one of a VLAN device)
	VLAN    uint16     `json:"vlan"`    // 802.1Q ID, 0 for none
	SrcMAC  MAC        `json:"srcMac"`
	DstMAC  MAC        `json:"dstMac"`
	MTU     uint16     `json:"mtu"`    // bytes of IP packet that fit the route, 0 if unknown
	Source  netip.Addr `json:"source"` // this node's address on the way to the backend
}

// Member is an address between which and others there are tunnels.
type Member struct {
	Addr    netip.Addr
	Self    bool // it is this node's own
	LB      bool // it is an LB node's: an ingress node takes its packets
	Backend bool // it is an ingress node's: an LB node takes its bounces
}

// Want is the whole content of the tables, or a part of it. What it refers to stays as
// it is until the Sync has ended.
type Want struct {
	// Partial says that Services has only those that are to change, and Removed the names
	// of those that are to go; a name in both stays. All others stay as the last Sync
	// wanted them. NextHops then needs only the addresses of Services and of all ingress
	// nodes; Members and Dead are whole. IPv4 addresses are plain, not mapped into IPv6.
	Partial bool
	Removed []string

	Services []Service
	NextHops map[netip.Addr]NextHop // by the address of a backend, or of its ingress node
	Members  []Member
	Dead     map[netip.Addr]bool // ingress nodes that do not answer
}

// ServiceError is one service's share of what Tables.Sync returns. The other
// services are in force.
type ServiceError struct {
	Service string
	Err     error
}

func (e *ServiceError) Error() string { return fmt.Sprintf("service %s: %v", e.Service, e.Err) }
func (e *ServiceError) Unwrap() error { return e.Err }
