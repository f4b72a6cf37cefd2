package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps"
)

// tally is what became of the endpoints of one table.
type tally struct {
	listed int       // of the family
	total  int       // with the port
	apart  int       // without a tunnel where there must be one
	silent int       // that would take flows if their nodes answered
	best   condition // of those that can take flows
}

// backends fills in the backends of one port in one family, sorted by address,
// and what is to be said about them. Reasons other than TerminatingOnly mean that
// none takes a new flow.
func (b *builder) backends(sets []endpointSet, t *table, f Forwarding, source string) {
	found, listed := gather(sets, t.port, t.family)
	c := tally{listed: listed, total: len(found)}
	t.ways = make([]Backend, len(found))
	for i := range found {
		p := &found[i]
		p.way = b.ways.to(p.node, f, source)
		if p.silent {
			b.dead[p.tunnel] = true
		}
		switch {
		case p.mode == ModeNone:
			c.apart++
		case p.silent && p.cond > unfit:
			c.silent++
		case !p.silent:
			c.best = max(c.best, p.cond)
		}
	}
	if c.best == ready {
		t.hints = b.area.keepTo(found)
	}
	t.Backends = make([]maps.Backend, 0, len(found))
	for i := range found {
		p := &found[i]
		t.ways[i] = Backend{t.Name, p.at, p.node, p.mode, p.tunnel, p.reason, p.detail}
		if found[i].mode != ModeNone {
			t.Backends = append(t.Backends, found[i].backend(c.best))
		}
	}
	t.why = c.judge(t.port, t.family)
}

// placed is an endpoint with its port and the way to it.
type placed struct {
	at netip.AddrPort
	endpoint
	way
	elsewhere bool // zone hints keep new flows from it
}

// usable reports whether new flows reach it if it is fit.
func (p *placed) usable() bool { return p.mode != ModeNone && !p.silent }

// gather joins the endpoints of all slices that have the port, sorted by address.
func gather(sets []endpointSet, p port, f family) (found []placed, listed int) {
	for _, set := range sets {
		if set.family == f {
			listed += len(set.endpoints)
		}
	}
	found = make([]placed, 0, listed)
	for _, set := range sets {
		if set.family != f {
			continue
		}
		for _, number := range portNumbers(set.ports, p) {
			for _, e := range set.endpoints {
				found = append(found, placed{at: netip.AddrPortFrom(e.addr, number), endpoint: e})
			}
		}
	}
	slices.SortFunc(found, func(a, b placed) int { return a.at.Compare(b.at) })
	once := found[:0]
	for _, e := range found {
		if last := len(once) - 1; last >= 0 && once[last].at == e.at {
			once[last].endpoint = merge(once[last].endpoint, e.endpoint)
			continue
		}
		once = append(once, e)
	}
	return once, listed
}

// backend makes one of p. Those of the best condition take new flows; since when
// one has, its pod knows only if that is because it is ready.
func (p *placed) backend(best condition) maps.Backend {
	out := maps.Backend{Addr: p.at, Node: p.node, Weight: p.weight, Tunnel: p.tunnel, BornAt: p.born}
	fit := best > unfit && p.cond == best && !p.elsewhere
	out.Draining = !fit || p.silent
	switch {
	case !out.Draining && p.cond == ready:
		out.EligibleSince = p.eligible
	case out.Draining && !fit:
		out.LostAt = p.lost
		if p.silent {
			out.LostAt = earliest(p.lost, p.since)
		}
	case out.Draining:
		out.LostAt = p.since
	}
	return out
}

func (c tally) judge(p port, f family) refusal {
	switch {
	case c.listed == 0:
		return refusal{NoEndpoints, fmt.Sprintf("no EndpointSlice lists an %s endpoint", f)}
	case c.total == 0:
		return refusal{PortNotFound, fmt.Sprintf("no EndpointSlice with %s endpoints has a port named %q of protocol %s", f, p.name, p.proto)}
	case c.best == unfit && c.apart == c.total:
		return refusal{NoTunnel, fmt.Sprintf("%d endpoints, and a tunnel to none of them, which forwarding dsr asks for", c.total)}
	case c.best == unfit && c.silent > 0:
		return refusal{NodesSilent, fmt.Sprintf("%d endpoints, and the nodes of the %d that are ready, or terminating and still serve, do not answer", c.total, c.silent)}
	case c.best == unfit:
		return refusal{NoUsableEndpoints, fmt.Sprintf("%d endpoints, none ready and none terminating that still serves", c.total)}
	case c.best == terminating:
		return refusal{TerminatingOnly, "no endpoint is ready; those that are terminating and still serve take new flows"}
	}
	return refusal{}
}

// merge gives one endpoint for two of the same address and port. It commutes.
func merge(a, b endpoint) endpoint {
	switch {
	case a.cond < b.cond:
		return b
	case a.cond > b.cond:
		return a
	}
	if a.node == "" || b.node != "" && b.node < a.node {
		a.node = b.node
	}
	a.weight, a.zones = max(a.weight, b.weight), commonZones(a.zones, b.zones)
	a.times = times{
		born:     earliest(a.born, b.born),
		eligible: earliest(a.eligible, b.eligible),
		lost:     latest(a.lost, b.lost),
	}
	return a
}

// hidden says of which endpoints a Service with externalTrafficPolicy Local hides
// the client's address nevertheless.
func hidden(tables []table) refusal {
	var nat []string
	total := 0
	for _, t := range tables {
		total += len(t.ways)
		for _, w := range t.ways {
			if w.Mode == ModeNAT {
				nat = append(nat, fmt.Sprintf("%s (%s)", w.Addr, w.Detail))
			}
		}
	}
	if len(nat) == 0 {
		return refusal{}
	}
	slices.SortFunc(nat, cmp.Compare)
	return refusal{ClientAddressHidden, fmt.Sprintf("externalTrafficPolicy Local asks for the client's address, but %d of %d backends are reached by NAT and see this node's: %s. "+
		"Run their nodes as ingress nodes, or set it to Cluster if that will do", len(nat), total, abridge(slices.Compact(nat)))}
}

// apart says which endpoints have no tunnel where there must be one.
func apart(tables []table) refusal {
	var out []string
	for _, t := range tables {
		for _, w := range t.ways {
			if w.Mode == ModeNone {
				out = append(out, fmt.Sprintf("%s (%s)", w.Addr, w.Detail))
			}
		}
	}
	if len(out) == 0 {
		return refusal{}
	}
	slices.SortFunc(out, cmp.Compare)
	return refusal{NoTunnel, fmt.Sprintf("forwarding is dsr, so that endpoints without a tunnel get no flow: %s. Make their nodes ingress nodes, or set it to auto", abridge(slices.Compact(out)))}
}
