package desired

import (
	"iter"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	lbmaps "github.com/penstock-lb/penstock/maps"
)

// Model keeps the wanted state of an LB node up to date, at a cost that is proportional
// to what changed. It is for one goroutine.
//
// A Service is worked out in two steps. What it asks for depends on its own objects, and
// on the site, alone. What it gets depends beside that on what those ask for that it
// shares an address with, but not on what they get: so a change reaches no further than
// to Services with an address in common.
type Model struct {
	now   time.Time
	site  Site
	nodes []*corev1.Node
	facts facts

	entries map[string]*entry // by the Service's namespace/name
	askers  index[netip.Addr] // Services that ask for a VIP
	homes   index[netip.Addr] // Services with an endpoint of an address
	onNode  index[string]     // Services with an endpoint on a node
	dead    map[netip.Addr]int
	asked   map[family]int  // VIPs that are asked for
	timed   map[string]bool // Services whose time of deletion is yet to come

	standings map[netip.Addr]*standing // by VIP; of what is asked for now
}

// NewModel returns one that knows of no object.
func NewModel() *Model {
	m := &Model{
		entries: map[string]*entry{},
		askers:  index[netip.Addr]{}, homes: index[netip.Addr]{}, onNode: index[string]{},
		dead: map[netip.Addr]int{}, asked: map[family]int{}, timed: map[string]bool{},
		standings: map[netip.Addr]*standing{},
	}
	m.facts = newFacts(nil, Site{}, time.Time{})
	return m
}

// Change is what may be another after [Model.Apply].
type Change struct {
	Services map[string]bool     // by namespace/name; some may be gone
	VIPs     map[netip.Addr]bool // some may be gone
	Fabric   bool                // what State has of nodes
}

// Add joins what two calls of Apply did.
func (c *Change) Add(other Change) {
	if c.Services == nil {
		c.Services, c.VIPs = map[string]bool{}, map[netip.Addr]bool{}
	}
	maps.Copy(c.Services, other.Services)
	maps.Copy(c.VIPs, other.VIPs)
	c.Fabric = c.Fabric || other.Fabric
}

// Empty says that nothing is another.
func (c Change) Empty() bool { return len(c.Services)+len(c.VIPs) == 0 && !c.Fabric }

// Apply takes over what changed in the source and at the site. Timestamps are judged at now.
func (m *Model) Apply(d Delta, site Site, now time.Time) Change {
	m.now = now
	change := Change{Services: map[string]bool{}, VIPs: map[netip.Addr]bool{}}
	ask, get := map[string]bool{}, map[string]bool{} // to be worked out from the first, and from the second step on
	m.survey(d, site, ask, get, &change)
	m.take(d, ask)
	for name := range m.timed {
		ask[name] = true
	}
	told := m.ask(ask, get)
	m.standings = map[netip.Addr]*standing{}
	m.retell(told, get)
	for name := range get {
		m.get(name, change.VIPs)
		change.Services[name] = true
	}
	m.forget(get)
	return change
}

// survey takes over what is said of nodes and of the site, and finds the Services to which
// it is something new.
func (m *Model) survey(d Delta, site Site, ask, get map[string]bool, change *Change) {
	nodes := d.Reset || d.NodesChanged
	if nodes {
		m.nodes = d.Nodes
	}
	// Who would take over may have died since, of which no object tells.
	nodes = nodes || m.facts.said.Drain != ""
	other := !sameSite(m.site, site)
	if !nodes && !other && m.site.sees(site) {
		return
	}
	before := m.facts
	local := other || nodes
	m.site = site
	m.facts = newFacts(m.nodes, site, m.now)
	change.Fabric = true
	if local && (other || !before.same(m.facts)) {
		for name := range m.entries {
			ask[name] = true
		}
		return
	}
	for node, services := range m.onNode {
		if before.way(node) != m.facts.way(node) {
			for name := range services {
				get[name] = true
			}
		}
	}
}

// take replaces the bundles that changed.
func (m *Model) take(d Delta, ask map[string]bool) {
	if d.Reset {
		for name := range m.entries {
			if _, still := d.Bundles[name]; !still {
				m.entries[name].bundle = Bundle{}
				ask[name] = true
			}
		}
	}
	for name, b := range d.Bundles {
		e := m.entries[name]
		switch {
		case e == nil:
			e = &entry{name: name}
			m.entries[name] = e
		case e.bundle.same(b):
			continue
		}
		e.bundle = b
		ask[name] = true
	}
}

// ask works out what Services ask for, and notes in get all that may get something else
// for it. By VIP, the names are returned of those that say something else of it to routers.
func (m *Model) ask(names, get map[string]bool) (told index[netip.Addr]) {
	told = index[netip.Addr]{}
	for name := range names {
		e := m.entries[name]
		get[name] = true
		before := e.wish
		m.index(e, false)
		e.wish = m.wish(e)
		m.index(e, true)
		delete(m.timed, name)
		if e.wish.timed {
			m.timed[name] = true
		}
		for addr := range differing(before, e.wish) {
			for other := range m.askers[addr] {
				get[other] = true
			}
			if len(m.askers[addr]) == 0 && !slices.Contains(before.vips, addr) {
				continue // it is nobody's VIP: endpoints may have it in common
			}
			for other := range m.homes[addr] {
				get[other] = true
			}
		}
		for _, vip := range replanned(before, e.wish) {
			told.set(vip, name, true)
		}
	}
	return told
}

// index enters what e asks for into the indices, or removes it.
func (m *Model) index(e *entry, enter bool) {
	for _, a := range e.wish.vips {
		before := len(m.askers[a])
		m.askers.set(a, e.name, enter)
		switch after := len(m.askers[a]); {
		case before == 0 && after > 0:
			m.asked[familyOf(a)]++
		case before > 0 && after == 0:
			m.asked[familyOf(a)]--
		}
	}
	for a := range e.wish.ends {
		m.homes.set(a, e.name, enter)
	}
	for n := range e.wish.nodes {
		m.onNode.set(n, e.name, enter)
	}
}

// get works out what a Service gets, and notes its addresses.
func (m *Model) get(name string, vips map[netip.Addr]bool) {
	e := m.entries[name]
	note := func() {
		for _, t := range e.tables {
			for _, f := range t.Frontends {
				vips[f.VIP] = true
			}
		}
		for _, a := range e.seen {
			vips[a] = true
		}
	}
	note()
	for a := range e.dead {
		if m.dead[a]--; m.dead[a] == 0 {
			delete(m.dead, a)
		}
	}
	m.fill(e)
	for a := range e.dead {
		m.dead[a]++
	}
	note()
}

// forget drops the Services of which there is nothing any more.
func (m *Model) forget(names map[string]bool) {
	for name := range names {
		if e := m.entries[name]; e.bundle.Service == nil && len(e.bundle.Slices) == 0 {
			delete(m.entries, name)
		}
	}
}

// index maps what Services have in common to their names.
type index[K comparable] map[K]map[string]bool

func (x index[K]) set(k K, name string, enter bool) {
	if enter {
		if x[k] == nil {
			x[k] = map[string]bool{}
		}
		x[k][name] = true
		return
	}
	delete(x[k], name)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

func (b Bundle) same(o Bundle) bool {
	return b.Service == o.Service && b.Namespace == o.Namespace && slices.Equal(b.Slices, o.Slices) && slices.Equal(b.Pods, o.Pods)
}

// sameSite compares what Services depend on directly.
func sameSite(a, b Site) bool {
	return a.Node == b.Node && maps.Equal(a.Own, b.Own) && maps.Equal(a.Peers, b.Peers) && slices.Equal(a.VIPs, b.VIPs) &&
		a.Forwarding == b.Forwarding && a.TunnelPort == b.TunnelPort && a.DefaultClass == b.DefaultClass && a.Capacity == b.Capacity &&
		a.Allocated == b.Allocated && reflect.DeepEqual(a.Pools, b.Pools) && reflect.DeepEqual(a.LBNodes, b.LBNodes) && a.Advertised.Equal(b.Advertised)
}

// sees compares what Services depend on by way of their nodes.
func (s Site) sees(o Site) bool {
	return s.FailOpen == o.FailOpen && s.Publishes == o.Publishes && s.Fresh == o.Fresh && s.Placement == o.Placement && s.Allocation == o.Allocation && maps.Equal(s.Answering, o.Answering) && maps.Equal(s.Sticky, o.Sticky) &&
		maps.EqualFunc(s.Dead, o.Dead, time.Time.Equal)
}

// Tables gives what a Service is to the data path, by name; none where it is gone or
// refused.
func (m *Model) Tables(service string) []lbmaps.Service {
	e := m.entries[service]
	if e == nil {
		return nil
	}
	out := make([]lbmaps.Service, len(e.tables))
	for i, t := range e.tables {
		out[i] = t.Service
	}
	return out
}

// Backends gives the ways to a Service's backends, as in State.
func (m *Model) Backends(service string) (out []Backend) {
	if e := m.entries[service]; e != nil {
		for _, t := range e.tables {
			out = append(out, t.ways...)
		}
	}
	return out
}

// Reasons gives why parts of a Service are not in force.
func (m *Model) Reasons(service string) []ServiceReason {
	if e := m.entries[service]; e != nil {
		return e.reasons
	}
	return nil
}

// Object gives the objects of a Service.
func (m *Model) Object(service string) (Bundle, bool) {
	e := m.entries[service]
	if e == nil {
		return Bundle{}, false
	}
	return e.bundle, e.bundle.Service != nil
}

// VIP judges one address; false where no Service may have it.
func (m *Model) VIP(addr netip.Addr) (VIP, bool) {
	if len(m.askers[addr]) == 0 {
		return VIP{}, false
	}
	if _, rival := m.rival(addr); rival {
		return VIP{}, false
	}
	var tables []table
	for name := range m.askers[addr] {
		for _, t := range m.entries[name].tables {
			if slices.ContainsFunc(t.Frontends, func(f lbmaps.Frontend) bool { return f.VIP == addr }) {
				tables = append(tables, t)
			}
		}
	}
	return judgeVIP(addr, tables, m.facts.away, m.plan(addr)), true
}

// VIPs gives the addresses that a Service asks for and may have, or share.
func (m *Model) VIPs(service string) []netip.Addr {
	if e := m.entries[service]; e != nil {
		return e.wish.vips
	}
	return nil
}

// Services gives the names of all Services that there are objects of, ours or not.
func (m *Model) Services() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name, e := range m.entries {
			if e.bundle.Service != nil && !yield(name) {
				return
			}
		}
	}
}

// Families tells in which address families Services ask for VIPs.
func (m *Model) Families() map[string]bool {
	out := map[string]bool{}
	for f, vips := range m.asked {
		if vips > 0 {
			out[string(f)] = true
		}
	}
	return out
}
