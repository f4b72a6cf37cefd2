package chain

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A simulation of pods that come and go, of LB nodes that see this each in its
// own time, and of flows that stay where they were opened. A tick is a second.

type pod struct {
	Endpoint
	told      Endpoint // what the nodes were told last
	readyAt   int      // tick at which it will become ready, if it is not, or -1
	leaving   bool     // terminating
	deletedAt int      // tick at which it will be gone, if leaving
}

type flow struct {
	hash    uint32
	owner   netip.AddrPort
	forever bool // ends with its pod only
}

// node is an LB node.
type node struct {
	table *Table
	sizes []Size
	view  map[netip.AddrPort]Endpoint
	news  []update               // not seen yet
	last  map[netip.AddrPort]int // tick at which it sees the last update of a pod
}

// update is a change of a pod. The updates of one pod come in their order, those
// of several in any.
type update struct {
	seenAt int
	Endpoint
	gone bool
}

type simConfig struct {
	seed     uint64
	opts     Options
	ticks    int
	pods     int
	nodes    int
	lag      int // ticks until a node sees a change of a pod, at most
	flows    int
	act      func(s *sim)          // what happens in a tick
	rows     func(pods int) uint32 // nil: always 64
	observed bool                  // times are those at which a node sees a change, not those of the change
	amnesia  bool                  // nodes do not hear of former weights and sizes
}

type sim struct {
	simConfig
	r     *rand.Rand
	tick  int
	born  int // number of pods so far
	rush  int // until this tick clients end their flows and open others
	pods  []*pod
	alive map[netip.AddrPort]bool
	nodes []*node
	flows []flow
	stats simStats
}

type simStats struct {
	checks    int // packets of flows whose pod lives
	outside   int // their pod was not in the chain
	extra     int // of those outside: found among the extra ranks
	unheard   int // of the others: the node had not heard of the pod yet
	tries     int // of those in the chain: places tried
	lengths   []int
	displaced int // of those in the chain: not on the primary
}

// lost is the number of packets whose flow broke, but for those that no rule
// could have saved.
func (s simStats) lost() int { return s.outside - s.extra - s.unheard }

func (s simStats) String() string {
	var lengths []string
	total := 0
	for _, n := range s.lengths {
		total += n
	}
	for i, n := range s.lengths {
		if n > 0 {
			lengths = append(lengths, fmt.Sprintf("%d:%.2f%%", i, 100*float64(n)/float64(total)))
		}
	}
	return fmt.Sprintf("%d checks, %d outside (%.4f %%), %d after extra ranks, %d unheard of; %.1f %% displaced, "+
		"tries %.3f; rows by length of chain %s", s.checks, s.outside, 100*float64(s.outside)/float64(s.checks),
		s.lost(), s.unheard, 100*float64(s.displaced)/float64(s.checks), float64(s.tries)/float64(s.checks-s.outside),
		strings.Join(lengths, " "))
}

func simulate(c simConfig) simStats {
	s := &sim{simConfig: c, r: rand.New(rand.NewPCG(c.seed, 0)), alive: make(map[netip.AddrPort]bool)}
	for range c.pods {
		p := s.create(-1)
		p.BornAt, p.EligibleSince = at(-200000), at(-190000)
	}
	lag := s.lag
	s.lag = 0
	for range c.nodes {
		s.nodes = append(s.nodes, &node{view: make(map[netip.AddrPort]Endpoint), last: make(map[netip.AddrPort]int)})
	}
	for s.tick < c.ticks {
		if s.tick > 0 {
			c.act(s)
		}
		s.progress()
		s.look()
		s.traffic()
		s.lag = lag
		s.tick++
	}
	return s.stats
}

// create adds a pod that becomes ready after some ticks, or never if -1.
func (s *sim) create(ready int) *pod {
	p := &pod{Endpoint: Endpoint{ID: address(s.born), Weight: 1, BornAt: at(s.tick), LostAt: at(s.tick)}, readyAt: -1}
	if ready >= 0 {
		p.readyAt = s.tick + ready
	}
	s.born++
	s.pods = append(s.pods, p)
	s.alive[p.ID] = true
	return p
}

// lose makes a pod not ready for some ticks.
func (s *sim) lose(p *pod, ticks int) {
	p.EligibleSince, p.LostAt, p.readyAt = time.Time{}, at(s.tick), s.tick+ticks
}

// drain makes a pod terminate, and go after some ticks.
func (s *sim) drain(p *pod, ticks int) {
	if !p.EligibleSince.IsZero() {
		p.EligibleSince, p.LostAt = time.Time{}, at(s.tick)
	}
	p.leaving, p.readyAt, p.deletedAt = true, -1, s.tick+ticks
}

func (s *sim) ready() (pods []*pod) {
	for _, p := range s.pods {
		if !p.EligibleSince.IsZero() {
			pods = append(pods, p)
		}
	}
	return pods
}

func (s *sim) oneIn(n int) bool { return s.r.IntN(n) == 0 }

func (s *sim) pick(pods []*pod) *pod { return pods[s.r.IntN(len(pods))] }

// progress lets pods become ready and vanish, and tells the nodes.
func (s *sim) progress() {
	s.pods = slices.DeleteFunc(s.pods, func(p *pod) bool {
		if p.readyAt >= 0 && p.readyAt <= s.tick {
			p.EligibleSince, p.LostAt, p.readyAt = at(s.tick), time.Time{}, -1
		}
		gone := p.leaving && p.deletedAt <= s.tick
		if gone {
			delete(s.alive, p.ID)
		}
		if gone || !reflect.DeepEqual(p.told, p.Endpoint) {
			p.told = p.Endpoint
			s.tell(p.Endpoint, gone)
		}
		return gone
	})
}

func (s *sim) tell(e Endpoint, gone bool) {
	if s.amnesia {
		e.Former = nil
	}
	for _, n := range s.nodes {
		seenAt := max(s.tick+s.r.IntN(s.lag+1), n.last[e.ID])
		n.last[e.ID] = seenAt
		n.news = append(n.news, update{seenAt, e, gone})
	}
}

// look lets the nodes see what they see now.
func (s *sim) look() {
	for _, n := range s.nodes {
		seen := false
		n.news = slices.DeleteFunc(n.news, func(u update) bool {
			if u.seenAt > s.tick {
				return false
			}
			seen = true
			n.view[u.ID] = s.stamped(u.Endpoint, n.view[u.ID])
			if u.gone {
				delete(n.view, u.ID)
			}
			return true
		})
		if next := n.table.nextTick(); seen || next >= 0 && s.tick >= next {
			s.set(n)
		}
	}
}

// stamped returns the endpoint with the times at which the node saw what changed,
// if it goes by its own clock.
func (s *sim) stamped(e, before Endpoint) Endpoint {
	if !s.observed || s.tick == 0 {
		return e
	}
	if !before.ID.IsValid() {
		before.BornAt = at(s.tick)
	}
	e.BornAt = before.BornAt
	was, is := before.EligibleSince, e.EligibleSince
	e.EligibleSince, e.LostAt = was, before.LostAt
	switch {
	case is.IsZero() && (!was.IsZero() || e.LostAt.IsZero()):
		e.EligibleSince, e.LostAt = time.Time{}, at(s.tick)
	case !is.IsZero() && was.IsZero():
		e.EligibleSince, e.LostAt = at(s.tick), time.Time{}
	}
	return e
}

// nextTick is the tick of the next change, -1 if there is none.
func (t *Table) nextTick() int {
	if t == nil || t.NextChange().IsZero() {
		return -1
	}
	return int(t.NextChange().Sub(epoch) / time.Second)
}

// set gives the node's table what it has seen, in any order.
func (s *sim) set(n *node) {
	rows := uint32(64)
	if s.rows != nil {
		rows = s.rows(len(n.view))
	}
	if n.table == nil || n.table.Rows() != rows {
		if n.table != nil && !s.amnesia {
			n.sizes = append(n.sizes, Size{n.table.Rows(), at(s.tick)})
		}
		n.table = New(testSeed, rows, s.opts, n.sizes...)
	}
	n.table.Set(at(s.tick), slices.Collect(maps.Values(n.view)))
}

// restart puts a new node in the place of one. It knows the endpoints and the
// former sizes.
func (s *sim) restart(n *node) {
	n.table = New(testSeed, n.table.Rows(), s.opts, n.sizes...)
	s.set(n)
}

// traffic sends a packet of each flow through some node, and opens new flows.
func (s *sim) traffic() {
	if s.tick%60 == 59 {
		for length, n := range s.nodes[0].table.Lengths() {
			for len(s.stats.lengths) <= length {
				s.stats.lengths = append(s.stats.lengths, 0)
			}
			s.stats.lengths[length] += n
		}
	}
	for i := range s.flows {
		f := &s.flows[i]
		n := s.nodes[s.r.IntN(len(s.nodes))]
		if !s.alive[f.owner] || !f.forever && s.oneIn(100) || s.tick < s.rush && s.oneIn(2) {
			s.open(n, f)
		}
		s.deliver(n, f)
	}
	// Flows come all the time.
	for len(s.flows) < s.simConfig.flows*(s.tick+1)/s.ticks || len(s.flows) < s.simConfig.flows/4 {
		f := flow{hash: s.r.Uint32(), forever: s.oneIn(2)}
		s.open(s.nodes[s.r.IntN(len(s.nodes))], &f)
		s.flows = append(s.flows, f)
	}
}

func (s *sim) open(n *node, f *flow) {
	f.owner, _ = n.table.Primary(f.hash & (n.table.Rows() - 1))
}

// deliver sends a packet. A flow that is not found goes on, as the packets that
// take another node arrive.
func (s *sim) deliver(n *node, f *flow) {
	if !s.alive[f.owner] {
		return // its pod is gone, and the node does not know it yet
	}
	s.stats.checks++
	row := f.hash & (n.table.Rows() - 1)
	var buf [48]netip.AddrPort
	chain := n.table.AppendChain(buf[:0], row)
	if i := slices.Index(chain, f.owner); i >= 0 {
		s.stats.tries += i + 1
		if i > 0 {
			s.stats.displaced++
		}
		return
	}
	s.stats.outside++
	_, heard := n.view[f.owner]
	switch {
	case !heard:
		s.stats.unheard++
	case slices.Contains(n.table.AppendExtra(buf[:0], row), f.owner):
		s.stats.extra++
	}
}
