package nexthop

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbour names an entry of the kernel's neighbour tables.
type neighbour struct {
	link int // index of the device, the VLAN device itself where it is one
	addr netip.Addr
}

// entry is the kernel's state of a neighbour.
type entry struct {
	mac   [6]byte
	known bool // mac holds an Ethernet address
	state int  // netlink.NUD_*
}

const (
	usableStates = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE |
		netlink.NUD_PERMANENT | netlink.NUD_NOARP
	restingStates = usableStates&^netlink.NUD_STALE | netlink.NUD_INCOMPLETE // nothing to ask for
)

func (e entry) usable() bool  { return e.known && e.state&usableStates != 0 }
func (e entry) resting() bool { return e.state&restingStates != 0 }

const (
	provokeEvery = 5 * time.Second // and per neighbour at most
	provokeBatch = 256             // at most at a time: three ARP requests each in the worst case
)

// setNeighbour takes a neighbour message over; gone says that it is a deletion. It returns whether a next hop
// may be another one now.
func (r *Resolver) setNeighbour(n *netlink.Neigh, gone bool) bool {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return false // a bridge's forwarding entry
	}
	key := neighbour{link: n.LinkIndex, addr: addr}
	old := r.neighbours[key]
	if gone {
		delete(r.neighbours, key)
		if old.usable() {
			delete(r.provoked, key)
		}
		return old.usable()
	}
	e := entry{state: n.State}
	e.mac, e.known = macOf(n.HardwareAddr)
	r.neighbours[key] = e
	return e.usable() != old.usable() || e.mac != old.mac
}

// vias returns the neighbours that routes lead to.
func vias(routes map[netip.Addr]*route) map[neighbour]struct{} {
	out := map[neighbour]struct{}{}
	for _, rt := range routes {
		if rt.found && !rt.kernelOnly {
			out[rt.via] = struct{}{}
		}
	}
	return out
}

// inUse returns the neighbours that all routes lead to, and forgets when others were provoked.
func (r *Resolver) inUse() map[neighbour]struct{} {
	used := vias(r.routes)
	for n := range r.provoked {
		if _, ok := used[n]; !ok {
			delete(r.provoked, n)
		}
	}
	return used
}

// provokeNew asks the kernel to resolve those neighbours that are unusable and were never provoked,
// and returns them.
func (r *Resolver) provokeNew() []neighbour {
	r.inUse() // forgets
	fresh := r.unprovoked(r.routes)
	r.provoke(fresh)
	return fresh
}

// unprovoked returns the neighbours of routes that are unusable and were never provoked.
func (r *Resolver) unprovoked(routes map[netip.Addr]*route) (fresh []neighbour) {
	for n := range vias(routes) {
		if _, before := r.provoked[n]; !before && !r.neighbours[n].usable() {
			fresh = append(fresh, n)
		}
	}
	return fresh
}

// provokeDue has unresolved neighbours resolved and stale ones confirmed, the longest waiting first.
func (r *Resolver) provokeDue(now time.Time) {
	var due []neighbour
	for n := range r.inUse() {
		if !r.neighbours[n].resting() && now.Sub(r.provoked[n]) >= r.provokeEvery {
			due = append(due, n)
		}
	}
	slices.SortFunc(due, func(a, b neighbour) int {
		return cmp.Or(r.provoked[a].Compare(r.provoked[b]), a.addr.Compare(b.addr))
	})
	r.provoke(due[:min(len(due), provokeBatch)])
}

// provoke sends NTF_USE: to the kernel it is as if a packet had gone to the neighbour.
func (r *Resolver) provoke(ns []neighbour) {
	for _, n := range ns {
		h, err := r.handle()
		if err != nil {
			r.log.Error("provoke neighbours", "err", err)
			return
		}
		r.provoked[n] = time.Now()
		r.stats.Provocations++
		err = h.NeighSet(&netlink.Neigh{
			LinkIndex: n.link,
			IP:        net.IP(n.addr.AsSlice()),
			Flags:     netlink.NTF_USE,
		})
		if err != nil { // such as ENETDOWN: the device went away meanwhile
			r.log.Debug("provoke neighbour", "addr", n.addr, "ifindex", n.link, "err", err)
		}
	}
}

// awaitNeighbours returns when all of ns are usable, ctx ends or firstWait is over. The lock is free while
// it sleeps, so that Run can take events; without Run it reads the tables itself.
func (r *Resolver) awaitNeighbours(ctx context.Context, ns []neighbour) {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	tick := time.NewTicker(firstPoll)
	defer tick.Stop()
	for {
		ns = slices.DeleteFunc(ns, func(n neighbour) bool { return r.neighbours[n].usable() })
		if len(ns) == 0 {
			return
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		r.mu.Lock()
		if ctx.Err() != nil {
			return
		}
		if r.following {
			continue
		}
		if err := r.readNeighbours(); err != nil {
			r.log.Error("read neighbours", "err", err)
			return
		}
	}
}
