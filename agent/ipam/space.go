package ipam

import (
	"math/bits"
	"net/netip"
	"slices"
)

// family indexes what there is once for each.
type family uint8

const (
	v4 family = iota
	v6
)

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return v4
	}
	return v6
}

func (f family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

// maxRest bounds how many freed addresses rest while there are others, and how many are
// remembered that would be found without. A variable for tests.
var maxRest = 4096

// space is one family of a pool. It gives the lowest address first, and such as were freed
// last and longest ago: a client that still has an old answer of DNS shall find nobody
// there rather than another Service.
//
// It holds no list of its addresses, so that a /64 costs what a /32 costs: every address
// below next is taken or rests, and of those above it only taken and resting ones are known.
// Next is not moved on over resting ones for ever, and those above it that rest are
// forgotten if there are too many, so that no claim that goes from address to address makes
// it remember them all.
type space struct {
	pool   *Pool
	family family
	ranges []Range // by their first address
	used   uint64  // addresses that somebody has

	next netip.Addr // invalid: there is none above
	at   int        // the range that next is in

	rest  map[netip.Addr]uint64 // freed ones, by when
	queue []rested              // the same in that order, with some that rest no more
	freed uint64                // counts
	above int                   // of rest, how many next has not passed

	routers map[netip.Addr]bool // first addresses of networks
}

type rested struct {
	addr netip.Addr
	at   uint64
}

func newSpace(p *Pool, f family) *space {
	s := &space{pool: p, family: f, rest: map[netip.Addr]uint64{}, routers: map[netip.Addr]bool{}}
	for _, r := range p.Ranges {
		if familyOf(r.First) == f {
			s.ranges = append(s.ranges, r)
			s.routers[r.First] = f == v6 && r.routed()
		}
	}
	slices.SortFunc(s.ranges, func(a, b Range) int { return a.First.Compare(b.First) })
	if len(s.ranges) > 0 {
		s.next = s.ranges[0].First
	}
	return s
}

// peek gives the address that is to be taken next; false if there is none.
func (s *space) peek(taken func(netip.Addr) bool) (netip.Addr, bool) {
	if len(s.rest) < maxRest {
		for s.next.IsValid() && (taken(s.next) || s.rests(s.next) || s.avoids(s.next)) {
			s.step()
		}
		if s.next.IsValid() {
			return s.next, true
		}
	}
	for len(s.queue) > 0 && s.rest[s.queue[0].addr] != s.queue[0].at {
		s.queue = s.queue[1:]
	}
	if len(s.queue) > 0 {
		return s.queue[0].addr, true
	}
	return netip.Addr{}, false
}

func (s *space) step() {
	if s.rests(s.next) {
		s.above--
	}
	if s.next != s.ranges[s.at].Last {
		s.next = s.next.Next()
		return
	}
	if s.at++; s.at == len(s.ranges) {
		s.next = netip.Addr{}
		return
	}
	s.next = s.ranges[s.at].First
}

// take counts an address that somebody has now.
func (s *space) take(addr netip.Addr) {
	s.used++
	if s.rests(addr) && s.ahead(addr) {
		s.above--
	}
	delete(s.rest, addr)
}

// ahead tells whether next has yet to come by.
func (s *space) ahead(addr netip.Addr) bool { return s.next.IsValid() && !addr.Less(s.next) }

// free counts an address that nobody has any more.
func (s *space) free(addr netip.Addr) {
	s.used--
	if s.avoids(addr) {
		return // as it is not given unasked, it need not be found
	}
	s.lay(addr)
	if len(s.queue) > 2*len(s.rest)+64 {
		s.queue = slices.DeleteFunc(s.queue, func(r rested) bool { return s.rest[r.addr] != r.at })
	}
}

// lay lets an address rest that does not.
func (s *space) lay(addr netip.Addr) {
	s.freed++
	s.rest[addr] = s.freed
	s.queue = append(s.queue, rested{addr, s.freed})
	if !s.ahead(addr) {
		return
	}
	if s.above++; s.above >= 2*maxRest {
		s.forget(s.above - maxRest)
	}
}

// forget ends the rest of the n first ones that next finds by itself.
func (s *space) forget(n int) {
	s.queue = slices.DeleteFunc(s.queue, func(r rested) bool {
		if s.rest[r.addr] != r.at {
			return true
		}
		if n == 0 || !s.ahead(r.addr) {
			return false
		}
		n--
		s.above--
		delete(s.rest, r.addr)
		return true
	})
}

func (s *space) rests(addr netip.Addr) bool { return s.rest[addr] != 0 }

func (s *space) avoids(addr netip.Addr) bool {
	if !s.pool.AvoidBuggyIPs {
		return false
	}
	if s.family == v6 {
		return s.routers[addr]
	}
	last := addr.As4()[3]
	return last == 0 || last == 255
}

// inherit lets what rested in another space rest here.
func (s *space) inherit(from *space) {
	for _, r := range from.queue {
		if from.rest[r.addr] == r.at && s.contains(r.addr) && !s.avoids(r.addr) {
			s.lay(r.addr)
		}
	}
}

func (s *space) contains(addr netip.Addr) bool {
	i, found := slices.BinarySearchFunc(s.ranges, addr, func(r Range, a netip.Addr) int { return r.First.Compare(a) })
	return found || i > 0 && s.ranges[i-1].Contains(addr)
}

// total counts addresses; it saturates.
func (s *space) total() (sum uint64) {
	for _, r := range s.ranges {
		n := r.size()
		if sum += n; sum < n {
			return ^uint64(0)
		}
	}
	return sum
}

// size counts addresses; it saturates.
func (r Range) size() uint64 {
	a, b := r.First.As16(), r.Last.As16()
	var lo, hi, borrow uint64
	lo, borrow = bits.Sub64(be64(b[8:]), be64(a[8:]), 0)
	hi, _ = bits.Sub64(be64(b[:8]), be64(a[:8]), borrow)
	if hi != 0 || lo == ^uint64(0) {
		return ^uint64(0)
	}
	return lo + 1
}

func be64(b []byte) (n uint64) {
	for _, x := range b[:8] {
		n = n<<8 | uint64(x)
	}
	return n
}
