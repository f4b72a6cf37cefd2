package nexthop

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// route is the kernel's answer for one address.
type route struct {
	stale      bool // to be looked up again
	found      bool // the fields below hold a way out of this node
	via        neighbour
	source     netip.Addr
	mtu        int  // of the route, 0 if it has none of its own
	kernelOnly bool // encapsulates: more than an Ethernet header is needed
}

// lookup asks the kernel for each of routes that may have changed. An address without a route is an
// answer; if asking itself fails, the old answer stays, and is asked for again later.
func (r *Resolver) lookup(routes map[netip.Addr]*route) {
	var failed int
	var first error
	for a, rt := range routes {
		if !rt.stale {
			continue
		}
		r.stats.RouteLookups++
		answer, err := r.lookupRoute(a)
		if err != nil {
			failed++
			first = cmp.Or(first, fmt.Errorf("route to %s: %w", a, err))
			continue
		}
		*rt = answer
	}
	if failed > 0 {
		r.log.Error("route lookups failed, the old next hops stay in force", "count", failed, "err", first)
	}
}

// lookupRoute is what `ip route get` does: policy rules apply, one leg of a multipath route is chosen.
func (r *Resolver) lookupRoute(addr netip.Addr) (route, error) {
	if !addr.IsValid() {
		return route{}, nil
	}
	h, err := r.handle()
	if err != nil {
		return route{}, err
	}
	answers, err := h.RouteGet(net.IP(addr.AsSlice()))
	if noRoute(err) || err == nil && len(answers) == 0 {
		return route{}, nil
	}
	if err != nil {
		r.lost()
		return route{}, err
	}
	answer := answers[0]
	if answer.Type != unix.RTN_UNICAST {
		return route{}, nil
	}
	source, _ := netip.AddrFromSlice(answer.Src)
	return route{
		found:      true,
		via:        neighbour{link: answer.LinkIndex, addr: viaOf(answer, addr)},
		source:     source.Unmap(),
		mtu:        answer.MTU,
		kernelOnly: answer.Encap != nil,
	}, nil
}

// noRoute tells the kernel's negative answers (no match, unreachable, prohibit, blackhole, a family that
// is disabled) from failures to ask.
func noRoute(err error) bool {
	for _, errno := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAFNOSUPPORT, unix.ENETDOWN} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// viaOf returns whose MAC is needed: the gateway's, which may be an IPv6 one for an IPv4 route
// (RFC 5549), or the destination's own.
func viaOf(rt netlink.Route, dst netip.Addr) netip.Addr {
	if gw, ok := netip.AddrFromSlice(rt.Gw); ok {
		return gw.Unmap()
	}
	if via, ok := rt.Via.(*netlink.Via); ok {
		if gw, ok := netip.AddrFromSlice(via.Addr); ok {
			return gw
		}
	}
	return dst
}

// suspects is what a batch of events puts in doubt.
type suspects struct {
	joined   bool // a neighbour or a link: no route, but what is joined with them
	all      bool
	links    map[int]struct{}
	prefixes map[netip.Prefix]struct{}
}

// manyPrefixes is where comparing each address with each prefix stops being worth it.
const manyPrefixes = 64

func (s *suspects) any() bool {
	return s.joined || s.all || len(s.links) > 0 || len(s.prefixes) > 0
}

func (s *suspects) addLink(index int) {
	if s.links == nil {
		s.links = map[int]struct{}{}
	}
	s.links[index] = struct{}{}
}

func (s *suspects) addPrefix(p netip.Prefix) {
	if s.prefixes == nil {
		s.prefixes = map[netip.Prefix]struct{}{}
	}
	s.prefixes[p] = struct{}{}
	s.all = s.all || len(s.prefixes) > manyPrefixes
}

func (s *suspects) cover(a netip.Addr, rt *route) bool {
	if s.all {
		return true
	}
	if _, ok := s.links[rt.via.link]; ok && rt.found {
		return true
	}
	for p := range s.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (r *Resolver) markStale(s suspects) {
	for a, rt := range r.routes {
		rt.stale = rt.stale || s.cover(a, rt)
	}
}
