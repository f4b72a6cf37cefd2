package api

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// Explainer is an Agent that can say of a Service what its source has and what follows.
type Explainer interface {
	// Object returns what the source has of a Service, by namespace/name; false if nothing.
	Object(service string) (*Object, bool)
	// Wanted returns the tables that the Service is to have, by name. They are shared.
	Wanted(service string) []maps.Service
}

// Force is how far a Service is in force on one node.
type Force string

const (
	InForce     Force = "in force"        // each of its ports has a backend, each of its VIPs is announced, and nothing of it was refused
	PartlyForce Force = "partly in force" // something of it works
	NotInForce  Force = "not in force"
	NotServed   Force = "not served" // it is not ours
	NotKnown    Force = "not known"  // no agent runs
)

// Explanation follows one Service from its API object to the routers, on one node.
type Explanation struct {
	Service string                  `json:"service"` // namespace/name
	Node    string                  `json:"node,omitempty"`
	Force   Force                   `json:"force"`
	Source  SourceStatus            `json:"source"` // without Problems
	Object  *Object                 `json:"object,omitempty"`
	Reasons []desired.ServiceReason `json:"reasons"` // why parts of it are not in force, or not as written
	VIPs    []ExplainedVIP          `json:"vips"`
	Tables  []ExplainedTable        `json:"tables"`
}

// ExplainedVIP is an address of the Service, with the routers that have it.
type ExplainedVIP struct {
	VIPStatus
	Since time.Time       `json:"since,omitzero"` // that it is to be announced
	Peers []bgp.RoutePeer `json:"peers"`
}

// ExplainedTable is one port in one family: a table with its frontends and backends.
type ExplainedTable struct {
	Service                     // without Backends
	Backends []ExplainedBackend `json:"backends"` // by address, those too that are not in the kernel
}

// BackendState is what a backend does for new flows.
type BackendState string

const (
	BackendReady     BackendState = "ready"     // takes new flows
	BackendDraining  BackendState = "draining"  // keeps those that it has
	BackendPending   BackendState = "pending"   // is not in the kernel yet
	BackendLeaving   BackendState = "leaving"   // is still in the kernel, and no longer wanted
	BackendUnreached BackendState = "unreached" // no packet can get there
)

// ExplainedBackend is a backend, and the endpoint that it comes from.
type ExplainedBackend struct {
	Backend
	State    BackendState `json:"state"`
	Weight   uint32       `json:"weight,omitempty"` // 0 if it is not known
	Endpoint *Endpoint    `json:"endpoint,omitempty"`
}

// Explain puts together what is known of a Service; false if that is nothing. It is for
// agents that run: without one, there are ExplainKernel's tables.
func Explain(agent Agent, service string) (Explanation, bool, error) {
	kernel, err := inTables(agent, []string{service})
	if err != nil {
		return Explanation{}, false, err
	}
	status := agent.Status()
	e := Explanation{Service: service, Node: status.Node, Source: status.Source}
	e.Source.Problems = []desired.Problem{}
	var wanted []maps.Service
	if x, ok := agent.(Explainer); ok {
		e.Object, _ = x.Object(service)
		wanted = x.Wanted(service)
	}
	e.Reasons = []desired.ServiceReason{}
	for _, r := range status.Reasons {
		if r.Service == service {
			e.Reasons = append(e.Reasons, r)
		}
	}
	tables := Select(Services(kernel, status), []string{service})
	e.Tables = explainTables(tables, status.ways(), wanted, e.Object)
	e.VIPs = explainVIPs(e, status.VIPs, agent.Routes())
	e.Force = e.force()
	return e, e.Object != nil || len(e.Tables) > 0 || len(e.Reasons) > 0, nil
}

// ExplainKernel is Explain for a node whose agent does not run.
func ExplainKernel(kernel []maps.ServiceStatus, service string) (Explanation, bool) {
	e := Explanation{Service: service, Force: NotKnown, Reasons: []desired.ServiceReason{}, VIPs: []ExplainedVIP{}}
	e.Source.Problems = []desired.Problem{}
	e.Tables = explainTables(Select(InKernel(kernel), []string{service}), nil, nil, nil)
	return e, len(e.Tables) > 0
}

func explainTables(tables []Service, said []desired.Backend, wanted []maps.Service, o *Object) []ExplainedTable {
	want := make(map[string]maps.Service, len(wanted))
	for _, w := range wanted {
		want[w.Name] = w
	}
	out := make([]ExplainedTable, len(tables))
	for i, s := range tables {
		w, known := want[s.Name]
		t := ExplainedTable{Service: s, Backends: []ExplainedBackend{}}
		t.Service.Backends = nil
		if !s.InKernel {
			t.Restricted, t.Sources = w.Restricted, w.Sources
		}
		// Backends that are wanted but not in the kernel yet are listed beside those that are.
		listed := s
		for _, b := range w.Backends {
			if !slices.ContainsFunc(s.Backends, func(k maps.BackendStatus) bool { return k.Addr == b.Addr }) {
				listed.Backends = append(slices.Clip(listed.Backends), maps.BackendStatus{Addr: b.Addr, Mode: modeOf(b), Tunnel: b.Tunnel})
			}
		}
		for _, b := range Backends([]Service{listed}, said) {
			x := ExplainedBackend{Backend: b, Endpoint: o.endpoint(b.Addr.Addr())}
			x.judge(s, w, known)
			t.Backends = append(t.Backends, x)
		}
		slices.SortStableFunc(t.Backends, func(a, b ExplainedBackend) int { return a.Addr.Compare(b.Addr) })
		out[i] = t
	}
	return out
}

func modeOf(b maps.Backend) maps.Mode {
	if b.Tunnel.IsValid() {
		return maps.DSR
	}
	return maps.NAT
}

// judge fills in what the backend does, as the kernel and the wanted table have it.
func (x *ExplainedBackend) judge(kernel Service, want maps.Service, known bool) {
	inKernel := slices.ContainsFunc(kernel.Backends, func(b maps.BackendStatus) bool { return b.Addr == x.Addr })
	at := slices.IndexFunc(want.Backends, func(b maps.Backend) bool { return b.Addr == x.Addr })
	if at >= 0 {
		x.Weight = want.Backends[at].Weight
	}
	switch {
	case x.Wanted == desired.ModeNone:
		x.State = BackendUnreached
	case !inKernel:
		x.State = BackendPending
	case known && at < 0:
		x.State = BackendLeaving
	case at >= 0 && !want.Backends[at].Eligible(), x.Rows == 0:
		x.State = BackendDraining
	default:
		x.State = BackendReady
	}
}

func (o *Object) endpoint(a netip.Addr) *Endpoint {
	if o == nil {
		return nil
	}
	if i := slices.IndexFunc(o.Endpoints, func(e Endpoint) bool { return e.Addr == a }); i >= 0 {
		return &o.Endpoints[i]
	}
	return nil
}

// explainVIPs lists the addresses that the Service's tables, object and routes have.
func explainVIPs(e Explanation, vips []VIPStatus, routes []bgp.Route) []ExplainedVIP {
	mine := map[netip.Addr]bool{}
	for _, t := range e.Tables {
		for _, f := range t.Frontends {
			mine[f.VIP] = true
		}
	}
	if e.Object != nil {
		for _, a := range e.Object.Held {
			mine[a] = true
		}
	}
	out := []ExplainedVIP{}
	for _, v := range vips {
		if mine[v.VIP] || slices.ContainsFunc(v.Services, func(n string) bool { return strings.HasPrefix(n, e.Service+":") }) {
			out = append(out, explainVIP(v, routes))
			delete(mine, v.VIP)
		}
	}
	for a := range mine { // no path is wanted for it
		v := VIPStatus{VIP: a, Services: []string{}}
		for _, r := range e.Reasons {
			// Of the address itself, or of a frontend on it.
			at, _, _ := strings.Cut(r.Subject, "/")
			frontend, err := netip.ParseAddrPort(at)
			if r.Subject == a.String() || err == nil && frontend.Addr() == a {
				v.Reason, v.Detail = r.Reason, r.Detail
			}
		}
		out = append(out, ExplainedVIP{VIPStatus: v, Peers: []bgp.RoutePeer{}})
	}
	slices.SortFunc(out, func(a, b ExplainedVIP) int { return a.VIP.Compare(b.VIP) })
	return out
}

func explainVIP(v VIPStatus, routes []bgp.Route) ExplainedVIP {
	x := ExplainedVIP{VIPStatus: v, Peers: []bgp.RoutePeer{}}
	for _, r := range routes {
		if !v.By(r.Prefix) {
			continue
		}
		if x.Since.IsZero() || r.Since.Before(x.Since) {
			x.Since = r.Since
		}
		for _, p := range r.Peers {
			if !slices.ContainsFunc(x.Peers, func(have bgp.RoutePeer) bool { return have.Peer == p.Peer }) {
				x.Peers = append(x.Peers, p)
			}
		}
	}
	return x
}

// force judges the whole. An agent that does not know VIPs judges its tables alone.
func (e *Explanation) force() Force {
	usable, announced := 0, 0
	for _, t := range e.Tables {
		if t.InKernel && t.Rows > 0 {
			usable++
		}
	}
	for _, v := range e.VIPs {
		if v.Announced {
			announced++
		}
	}
	switch {
	case usable > 0 && usable == len(e.Tables) && announced == len(e.VIPs) && !slices.ContainsFunc(e.Reasons, partial):
		return InForce
	case usable > 0 && announced > 0:
		return PartlyForce
	case usable == 0 && e.foreign():
		return NotServed
	}
	return NotInForce
}

// partial tells whether a port or an address of a Service is refused, which then has neither
// table nor VIP to show that.
func partial(r desired.ServiceReason) bool {
	switch r.Reason {
	case desired.UnsupportedProtocol, desired.InvalidPort, desired.FrontendTaken, desired.ExternalIPRefused, desired.OutsideVIPs,
		desired.InvalidAddress, desired.AddressIsNode, desired.AddressIsPeer, desired.AddressIsEndpoint:
		return true
	}
	return false
}

// foreign tells whether the object or its reasons say that others serve it.
func (e *Explanation) foreign() bool {
	if e.Object != nil && e.Object.Type != "LoadBalancer" {
		return true
	}
	return slices.ContainsFunc(e.Reasons, func(r desired.ServiceReason) bool {
		return r.Reason == desired.OtherClass || r.Reason == desired.NotLoadBalancer
	})
}

func nonNilList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
