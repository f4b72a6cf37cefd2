package agent

import (
	"cmp"
	"context"
	stdmaps "maps"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// part is what a change asks for.
type part struct {
	fabric   desired.State // what it has of nodes
	services []maps.Service
	removed  []string                   // names of services
	vips     map[netip.Addr]desired.VIP // that may be others than before
	gone     []netip.Addr               // that are nobody's any more
}

// part finds what a change asks for, and notes which tables Services have.
func (a *Agent) part(change desired.Change, now time.Time) (p part) {
	p.fabric = a.model.Fabric()
	a.retried(change)
	for name := range change.Services {
		tables := a.model.Tables(name)
		names := make([]string, len(tables))
		for i, t := range tables {
			names[i] = t.Name
		}
		for _, old := range a.named[name] {
			if !slices.Contains(names, old) {
				p.removed = append(p.removed, old)
			}
		}
		p.services = append(p.services, tables...)
		if a.named[name] = names; len(names) == 0 {
			delete(a.named, name)
		}
	}
	slices.Sort(p.removed)
	slices.SortFunc(p.services, func(a, b maps.Service) int { return cmp.Compare(a.Name, b.Name) })
	p.services = a.history.Update(now, p.services, p.removed)
	p.vips = map[netip.Addr]desired.VIP{}
	for addr := range change.VIPs {
		if v, has := a.model.VIP(addr); has {
			p.vips[addr] = v
		} else {
			p.gone = append(p.gone, addr)
		}
	}
	return p
}

// retried adds the services that the tables refused, which will try them again: what they
// still have of those may go.
func (a *Agent) retried(change desired.Change) {
	for table := range a.reconciler.failed {
		name := desired.ServiceOf(table)
		change.Services[name] = true
		for _, addr := range a.model.VIPs(name) {
			change.VIPs[addr] = true
		}
		for _, f := range a.reconciler.written[table].Frontends {
			change.VIPs[f.VIP] = true
		}
	}
}

// concerned are the Services to whose reports a pass may have added: those of the change, and
// the others on VIPs that are announced now and were not, or the other way round.
func (a *Agent) concerned(change desired.Change, vips []verdict) map[string]bool {
	out := stdmaps.Clone(change.Services)
	for _, v := range vips {
		before := a.announced[v.Addr]
		if before.announced == v.announced && before.Reason == v.Reason && before.Detail == v.Detail {
			continue
		}
		for name := range a.model.Sharing(v.Addr) {
			out[name] = true
		}
	}
	return out
}

// follow is apply for a part of what is wanted, in the same order. It reports false where
// more may have to change than that part.
func (r *reconciler) follow(ctx context.Context, p part, before block, attach func() block) (outcome, bool) {
	if !slices.Equal(p.fabric.Sources, r.sources) {
		return outcome{}, false // all tunnels begin elsewhere
	}
	if err := r.withdrawPart(ctx, p); err != nil {
		return outcome{}, false
	}
	err := r.syncPart(ctx, p)
	b := attach()
	if err != nil || !b.same(before) {
		return outcome{}, false
	}
	vips := slices.SortedFunc(stdmaps.Values(p.vips), func(a, b desired.VIP) int { return a.Addr.Compare(b.Addr) })
	out := outcome{vips: r.judge(vips, b), bypassed: b.bypassed(p.services, r.hops), block: b}
	out.err = r.announcePart(ctx, out.vips, p.gone)
	return out, true
}

// withdrawPart takes back what is no longer wanted, before its tables go.
func (r *reconciler) withdrawPart(ctx context.Context, p part) error {
	keep := r.told
	drop := func(prefix netip.Prefix) {
		if _, told := keep[prefix]; told {
			if len(keep) == len(r.told) {
				keep = stdmaps.Clone(r.told)
			}
			delete(keep, prefix)
		}
	}
	leaving := p.gone
	for _, v := range p.vips {
		if v.Reason == desired.Announceable && r.carried(v.Addr) {
			r.join(v)
		} else {
			leaving = append(slices.Clip(leaving), v.Addr)
		}
	}
	lost := map[netip.Prefix]int{}
	for _, addr := range leaving {
		drop(netip.PrefixFrom(addr, addr.BitLen()))
		for prefix := range r.aggregates.of[addr] {
			if lost[prefix]++; lost[prefix] == len(r.aggregates.members[prefix]) {
				drop(prefix)
			}
		}
	}
	if len(keep) == len(r.told) {
		return nil
	}
	_, err := r.tell(ctx, keep)
	return err
}

// syncPart writes a part of the tables.
func (r *reconciler) syncPart(ctx context.Context, p part) error {
	stdmaps.Copy(r.hops, r.resolver.Add(ctx, addrs(p.services)))
	r.source(p.fabric, p.services)
	r.dead = p.fabric.Dead
	failed, err := split(r.tables.Sync(ctx, maps.Want{
		Partial: true, Services: p.services, Removed: p.removed,
		NextHops: r.hops, Members: p.fabric.Members, Dead: p.fabric.Dead,
	}))
	if err != nil {
		return err
	}
	r.failed = failed
	for _, name := range p.removed {
		r.forget(name)
	}
	for _, s := range p.services {
		r.took(s)
	}
	return nil
}

// announcePart tells the routers of the VIPs that judge found announceable, beside what
// they know.
func (r *reconciler) announcePart(ctx context.Context, vips []verdict, gone []netip.Addr) error {
	before := r.by(vips)
	set, unset := map[netip.Prefix]bgp.Path{}, map[netip.Prefix]bool{}
	for i := range vips {
		v := &vips[i]
		path, told := r.told[v.Path.Prefix]
		v.announced = v.Reason == desired.Announceable
		switch own := v.announced && !v.Suppressed; {
		case own && (!told || !path.Equal(v.Path)):
			set[v.Path.Prefix] = v.Path
		case !own && told:
			unset[v.Path.Prefix] = true
		}
	}
	touched := r.regroup(vips, gone)
	for prefix := range touched {
		path, told := r.told[prefix]
		switch wanted, has := r.aggregates.path(prefix); {
		case has && (!told || !path.Equal(wanted)):
			set[prefix] = wanted
		case !has && told:
			unset[prefix] = true
		}
	}
	if len(set)+len(unset) == 0 {
		return nil
	}
	want := stdmaps.Clone(r.told)
	stdmaps.Copy(want, set)
	stdmaps.DeleteFunc(want, func(p netip.Prefix, _ bgp.Path) bool { return unset[p] })
	failed, err := r.swap(ctx, want, vips, before)
	for prefix, former := range touched {
		if _, told := r.told[prefix]; told {
			r.aggregates.inherit(prefix, former)
		}
	}
	return announced(vips, failed, err)
}
