package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Fields of a Service that findings are about. Those of requests come with the claim.
const (
	poolField    = "metadata.annotations[penstock.dev/pool]"
	sharingField = "metadata.annotations[penstock.dev/sharing-key]"
	policyField  = "spec.ipFamilyPolicy"
	portsField   = "spec.ports"
)

// contradiction says why c cannot be served as it is, whatever the pools.
func (c *Claim) contradiction() []Finding {
	if len(c.Invalid) > 0 {
		return c.Invalid
	}
	families := c.families()
	switch {
	case len(families) == 0:
		return []Finding{{InvalidRequest, "spec.ipFamilies", "it has no address family; give it IPv4, IPv6 or both"}}
	case c.Policy == RequireDual && len(families) < 2:
		return []Finding{{InvalidRequest, policyField, fmt.Sprintf("RequireDualStack and spec.ipFamilies with %s alone; give it both families or another policy", families[0])}}
	}
	for _, addr := range c.Requested {
		if f := familyOf(addr); !c.wants(f) {
			return []Finding{{InvalidRequest, c.AskedBy, fmt.Sprintf("it asks for %s, and its first family alone counts, which is %s; ask for one of that, or set ipFamilyPolicy to PreferDualStack", addr, families[0])}}
		}
	}
	return nil
}

func evicted(e, h *entry, addr netip.Addr) Finding {
	again := "give both the same annotation penstock.dev/sharing-key, and ask for the address, to have it again"
	if e.claim.Namespace != h.claim.Namespace {
		again = "addresses are shared inside a namespace alone"
	}
	return Finding{AddressInUse, sharingField, fmt.Sprintf("it had %s, which Service %s has and which the two do not share any more; %s", addr, h.claim.Service, again)}
}

func missing(f family, why *Finding) Finding {
	return Finding{FamilyMissing, policyField, fmt.Sprintf("it prefers two families and has no %s address: %s", f, why.Message)}
}

func (a *Allocator) outside(e *entry, addr netip.Addr, s *space) *Finding {
	fd := &Finding{Reason: AddressOutsidePool, Field: e.claim.AskedBy}
	switch {
	case s != nil:
		fd.Message = fmt.Sprintf("%s is of pool %s, which is %s; ask for another address, or change the pool", addr, s.pool.Name, s.pool.restriction(&e.claim))
	case len(a.pools) == 0:
		fd.Message = fmt.Sprintf("%s is of no pool, as none is configured; add a pool with it to the agents' configuration", addr)
	default:
		fd.Message = fmt.Sprintf("%s is of no pool (%s); ask for an address of one, or add it to one", addr, a.poolNames())
	}
	return fd
}

func twoWishes(e *entry, addr netip.Addr, pool string) *Finding {
	return &Finding{InvalidRequest, poolField, fmt.Sprintf("it asks for pool %s and for %s, which is of pool %s; remove one of the two requests", e.claim.Pool, addr, pool)}
}

func inUse(e *entry, o *obstacle, addr netip.Addr) *Finding {
	h := o.holder
	switch {
	case o.port != nil:
		return &Finding{PortInUse, portsField, fmt.Sprintf("Service %s has port %d/%s of %s, which they would share; give one of them another port or another address", h.claim.Service, o.port.Number, o.port.Protocol, addr)}
	case o.full:
		return &Finding{AddressInUse, e.claim.AskedBy, fmt.Sprintf("%d Services have %s, and no more may share one address; ask for another one, or for none, or delete one of them", maxSharers, addr)}
	case e.claim.Namespace != h.claim.Namespace:
		return &Finding{AddressInUse, e.claim.AskedBy, fmt.Sprintf("Service %s has %s and is of another namespace, with which no address is shared; ask for another address", h.claim.Service, addr)}
	case e.claim.SharingKey == "" || h.claim.SharingKey == "":
		without := e
		if e.claim.SharingKey != "" {
			without = h
		}
		return &Finding{AddressInUse, e.claim.AskedBy, fmt.Sprintf("Service %s has %s; ask for another address, or give both Services the same annotation penstock.dev/sharing-key, which %s has not", h.claim.Service, addr, without.claim.Service)}
	}
	return &Finding{AddressInUse, e.claim.AskedBy, fmt.Sprintf("Service %s has %s with another penstock.dev/sharing-key; ask for another address, or give both Services the same key", h.claim.Service, addr)}
}

func exhausted(e *entry, f family, spaces []*space) *Finding {
	fd := &Finding{Reason: PoolExhausted}
	if e.claim.Pool != "" {
		fd.Field = poolField
	}
	var full []string
	for _, s := range spaces {
		text := fmt.Sprintf("%s (%d of %d in use)", s.pool.Name, s.used, s.total())
		if s.pool.AvoidBuggyIPs && s.used < s.total() {
			rest := [...]string{"the rest end in .0 or .255", "the rest are networks' first ones"}[f]
			text = fmt.Sprintf("%s (%d of %d in use, %s)", s.pool.Name, s.used, s.total(), rest)
		}
		full = append(full, text)
	}
	fd.Message = fmt.Sprintf("no %s address is free in %s; add addresses to a pool, or delete Services", f, plural("pool", full))
	return fd
}

// noPool says of each pool why e gets no address of it.
func (a *Allocator) noPool(e *entry, f family) *Finding {
	fd := &Finding{Reason: NoPool}
	if len(a.pools) == 0 {
		fd.Message = "no pool is configured; add one to the agents' configuration"
		return fd
	}
	if name := e.claim.Pool; name != "" {
		fd.Field = poolField
		if !slices.ContainsFunc(a.pools, func(p Pool) bool { return p.Name == name }) {
			fd.Message = fmt.Sprintf("there is no pool %s (%s); ask for one of these, or for none", name, a.poolNames())
			return fd
		}
	}
	var why []string
	for i := range a.pools {
		p := &a.pools[i]
		j := slices.IndexFunc(a.spaces.byFamily[f], func(s *space) bool { return s.pool.Name == p.Name })
		switch {
		case e.claim.Pool != "" && p.Name != e.claim.Pool:
		case j < 0:
			why = append(why, fmt.Sprintf("pool %s has no %s addresses", p.Name, f))
		default:
			why = append(why, fmt.Sprintf("pool %s is %s", p.Name, a.spaces.byFamily[f][j].unusable(&e.claim)))
		}
	}
	fd.Message = fmt.Sprintf("no pool gives it an %s address: %s; ask for another one, or change a pool", f, strings.Join(abridge(why), "; "))
	return fd
}

// unusable says why c gets no address of the space without asking for one by name; empty
// if it does.
func (s *space) unusable(c *Claim) string {
	if c.Pool == "" && !s.pool.AutoAssign {
		return "given on request only (autoAssign: false)"
	}
	if c.Pool != "" && c.Pool != s.pool.Name {
		return "another than it asks for"
	}
	return s.pool.restriction(c)
}

// restriction says why the pool does not admit c; empty if it does.
func (p *Pool) restriction(c *Claim) string {
	switch {
	case Admits(*p, *c):
		return ""
	case len(p.Namespaces) > 0 && !slices.Contains(p.Namespaces, c.Namespace):
		return "for " + plural("namespace", p.Namespaces)
	case !p.admitsNamespace(c):
		return "for namespaces with labels " + p.NamespaceSelector.String()
	}
	return "for Services with labels " + p.ServiceSelector.String()
}

func (a *Allocator) poolNames() string {
	var names []string
	for _, p := range a.pools {
		names = append(names, p.Name)
	}
	return plural("pool", names)
}

// plural writes "pool a" or "pools a, b", the first few of them.
func plural(noun string, names []string) string {
	if len(names) != 1 {
		noun += "s"
	}
	return noun + " " + strings.Join(abridge(names), ", ")
}

// abridge keeps messages short: conditions and Events have room for little.
func abridge(words []string) []string {
	const most = 5
	if len(words) <= most {
		return words
	}
	return append(slices.Clone(words[:most]), fmt.Sprintf("%d more", len(words)-most))
}
