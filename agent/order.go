package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	stdmaps "maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// Reasons of a VIP that only the agent knows.
const (
	NotInKernel    desired.Reason = "NotInKernel"    // the tables could not be written
	NoInterface    desired.Reason = "NoInterface"    // no program sees packets arrive
	AnnounceFailed desired.Reason = "AnnounceFailed" // the speaker refused
	NotSynced      desired.Reason = "NotSynced"      // the tables were never written
	NoPeers        desired.Reason = "NoPeers"        // no router is configured
	NoSession      desired.Reason = api.NoSession    // no router has it at the moment
	Refused        desired.Reason = api.Refused      // the tables refused its services
	ForwardingOff  desired.Reason = "ForwardingOff"  // the kernel does not forward its family
	RepliesNotSeen desired.Reason = "RepliesNotSeen" // all its backends' replies come in where no program is
)

// reconciler carries a wanted state into the tables and to the routers, in that
// order, and remembers what came of it. Only the loop uses it.
type reconciler struct {
	tables   Tables
	speaker  Speaker
	resolver Resolver
	own      func(netip.Addr) bool // whether an address is this node's
	// last decides on a VIP after all others, with the services that the tables have on it, if
	// it could be announced; nil: nobody does.
	last func(v verdict, on []maps.Service) verdict

	synced  bool                           // the tables were written at least once
	written map[string]maps.Service        // each service as the tables last took it, by name
	at      map[netip.Addr]map[string]bool // the names of those with a frontend on an address
	failed  map[string]error               // services that the tables refused, as of the last pass
	stale   map[string]bool                // of those, the written ones that no wanted backend is left of
	dead    map[netip.Addr]bool            // as the tables were last told
	sources []netip.Addr                   // of tunnel packets, as next hops last had them

	hops map[netip.Addr]maps.NextHop // of the backends, as last resolved

	// told has the paths that a router may have been told: after a failure
	// more than it really was, never less.
	told       map[netip.Prefix]bgp.Path
	aggregates *aggregates // of told
}

func newReconciler(t Tables, s Speaker, r Resolver, own func(netip.Addr) bool) *reconciler {
	return &reconciler{
		tables: t, speaker: s, resolver: r, own: own,
		written: map[string]maps.Service{},
		at:      map[netip.Addr]map[string]bool{},
		failed:  map[string]error{},
		stale:   map[string]bool{},
		told:    map[netip.Prefix]bgp.Path{}, aggregates: newAggregates(),
	}
}

// outcome is what one pass did. Its error has everything that failed, services
// excepted: those are in reconciler.failed.
type outcome struct {
	vips     []verdict
	bypassed []api.BypassStatus
	block    block
	err      error
}

// verdict is what became of one VIP.
type verdict struct {
	desired.VIP
	announced bool
	as        desired.Reason // what is to be said of it while it is announced; empty: nothing
}

// apply is the one place that knows the order. attach runs once the tables are
// written and before anything is announced, and returns what may not be announced.
func (r *reconciler) apply(ctx context.Context, want desired.State, attach func() block) outcome {
	stuck, withdrawErr := r.withdraw(ctx, want.VIPs)
	syncErr := r.sync(ctx, want, r.hold(want.Services, stuck))
	if !r.synced {
		return outcome{vips: judgeAll(want.VIPs, NotSynced), err: errors.Join(withdrawErr, syncErr)}
	}
	b := attach()
	vips := r.judge(want.VIPs, b)
	announceErr := r.announce(ctx, vips)
	return outcome{vips, b.bypassed(want.Services, r.hops), b, errors.Join(withdrawErr, syncErr, announceErr)}
}

// withdraw takes back what is no longer wanted, before its tables go. The
// addresses that it could not withdraw are returned: their tables must stay.
//
// A VIP that goes from one service to another stays announced meanwhile, because
// the tables change under it in one step. One that the tables do not carry is
// taken back even if it is wanted: after a failure it need not have been told,
// and must not be told now.
func (r *reconciler) withdraw(ctx context.Context, vips []desired.VIP) (stuck map[netip.Addr]bool, err error) {
	kept := map[netip.Addr]bool{}
	for _, v := range vips {
		if v.Reason == desired.Announceable && r.carried(v.Addr) {
			kept[v.Addr] = true
			r.join(v)
		}
	}
	keep := map[netip.Prefix]bgp.Path{}
	for p, path := range r.told {
		if r.aggregates.leads(p, kept) {
			keep[p] = path
		}
	}
	if len(keep) == len(r.told) {
		return nil, nil
	}
	if _, err = r.tell(ctx, keep); err != nil {
		err = fmt.Errorf("withdraw paths: %w", err)
	}
	stuck = map[netip.Addr]bool{}
	for p := range r.told {
		if _, kept := keep[p]; !kept {
			stdmaps.Copy(stuck, r.aggregates.behind(p))
		}
	}
	return stuck, err
}

// tell makes want what routers know, and notes what they may know after it:
// besides want, the paths that could not be withdrawn. Errors that are of no
// path, such as a session that cannot be opened, hold no path back.
func (r *reconciler) tell(ctx context.Context, want map[netip.Prefix]bgp.Path) (failed map[netip.Prefix]error, err error) {
	err = r.speaker.Sync(ctx, sorted(want))
	failed = pathErrors(err)
	told := stdmaps.Clone(want)
	for p, path := range r.told {
		if _, wanted := want[p]; !wanted && (failed[p] != nil || errors.Is(err, bgp.ErrStopped)) {
			told[p] = path
		}
	}
	r.told = told
	return failed, err
}

// carried tells whether the tables have anything usable on addr. What was written
// is asked, not what is wanted: after a failure they may differ in services,
// addresses and backends.
func (r *reconciler) carried(addr netip.Addr) bool {
	for name := range r.at[addr] {
		if !r.stale[name] && carries(r.written[name], addr) {
			return true
		}
	}
	return false
}

// note remembers a service as the tables have it.
func (r *reconciler) note(s maps.Service) {
	r.forget(s.Name)
	r.written[s.Name] = s
	for _, f := range s.Frontends {
		if r.at[f.VIP] == nil {
			r.at[f.VIP] = map[string]bool{}
		}
		r.at[f.VIP][s.Name] = true
	}
}

// forget is for one that the tables do not have any more.
func (r *reconciler) forget(name string) {
	for _, f := range r.written[name].Frontends {
		delete(r.at[f.VIP], name)
		if len(r.at[f.VIP]) == 0 {
			delete(r.at, f.VIP)
		}
	}
	delete(r.written, name)
	delete(r.stale, name)
}

// sync writes the tables and notes what they took. Tables that could not be
// written as a whole leave the note as it was, so that nothing which is in force
// is withdrawn for it, and nothing new announced.
//
// The same goes for a service whose change is refused: the tables keep it as it
// was, and it goes on. To withdraw it would end flows that live, on all nodes at
// once where the reason is a lack of room. Only when none of its old backends is
// wanted any more there is nothing left to deliver to.
func (r *reconciler) sync(ctx context.Context, state desired.State, want []maps.Service) error {
	r.hops = r.resolver.Resolve(ctx, addrs(want))
	r.source(state, want)
	r.dead, r.sources = state.Dead, state.Sources
	failed, err := split(r.tables.Sync(ctx, maps.Want{Services: want, NextHops: r.hops, Members: state.Members, Dead: state.Dead}))
	r.failed = failed
	if err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	wanted := make(map[string]bool, len(want))
	for _, s := range want {
		wanted[s.Name] = true
		r.took(s)
	}
	for name := range r.written {
		if !wanted[name] {
			r.forget(name)
		}
	}
	r.synced = true
	return nil
}

// took notes what became of a service that the tables were asked for.
func (r *reconciler) took(s maps.Service) {
	if r.failed[s.Name] == nil {
		r.note(s)
	} else if old, ok := r.written[s.Name]; ok && !overlap(old, s) {
		r.stale[s.Name] = true
	} else {
		delete(r.stale, s.Name)
	}
}

// source completes the next hops of ingress nodes. Tunnel packets come from the address
// that ingress nodes take them from, if it is this node's in truth; otherwise from what
// the route says.
func (r *reconciler) source(state desired.State, services []maps.Service) {
	for _, s := range services {
		for _, b := range s.Backends {
			hop, known := r.hops[b.Tunnel]
			if source := state.Source(b.Tunnel); known && r.own(source) {
				hop.Source = source
				r.hops[b.Tunnel] = hop
			}
		}
	}
}

// overlap tells whether a usable backend of one service is one of the other's.
func overlap(old, wanted maps.Service) bool {
	usable := map[netip.AddrPort]bool{}
	for _, b := range old.Backends {
		usable[b.Addr] = b.Eligible()
	}
	return slices.ContainsFunc(wanted.Backends, func(b maps.Backend) bool { return b.Eligible() && usable[b.Addr] })
}

// judge decides for each VIP whether it is announced, and says why not.
func (r *reconciler) judge(vips []desired.VIP, b block) []verdict {
	out := make([]verdict, len(vips))
	for i, v := range vips {
		if v.Reason == desired.Announceable {
			if reason, detail := r.obstacle(v, b); reason != "" {
				v.Reason, v.Detail = reason, detail
			}
		}
		out[i] = verdict{VIP: v}
		if r.last != nil {
			out[i] = r.last(out[i], r.on(v.Addr))
		}
	}
	return out
}

// obstacle says why an announceable VIP may not be announced, or "".
func (r *reconciler) obstacle(v desired.VIP, b block) (desired.Reason, string) {
	if reason, detail := b.why(v.Addr); reason != "" {
		return reason, detail
	}
	if !r.carried(v.Addr) {
		return r.whyNotInKernel(v.Services)
	}
	if devices, all := b.unseen(r.on(v.Addr), r.hops); all {
		return RepliesNotSeen, "its backends are reached by " + strings.Join(devices, ", ") + ", where no program is attached"
	}
	return "", ""
}

// on gives the services that the tables have on a VIP and that take flows.
func (r *reconciler) on(vip netip.Addr) (out []maps.Service) {
	for name := range r.at[vip] {
		if s := r.written[name]; carries(s, vip) {
			out = append(out, s)
		}
	}
	return out
}

func (r *reconciler) whyNotInKernel(services []string) (desired.Reason, string) {
	for _, name := range services {
		if err := r.failed[name]; err != nil {
			return Refused, fmt.Sprintf("%s: %v", name, err)
		}
	}
	return NotInKernel, "the tables could not be written"
}

// announce tells the routers of every VIP that judge found announceable, and of
// no other.
func (r *reconciler) announce(ctx context.Context, vips []verdict) error {
	want, next := wanted(vips)
	failed, err := r.swap(ctx, want, vips, r.by(vips))
	for p := range r.told {
		next.inherit(p, r.aggregates.behind(p))
	}
	r.aggregates = next
	return announced(vips, failed, err)
}

// announced notes what became of the VIPs that routers were told of.
func announced(vips []verdict, failed map[netip.Prefix]error, err error) error {
	for i := range vips {
		v := &vips[i]
		switch pathErr := refusal(*v, failed); {
		case v.Reason != desired.Announceable:
		case errors.Is(err, bgp.ErrStopped):
			v.announced, v.Reason, v.Detail = false, AnnounceFailed, err.Error()
		case pathErr != nil:
			v.announced, v.Reason, v.Detail = false, AnnounceFailed, pathErr.Error()
		default:
			v.announced = true
		}
	}
	if err != nil {
		return fmt.Errorf("announce paths: %w", err)
	}
	return nil
}

func judgeAll(vips []desired.VIP, reason desired.Reason) []verdict {
	out := make([]verdict, len(vips))
	for i, v := range vips {
		if v.Reason == desired.Announceable {
			v.Reason = reason
		}
		out[i] = verdict{VIP: v}
	}
	return out
}

func sorted(paths map[netip.Prefix]bgp.Path) []bgp.Path {
	return slices.SortedFunc(stdmaps.Values(paths), func(a, b bgp.Path) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
}

// addrs are those of backends and of ingress nodes. A backend behind a tunnel may have
// flows from before that are translated.
func addrs(services []maps.Service) []netip.Addr {
	seen := map[netip.Addr]bool{}
	for _, s := range services {
		for _, b := range s.Backends {
			seen[b.Addr.Addr()] = true
			if b.Tunnel.IsValid() {
				seen[b.Tunnel] = true
			}
		}
	}
	return slices.SortedFunc(stdmaps.Keys(seen), netip.Addr.Compare)
}
