package desired

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// From computes what the node of a site should do. Timestamps in the snapshot
// are judged at now.
func From(s Snapshot, site Site, now time.Time) State {
	f := newFabric(s.Nodes, site)
	b := builder{
		site:    site,
		ways:    newWays(f, site),
		pods:    byName(s.Pods),
		nodes:   f.addresses(nodeAddresses(s.Nodes)),
		slices:  byService(s.Slices),
		holders: map[netip.Addr]*corev1.Service{},
		rivals:  map[netip.Addr]string{},
		claims:  map[maps.Frontend]*corev1.Service{},
		dead:    map[netip.Addr]bool{},
	}
	services := slices.DeleteFunc(slices.Clone(s.Services), func(svc *corev1.Service) bool { return !b.admits(svc, now) })
	slices.SortFunc(services, seniority)
	for _, svc := range services {
		b.ask(svc)
	}
	b.yield(s.Slices, services)
	for i := range b.drafts {
		b.claim(&b.drafts[i])
	}
	for i := range b.drafts {
		b.fill(&b.drafts[i])
	}
	out := b.state(excluded(s.Nodes, site.Node))
	out.Members, out.Nodes, out.Sources = f.list(), f.ingress(), f.sources()
	out.Dead = b.dead
	out.Problems = f.without("lb", "ingress nodes take no tunnel packets from it", f.own != nil && f.own.lb, len(out.Nodes) > 0)
	return out
}

// builder collects a State in passes over the Services that are ours, in order
// of seniority: each asks for its VIPs, claims its frontends on those that it
// may have, and gets its backends, of which none may be a VIP.
type builder struct {
	site   Site
	ways   *ways
	pods   map[string]*corev1.Pod // by namespace/name
	nodes  map[netip.Addr]string
	slices map[string][]*discoveryv1.EndpointSlice

	holders map[netip.Addr]*corev1.Service // of each VIP, the most senior
	rivals  map[netip.Addr]string          // namespace/name of the Service with an endpoint there
	claims  map[maps.Frontend]*corev1.Service
	dead    map[netip.Addr]bool // ingress nodes that do not answer
	drafts  []draft
	reasons []ServiceReason
}

// draft is a Service that is ours, on its way to maps.Services.
type draft struct {
	svc    *corev1.Service
	vips   []netip.Addr
	tables []table
}

type table struct {
	maps.Service
	port   port
	family family
	ways   []Backend
	why    refusal // what is to be said about its backends
}

func (t table) usable() bool {
	return slices.ContainsFunc(t.Backends, maps.Backend.Eligible)
}

func (b *builder) explain(svc *corev1.Service, subject string, r Reason, detail string) {
	b.reasons = append(b.reasons, ServiceReason{Service: key(svc), Subject: subject, Reason: r, Detail: detail})
}

// admits reports whether svc is ours and not refused as a whole.
func (b *builder) admits(svc *corev1.Service, now time.Time) bool {
	mine, no := ours(svc, now)
	if no.reason != "" {
		b.explain(svc, "", no.reason, no.detail)
	}
	return mine && no.reason == ""
}

func (b *builder) ask(svc *corev1.Service) {
	d := draft{svc: svc, vips: b.vips(svc)}
	for _, a := range d.vips {
		if b.holders[a] == nil {
			b.holders[a] = svc
		}
	}
	b.drafts = append(b.drafts, d)
}

func (b *builder) claim(d *draft) {
	svc := d.svc
	vips := slices.DeleteFunc(d.vips, func(a netip.Addr) bool {
		rival, lost := b.rivals[a]
		if lost {
			b.explain(svc, a.String(), AddressIsEndpoint, fmt.Sprintf("Service %s has an endpoint of that address; give one that no host has", rival))
		}
		return lost
	})
	aff, no := affinity(svc)
	if no.reason != "" {
		b.explain(svc, "", no.reason, no.detail)
	}
	ports := b.ports(svc)
	for _, f := range []family{ipv4, ipv6} {
		of := slices.DeleteFunc(slices.Clone(vips), func(a netip.Addr) bool { return familyOf(a) != f })
		if ranges, yes := restricted(svc, f); yes && len(of) > 0 {
			b.explain(svc, string(f), SourceRanges, fmt.Sprintf("source ranges %s cannot be enforced; remove them to open the Service to everybody", ranges))
			continue
		}
		for _, p := range ports {
			t := table{port: p, family: f}
			t.Name, t.Affinity = tableName(svc, p, f), aff
			t.Frontends = b.frontends(svc, p, of)
			if len(t.Frontends) > 0 {
				d.tables = append(d.tables, t)
			}
		}
	}
}

// ports gives the ports of svc that can be served. Of two with the same name or
// number and protocol, the first is.
func (b *builder) ports(svc *corev1.Service) []port {
	var out []port
	for _, sp := range svc.Spec.Ports {
		p, no := parsePort(sp)
		if no.reason != "" {
			b.explain(svc, "port "+p.label, no.reason, no.detail)
			continue
		}
		twin := slices.IndexFunc(out, func(o port) bool {
			return o.proto == p.proto && (o.number == p.number || o.label == p.label)
		})
		if twin >= 0 {
			b.explain(svc, "port "+p.String(), InvalidPort, fmt.Sprintf("port %d has the name or the number of port %s, which comes first", p.number, out[twin]))
			continue
		}
		out = append(out, p)
	}
	return out
}

// frontends claims port p of each VIP for svc and gives those that were free.
func (b *builder) frontends(svc *corev1.Service, p port, vips []netip.Addr) []maps.Frontend {
	var out []maps.Frontend
	for _, vip := range vips {
		fe := maps.Frontend{VIP: vip, Port: p.number, Proto: p.proto}
		if owner, taken := b.claims[fe]; taken {
			b.explain(svc, fe.String(), FrontendTaken, fmt.Sprintf("Service %s has it: it %s; give one of them another address or port", key(owner), whySenior(owner, svc)))
			continue
		}
		b.claims[fe] = svc
		out = append(out, fe)
	}
	return out
}

func (b *builder) fill(d *draft) {
	sets := b.parseSlices(d.svc)
	f, source := b.forwarding(d.svc)
	for i := range d.tables {
		t := &d.tables[i]
		b.backends(sets, t, f, source)
		if t.why.reason != "" {
			b.explain(d.svc, "port "+t.port.String()+"/"+string(t.family), t.why.reason, t.why.detail)
		}
	}
	about := []refusal{apart(d.tables)}
	if d.svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		about = append(about, hidden(d.tables))
	}
	for _, no := range about {
		if no.reason != "" {
			b.explain(d.svc, "", no.reason, no.detail)
		}
	}
}

func (b *builder) state(excluded bool) State {
	var s State
	var tables []table
	backends := 0
	at := map[netip.Addr][]table{}
	for _, d := range b.drafts {
		for _, t := range d.tables {
			tables = append(tables, t)
			backends += len(t.ways)
			for _, fe := range t.Frontends {
				at[fe.VIP] = append(at[fe.VIP], t)
			}
		}
	}
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.Name, b.Name) })
	s.Backends = make([]Backend, 0, backends)
	for _, t := range tables {
		s.Services = append(s.Services, t.Service)
		s.Backends = append(s.Backends, t.ways...)
	}
	for addr := range b.holders {
		s.VIPs = append(s.VIPs, judgeVIP(addr, at[addr], excluded))
	}
	slices.SortFunc(s.VIPs, func(a, b VIP) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(b.reasons, func(a, b ServiceReason) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail))
	})
	s.Reasons = slices.Compact(b.reasons)
	return s
}

// judgeVIP says whether a VIP with those tables may be announced.
func judgeVIP(addr netip.Addr, tables []table, excluded bool) VIP {
	v := VIP{Addr: addr, Path: bgp.Path{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, Reason: Announceable}
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range tables {
		if t.usable() {
			v.Services = append(v.Services, t.Name)
		}
	}
	switch {
	case excluded:
		v.Services = nil
		v.Reason, v.Detail = NodeExcluded, "this node has the label "+corev1.LabelNodeExcludeBalancers
	case len(tables) == 0:
		v.Reason, v.Detail = NoFrontends, "no port of its Services is in force; see their reasons"
	case len(v.Services) == 0:
		v.Reason = tables[0].why.reason
		var details []string
		for _, t := range tables {
			details = append(details, t.Name+": "+t.why.detail)
		}
		v.Detail = abridge(details)
	}
	return v
}

// maxName is what the data path keeps of a service's name, in bytes.
const maxName = 159

// tableName names one port of a Service in one family. The API server's limits
// keep it below maxName; a longer one ends in a hash of the whole.
func tableName(svc *corev1.Service, p port, f family) string {
	name := key(svc) + ":" + p.String() + "/" + string(f)
	if len(name) <= maxName {
		return name
	}
	sum := fmt.Sprintf("~%x", sha256.Sum256([]byte(name)))[:17]
	return strings.ToValidUTF8(name[:maxName-len(sum)], "") + sum
}
