package desired

import (
	"cmp"
	"fmt"
	stdmaps "maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/maps"
)

// entry is one Service, or slices without one.
type entry struct {
	name   string
	bundle Bundle
	wish   wish

	// What it gets.
	seen    []netip.Addr // of wish.vips, as judged last
	tables  []table      // by name
	reasons []ServiceReason
	dead    map[netip.Addr]bool // ingress nodes that do not answer
}

// wish is what a Service asks for. It depends on no other one.
type wish struct {
	svc      *corev1.Service     // nil: it is not ours, or refused as a whole
	timed    bool                // that may be another one when time has passed
	external map[netip.Addr]bool // of vips, those that package ipam did not give it
	vips     []netip.Addr
	ports    []port
	numbers  map[numbered]bool // of ports
	closed   bool              // it is refused, and keeps its frontends from others nevertheless
	sources  sources
	plans    map[netip.Addr]advertise.Plan // of vips: what it has routers told of them
	reasons  []ServiceReason
	ends     map[netip.Addr]bool // addresses of its endpoints; true: a pod's
	nodes    map[string]bool     // that its endpoints are on
}

// numbered is what makes two ports one, on one address.
type numbered struct {
	number uint16
	proto  maps.Proto
}

type table struct {
	maps.Service
	port   port
	family family
	ways   []Backend
	why    refusal // what is to be said about its backends
	hints  refusal // why zone hints do not count
}

func (t table) usable() bool {
	return (!t.Restricted || len(t.Sources) > 0) && slices.ContainsFunc(t.Backends, maps.Backend.Eligible)
}

// builder works out one Service.
type builder struct {
	site   Site
	ways   *ways
	area   area
	nodes  map[netip.Addr]string // addresses of hosts, each with its node
	pods   map[string]*corev1.Pod
	slices []*discoveryv1.EndpointSlice
	space  *corev1.Namespace                // nil: not known
	holder func(netip.Addr) *corev1.Service // whose VIP an address is; nil: nobody's

	dead    map[netip.Addr]bool // ingress nodes that do not answer
	reasons []ServiceReason
}

func (m *Model) builder(e *entry) *builder {
	return &builder{
		site: m.site, ways: m.facts.ways, area: m.facts.area, nodes: m.facts.hosts,
		pods: byName(e.bundle.Pods), slices: e.bundle.Slices, space: e.bundle.Namespace, holder: m.holder, dead: map[netip.Addr]bool{},
	}
}

func (b *builder) explain(svc *corev1.Service, subject string, r Reason, detail string) {
	b.reasons = append(b.reasons, ServiceReason{Service: key(svc), Subject: subject, Reason: r, Detail: detail})
}

// wish works out what e asks for.
func (m *Model) wish(e *entry) (w wish) {
	w.ends, w.nodes = ends(e.bundle)
	svc := e.bundle.Service
	if svc == nil {
		return w
	}
	b := m.builder(e)
	w.timed = svc.DeletionTimestamp != nil && svc.DeletionTimestamp.After(m.now)
	mine, no := ours(svc, m.site.DefaultClass, m.now)
	if no.reason != "" {
		b.explain(svc, "", no.reason, no.detail)
	}
	if mine && no.reason == "" {
		w.svc = svc
		w.vips, w.external = b.vips(svc)
		w.ports, w.numbers = b.ports(svc), map[numbered]bool{}
		for _, p := range w.ports {
			w.numbers[numbered{p.number, p.proto}] = true
		}
		w.sources, w.closed = b.limits(svc, &w)
		w.plans = b.plans(svc, w.vips)
		b.misnamed(svc)
	}
	w.reasons = b.reasons
	return w
}

// ends gives the addresses of endpoints, and the nodes that they are on.
func ends(b Bundle) (addrs map[netip.Addr]bool, nodes map[string]bool) {
	addrs, nodes = map[netip.Addr]bool{}, map[string]bool{}
	pods := byName(b.Pods)
	for _, s := range b.Slices {
		for _, ep := range s.Endpoints {
			if len(ep.Addresses) == 0 {
				continue
			}
			if addr, err := netip.ParseAddr(ep.Addresses[0]); err == nil {
				addrs[addr] = addrs[addr] || ep.TargetRef != nil && ep.TargetRef.Kind == "Pod"
			}
			nodes[nodeOf(ep, podOf(ep, s, pods))] = true
		}
	}
	return addrs, nodes
}

// differing gives the addresses with which others may get something else, now that one
// Service asks for b instead of a. Of a Service nothing but its rank counts to others.
func differing(a, b wish) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	if !sameRank(a.svc, b.svc) {
		for _, addr := range slices.Concat(a.vips, b.vips) {
			out[addr] = true
		}
		for _, w := range []wish{a, b} {
			for addr := range w.ends {
				out[addr] = true
			}
		}
		return out
	}
	for _, w := range [][2]wish{{a, b}, {b, a}} {
		for addr, pod := range w[0].ends {
			if other, has := w[1].ends[addr]; !has || pod != other {
				out[addr] = true
			}
		}
		for _, addr := range w[0].vips {
			if !slices.Contains(w[1].vips, addr) || w[0].external[addr] != w[1].external[addr] {
				out[addr] = true
			}
		}
	}
	for _, addr := range b.vips {
		if !stdmaps.Equal(a.numbers, b.numbers) {
			out[addr] = true
		}
	}
	return out
}

// sameRank tells whether two versions of one Service, either of which may be nil, come
// before and behind the same others.
func sameRank(a, b *corev1.Service) bool {
	return a == b || a != nil && b != nil && a.CreationTimestamp.Time.Equal(b.CreationTimestamp.Time)
}

// limits reads whom svc is for, and tells whether it is refused: it is served as it asks
// to be or not at all.
func (b *builder) limits(svc *corev1.Service, w *wish) (s sources, closed bool) {
	s, no := sourcesOf(svc)
	for _, no := range []refusal{no, b.site.Capacity.exceeded(w.ports, w.vips)} {
		if no.reason != "" {
			b.explain(svc, "", no.reason, no.detail)
			closed = true
		}
	}
	return s, closed
}

// ports gives the ports of svc that can be served. Of two with the same name or
// number and protocol, the first is.
func (b *builder) ports(svc *corev1.Service) []port {
	var out []port
	numbers, labels := map[numbered]int{}, map[string]int{}
	for _, sp := range svc.Spec.Ports {
		p, no := parsePort(sp)
		if no.reason != "" {
			b.explain(svc, "port "+p.label, no.reason, no.detail)
			continue
		}
		number, label := numbered{p.number, p.proto}, p.String()
		twin, taken := numbers[number]
		if i, named := labels[label]; named && (!taken || i < twin) {
			twin, taken = i, true
		}
		if taken {
			b.explain(svc, "port "+p.String(), InvalidPort, fmt.Sprintf("port %d has the name or the number of port %s, which comes first", p.number, out[twin]))
			continue
		}
		numbers[number], labels[label] = len(out), len(out)
		out = append(out, p)
	}
	return out
}

// fill works out what e gets.
func (m *Model) fill(e *entry) {
	e.seen, e.tables, e.dead = e.wish.vips, nil, nil
	b := m.builder(e)
	b.reasons = slices.Clone(e.wish.reasons)
	if svc := e.wish.svc; svc != nil {
		e.tables = m.claim(e, b)
		m.advertise(e, b)
		b.fill(svc, e.tables, e.wish.sources)
		slices.SortFunc(e.tables, func(a, b table) int { return cmp.Compare(a.Name, b.Name) })
		e.dead = b.dead
	}
	slices.SortFunc(b.reasons, compareReasons)
	e.reasons = slices.Compact(b.reasons)
}

// claim makes the tables of the frontends that e has.
func (m *Model) claim(e *entry, b *builder) (out []table) {
	svc := e.wish.svc
	vips := slices.DeleteFunc(slices.Clone(e.wish.vips), func(a netip.Addr) bool {
		rival, lost := m.rival(a)
		if lost {
			b.explain(svc, a.String(), AddressIsEndpoint, fmt.Sprintf("Service %s has an endpoint of that address; give one that no host has", rival))
		}
		owner := m.grantee(a)
		if owner != nil && e.wish.external[a] {
			b.explain(svc, a.String(), ExternalIPRefused, fmt.Sprintf("spec.externalIPs has it, but Service %s got it from a pool; take one that no Service has", key(owner)))
			lost = true
		}
		return lost
	})
	aff, no := affinity(svc)
	if no.reason != "" {
		b.explain(svc, "", no.reason, no.detail)
	}
	for _, f := range []family{ipv4, ipv6} {
		if e.wish.closed {
			break
		}
		of := slices.DeleteFunc(slices.Clone(vips), func(a netip.Addr) bool { return familyOf(a) != f })
		for _, p := range e.wish.ports {
			t := table{port: p, family: f}
			t.Name, t.Affinity = tableName(svc, p, f), aff
			e.wish.sources.restrict(&t.Service, f)
			t.Frontends = m.frontends(b, svc, p, of)
			if len(t.Frontends) > 0 {
				out = append(out, t)
			}
		}
	}
	return out
}

// frontends gives those of port p that svc has: all that no senior Service asks for.
func (m *Model) frontends(b *builder, svc *corev1.Service, p port, vips []netip.Addr) []maps.Frontend {
	var out []maps.Frontend
	for _, vip := range vips {
		fe := maps.Frontend{VIP: vip, Port: p.number, Proto: p.proto}
		owner := m.standing(vip).ports[numbered{p.number, p.proto}]
		if owner != svc {
			b.explain(svc, fe.String(), FrontendTaken, fmt.Sprintf("Service %s has it: it %s; give one of them another address or port", key(owner), whySenior(owner, svc)))
			continue
		}
		out = append(out, fe)
	}
	return out
}

// fill gives tables their backends.
func (b *builder) fill(svc *corev1.Service, tables []table, from sources) {
	sets := b.parseSlices(svc)
	f, source := b.forwarding(svc)
	for i := range tables {
		t := &tables[i]
		b.backends(sets, t, f, source)
		if t.why.reason == NoEndpoints {
			t.why.detail += b.otherFamily(svc, t.family)
		}
		if t.Restricted && len(t.Sources) == 0 {
			t.why = from.nobody(t.family)
		}
		if t.why.reason != "" {
			b.explain(svc, "port "+t.port.String()+"/"+string(t.family), t.why.reason, t.why.detail)
		}
	}
	about := []refusal{apart(tables)}
	for _, t := range tables {
		about = append(about, t.hints)
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		about = append(about, hidden(tables))
	}
	for _, no := range about {
		if no.reason != "" {
			b.explain(svc, "", no.reason, no.detail)
		}
	}
}
