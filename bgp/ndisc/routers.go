package ndisc

import (
	"net/netip"
	"slices"
	"time"
)

// mostRouters bounds what a link remembers, whoever sends there.
const mostRouters = 16

// routers are those that are heard on a link, the one in use first.
type routers []router

type router struct {
	addr netip.Addr
	last time.Time
}

func (r routers) chosen() (netip.Addr, bool) {
	if len(r) == 0 {
		return netip.Addr{}, false
	}
	return r[0].addr, true
}

// heard reports whether the router is a new one.
func (r *routers) heard(addr netip.Addr, now time.Time) bool {
	i := slices.IndexFunc(*r, func(o router) bool { return o.addr == addr })
	if i >= 0 {
		(*r)[i].last = now
		return false
	}
	if len(*r) >= mostRouters {
		return false
	}
	*r = append(*r, router{addr, now})
	return true
}

// expire forgets those not heard since.
func (r *routers) expire(since time.Time) {
	*r = slices.DeleteFunc(*r, func(o router) bool { return o.last.Before(since) })
}
