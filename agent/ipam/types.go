package ipam

import (
	"net/netip"
	"time"
)

// Pool is a set of addresses that Services can have.
type Pool struct {
	Name       string
	Ranges     []Range
	Priority   int  // of pools that could serve a claim, the one of the lowest number is asked first; then by name
	AutoAssign bool // false: only for claims that ask for the pool or for an address of it

	// AvoidBuggyIPs leaves out, unless a claim asks for one, IPv4 addresses that end in .0
	// or .255, which some clients cannot reach, and the first address of an IPv6 network,
	// which is that of all routers there (RFC 4291, 2.6.1); not of a /127 or /128.
	AvoidBuggyIPs bool

	// Which claims may have addresses of it; empty ones: all.
	Namespaces        []string
	NamespaceSelector Selector // nil: any
	ServiceSelector   Selector // nil: any
}

// Selector chooses objects by their labels.
type Selector interface {
	Matches(labels map[string]string) bool
	String() string
}

// Range is the addresses from First to Last, of one family.
type Range struct{ First, Last netip.Addr }

// Policy is a Service's ipFamilyPolicy.
type Policy uint8

const (
	SingleStack Policy = iota // one address, of the first family
	PreferDual                // one of each family that there is
	RequireDual               // one of each family, or none
)

// Port is what two claims on one address may not both have.
type Port struct {
	Number   uint16
	Protocol string // TCP or UDP
}

// Claim is what one Service asks for, and what it has.
type Claim struct {
	Service         string    // namespace/name
	UID             string    // tells it from a later one of its name
	Created         time.Time // of two that hold one address, the older one keeps it
	Namespace       string
	NamespaceLabels map[string]string // nil: the namespace is not known yet
	Labels          map[string]string

	IPv4, IPv6 bool // its ipFamilies
	First6     bool // ipFamilies begins with IPv6
	Policy     Policy
	Ports      []Port

	Requested  []netip.Addr // spec.loadBalancerIP, annotation penstock.dev/ips; at most one of each family
	AskedBy    string       // the field that Requested is from
	Pool       string       // annotation penstock.dev/pool; empty: any
	SharingKey string       // annotation penstock.dev/sharing-key, of its namespace; empty: it shares no address

	// Invalid says what is wrong with its request: it keeps what it holds and gets nothing
	// new, and these are among the Decision's refusals.
	Invalid []Finding

	Held    []netip.Addr // those in its status
	Version string       // its resourceVersion; opaque
}

// Reason names why a claim has not what it asks for. Reasons are part of the API: they are
// those of Events and of the condition on the Service.
type Reason string

const (
	Allocated          Reason = "Allocated"          // it has its addresses
	Shared             Reason = "Shared"             // it has them, one together with others
	PoolExhausted      Reason = "PoolExhausted"      // no address is free in the pools that it may use
	NoPool             Reason = "NoPool"             // no pool serves it
	AddressInUse       Reason = "AddressInUse"       // another Service has the requested address and does not share it, or too many do
	PortInUse          Reason = "PortInUse"          // another Service has the port on the shared address
	AddressOutsidePool Reason = "AddressOutsidePool" // no pool that it may use has the requested address
	PoolShrunk         Reason = "PoolShrunk"         // it keeps an address that no pool has any more
	FamilyMissing      Reason = "FamilyMissing"      // it prefers two families and there is one
	InvalidRequest     Reason = "InvalidRequest"     // what it asks for contradicts itself
)

// Refusals are the reasons of a claim that has not what it asks for.
var Refusals = []Reason{PoolExhausted, NoPool, AddressInUse, PortInUse, AddressOutsidePool, FamilyMissing, InvalidRequest}

// Finding is one thing to be said of a claim.
type Finding struct {
	Reason  Reason
	Field   string // of the Service that asks for it, as in "spec.loadBalancerIP"; may be empty
	Message string // names the object, the value and the way out
}

// Decision is what a claim is to have.
type Decision struct {
	Service, UID string
	Addresses    []netip.Addr // all that it is to have, the first family first; empty: none
	Pools        []string     // of each address, empty for one that no pool has
	Changed      bool         // they are others than those it held
	Refused      []Finding    // why it has not all that it asks for
	Warnings     []Finding    // it has, but
	SharedWith   []string     // namespace/name of others with one of its addresses, sorted; a few
	SharedMore   bool         // there are others than these
}

// Usage is how full a pool is, of one family.
type Usage struct {
	Pool      string `json:"pool"`
	Family    string `json:"family"` // ipv4 or ipv6
	Total     uint64 `json:"total"`  // saturates
	Allocated uint64 `json:"allocated"`
}
