package advertise

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/bgp"
)

// Entry is one of the list of advertisements.
type Entry struct {
	Name string

	// What it selects: each that is set must allow a VIP and its Service.
	ServiceSelector   ipam.Selector // nil: any
	Namespaces        []string      // empty: all
	NamespaceSelector ipam.Selector // nil: any
	Pools             []string      // names of those that the VIP may be of; empty: it need be of none

	Peers []string // names of those that it is for; empty: all

	Communities      []bgp.Community
	LargeCommunities []bgp.LargeCommunity
	LocalPref, MED   *uint32 // nil: as in bgp.Attributes
	Prepend          uint8
	LinkBandwidth    Bandwidth

	// AggregateLength4 and AggregateLength6 are the lengths of the prefixes that VIPs of a family
	// are told as parts of; 0: none.
	AggregateLength4, AggregateLength6 uint8
	// AggregateOnly suppresses the VIPs' own prefixes where there is an aggregate.
	AggregateOnly bool
}

// Subject is a VIP of a Service, as entries see it.
type Subject struct {
	VIP             netip.Addr
	Namespace       string
	NamespaceLabels map[string]string // nil: not known yet
	Labels          map[string]string // of the Service
}

// excludes says why an entry does not select s; empty if it does. Of a namespace that is not known
// yet no selector says anything.
func (e *Entry) excludes(s Subject, pools []ipam.Pool) string {
	has := func(p ipam.Pool) bool { return slices.Contains(e.Pools, p.Name) && p.Contains(s.VIP) }
	switch {
	case len(e.Namespaces) > 0 && !slices.Contains(e.Namespaces, s.Namespace):
		return fmt.Sprintf("its namespaces %s leave out %s", strings.Join(e.Namespaces, ", "), s.Namespace)
	case e.NamespaceSelector != nil && s.NamespaceLabels == nil:
		return fmt.Sprintf("it has a namespaceSelector, and namespace %s is not known yet", s.Namespace)
	case e.NamespaceSelector != nil && !e.NamespaceSelector.Matches(s.NamespaceLabels):
		return fmt.Sprintf("its namespaceSelector %s leaves out namespace %s", e.NamespaceSelector, s.Namespace)
	case e.ServiceSelector != nil && !e.ServiceSelector.Matches(s.Labels):
		return fmt.Sprintf("its serviceSelector %s leaves out the Service", e.ServiceSelector)
	case len(e.Pools) > 0 && !slices.ContainsFunc(pools, has):
		return fmt.Sprintf("its pools %s do not have %s", strings.Join(e.Pools, ", "), s.VIP)
	}
	return ""
}

// Unselective tells whether an entry decides of every VIP what every peer is told.
func (e *Entry) Unselective() bool {
	return e.ServiceSelector == nil && len(e.Namespaces) == 0 && e.NamespaceSelector == nil && len(e.Pools) == 0 && len(e.Peers) == 0
}

// aggregate gives the prefix that a VIP is told as part of; invalid if none.
func (e *Entry) aggregate(vip netip.Addr) netip.Prefix {
	length := e.AggregateLength6
	if vip.Is4() {
		length = e.AggregateLength4
	}
	if length == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(vip, int(length)).Masked()
}

// Attributes are those of the paths that it has announced. capacity is that of the node in bytes
// per second, 0 if it is not known.
func (e *Entry) Attributes(capacity uint64) bgp.Attributes {
	return bgp.Attributes{
		Communities: e.Communities, LargeCommunities: e.LargeCommunities, LocalPref: e.LocalPref, MED: e.MED,
		Prepend: e.Prepend, Bandwidth: e.LinkBandwidth.bytes(capacity),
	}
}
