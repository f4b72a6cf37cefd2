package nexthop

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	lbmaps "github.com/penstock-lb/penstock/maps"
)

const (
	firstWait = 500 * time.Millisecond // at most, for neighbours needed for the first time
	firstPoll = 10 * time.Millisecond
)

// Resolver keeps the next hops of a set of addresses. Make one with [New].
type Resolver struct {
	log          *slog.Logger
	changed      chan struct{}
	provokeEvery time.Duration

	mu         sync.Mutex // guards all below
	kernel     *netlink.Handle
	following  bool // Run keeps the tables current
	routes     map[netip.Addr]*route
	links      map[int]link
	neighbours map[neighbour]entry
	provoked   map[neighbour]time.Time // last time, for those in use; none after a loss
	given      map[netip.Addr]lbmaps.NextHop
	stats      Stats
}

// Stats counts what the resolver did and says what it holds.
type Stats struct {
	Addresses    int    // asked for by the last Resolve
	Unresolved   int    // of those, left to the kernel
	RouteLookups uint64 // questions to the kernel's routing table
	Provocations uint64 // neighbours that the kernel was asked to resolve or confirm
	Events       uint64 // netlink messages read
	Resyncs      uint64 // full reads, at each subscription: more than one means lost events
}

// New returns a Resolver that watches nothing yet. It opens its netlink sockets when they are needed, in
// the namespace of the calling thread.
func New(log *slog.Logger) *Resolver {
	return &Resolver{
		log:          log,
		changed:      make(chan struct{}, 1),
		provokeEvery: provokeEvery,
		routes:       map[netip.Addr]*route{},
		links:        map[int]link{},
		neighbours:   map[neighbour]entry{},
		provoked:     map[neighbour]time.Time{},
	}
}

// Changed signals that the next [Resolver.Resolve] may return something else than the last one did.
func (r *Resolver) Changed() <-chan struct{} { return r.changed }

// Stats returns a copy of the counters.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Addresses = len(r.given)
	for _, hop := range r.given {
		if hop.Ifindex == 0 {
			s.Unresolved++
		}
	}
	return s
}

// Resolve returns the next hop of each of addrs, and from then on watches those and no others. An
// unresolved one has no Ifindex and no MACs; it still has Source and MTU if there is a route.
//
// It waits up to half a second for neighbours that it needs for the first time, so that a new pod's first
// next hop has its MAC. Without [Resolver.Run] it works as well, and reads the tables at each call.
// Kernel errors leave what was known before in force; they are logged. Calls must not overlap.
func (r *Resolver) Resolve(ctx context.Context, addrs []netip.Addr) map[netip.Addr]lbmaps.NextHop {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch(addrs)
	if !r.following {
		if err := r.resync(); err != nil {
			r.log.Error("read links and neighbours", "err", err)
		}
	}
	r.lookup(r.routes)
	fresh := r.provokeNew()
	r.provokeDue(time.Now())
	r.awaitNeighbours(ctx, fresh)
	r.given = r.join()
	return maps.Clone(r.given)
}

// Add returns the next hop of each of addrs, and watches those too from then on, beside what the last
// [Resolver.Resolve] was asked for. It waits as that does, and looks at no other address. What it finds to
// have changed is signalled all the same, as the next hop of others than who asks.
func (r *Resolver) Add(ctx context.Context, addrs []netip.Addr) map[netip.Addr]lbmaps.NextHop {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.following {
		if err := r.resync(); err != nil {
			r.log.Error("read links and neighbours", "err", err)
		}
	}
	added := make(map[netip.Addr]*route, len(addrs))
	for _, a := range addrs {
		if r.routes[a] == nil {
			r.routes[a] = &route{stale: true}
		}
		added[a] = r.routes[a]
	}
	r.lookup(added)
	fresh := r.unprovoked(added)
	r.provoke(fresh)
	r.awaitNeighbours(ctx, fresh)
	hops := make(map[netip.Addr]lbmaps.NextHop, len(added))
	if r.given == nil {
		r.given = map[netip.Addr]lbmaps.NextHop{}
	}
	for a, rt := range added {
		hops[a] = r.hop(rt)
		// Others may use an address that was given another next hop before: that it changed
		// is for [Resolver.Changed] to say.
		if _, before := r.given[a]; !before {
			r.given[a] = hops[a]
		}
	}
	return hops
}

// watch makes addrs the watched set.
func (r *Resolver) watch(addrs []netip.Addr) {
	wanted := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		wanted[a] = struct{}{}
		if r.routes[a] == nil {
			r.routes[a] = &route{stale: true}
		}
	}
	maps.DeleteFunc(r.routes, func(a netip.Addr, _ *route) bool {
		_, ok := wanted[a]
		return !ok
	})
}

// join puts routes, links and neighbours together, without asking the kernel.
func (r *Resolver) join() map[netip.Addr]lbmaps.NextHop {
	hops := make(map[netip.Addr]lbmaps.NextHop, len(r.routes))
	for a, rt := range r.routes {
		hops[a] = r.hop(rt)
	}
	return hops
}

func (r *Resolver) hop(rt *route) lbmaps.NextHop {
	if !rt.found {
		return lbmaps.NextHop{}
	}
	out := r.links[rt.via.link]
	unresolved := lbmaps.NextHop{Source: rt.source, MTU: mtuOf(rt.mtu, out.mtu)}
	n, ok := r.neighbours[rt.via]
	if !ok || !n.usable() || rt.kernelOnly || !out.running {
		return unresolved
	}
	hop := unresolved
	hop.SrcMAC, hop.DstMAC = out.mac, n.mac
	lower := out
	if out.vlan != 0 {
		lower = r.links[out.lower]
		hop.VLAN = out.vlan
	}
	if !lower.transmits {
		return unresolved
	}
	hop.Ifindex = uint32(lower.index)
	return hop
}

// signalIfChanged compares with what was returned last, and says whether it signalled. Of an address that
// was not returned yet, as its neighbour is waited for, nobody has anything old.
func (r *Resolver) signalIfChanged() bool {
	for a, hop := range r.given {
		if rt := r.routes[a]; rt == nil || r.hop(rt) == hop {
			continue
		}
		select {
		case r.changed <- struct{}{}:
		default:
		}
		return true
	}
	return false
}

// handle returns the socket for requests, opened at the first use.
func (r *Resolver) handle() (*netlink.Handle, error) {
	if r.kernel != nil {
		return r.kernel, nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	r.kernel = h
	return h, nil
}

// lost forgets the request socket after an error that may be its own; the next use opens another.
func (r *Resolver) lost() {
	if r.kernel != nil {
		r.kernel.Close()
		r.kernel = nil
	}
}
