package probe

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Options are fixed for a prober's life.
type Options struct {
	Port       uint16        // of the tunnel, UDP, on both sides
	Interval   time.Duration // between two probes of a node
	Failures   int           // probes without an answer, in a row, that make a node dead
	Recoveries int           // answers in a row that make it alive again
	FailOpen   int           // where more than this percentage are dead, all count as alive
}

// Prober asks a set of ingress nodes. Make one with New.
type Prober struct {
	opts    Options
	log     *slog.Logger
	listen  func(ipv6 bool, port uint16) (conn, error)
	changed chan struct{}
	kick    chan struct{} // there are nodes that were never asked

	mu     sync.Mutex // guards all below
	tracks map[netip.Addr]*track
	conns  map[bool]conn  // by: for IPv6
	errs   map[bool]error // why there is no conn
	step   chan struct{}  // closed and replaced when a node comes into another state
	last   Result         // as it was signalled
}

// Result is what forwarding follows from.
type Result struct {
	Answering map[netip.Addr]bool      // nodes that are alive
	Dead      map[netip.Addr]time.Time // nodes that are not, though they have been: since when
	Open      bool                     // so many are dead that none is taken to be: Dead is empty
}

// New returns a prober that does nothing before Run.
func New(opts Options, log *slog.Logger) *Prober {
	return &Prober{
		opts: opts, log: log, listen: listenUDP,
		changed: make(chan struct{}, 1),
		kick:    make(chan struct{}, 1),
		tracks:  map[netip.Addr]*track{},
		conns:   map[bool]conn{},
		errs:    map[bool]error{},
		step:    make(chan struct{}),
	}
}

// Changed signals that Result may have another answer than before.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Set makes nodes the ones that are asked, one for an address. It tells whether there
// are any of which nothing is known yet.
func (p *Prober) Set(nodes []Target) (fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := make(map[netip.Addr]bool, len(nodes))
	for _, n := range nodes {
		wanted[n.Addr] = true
		if t := p.tracks[n.Addr]; t != nil {
			t.Target = n
		} else {
			p.tracks[n.Addr] = newTrack(n, &p.opts)
		}
	}
	for a, t := range p.tracks {
		if !wanted[a] {
			delete(p.tracks, a)
		} else if !t.judged() {
			fresh = true
		}
	}
	p.last = p.result() // the caller knows what it has changed
	if fresh {
		signal(p.kick)
	}
	return fresh
}

// Await waits until something is known of each node, or ctx ends.
func (p *Prober) Await(ctx context.Context) {
	for {
		p.mu.Lock()
		step, judged := p.step, true
		for _, t := range p.tracks {
			judged = judged && t.judged()
		}
		p.mu.Unlock()
		if judged {
			return
		}
		select {
		case <-step:
		case <-ctx.Done():
			return
		}
	}
}

// Result judges all nodes together.
func (p *Prober) Result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result()
}

func (p *Prober) result() Result {
	r := Result{Answering: map[netip.Addr]bool{}, Dead: map[netip.Addr]time.Time{}}
	known := 0
	for a, t := range p.tracks {
		switch t.State {
		case Alive:
			r.Answering[a] = true
			known++
		case Dead:
			r.Dead[a] = t.Since
			known++
		}
	}
	if len(r.Dead)*100 > p.opts.FailOpen*known {
		r.Open = true
		for a := range r.Dead {
			r.Answering[a] = true
		}
		clear(r.Dead)
	}
	return r
}

func (r Result) equal(o Result) bool {
	return r.Open == o.Open && maps.Equal(r.Answering, o.Answering) && maps.Equal(r.Dead, o.Dead)
}

// Nodes lists the nodes by name and address, each by itself: as if Result.Open were not.
func (p *Prober) Nodes() []Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	nodes := make([]Node, 0, len(p.tracks))
	for _, t := range p.tracks {
		nodes = append(nodes, t.Node)
	}
	slices.SortFunc(nodes, compareNodes)
	return nodes
}

// Err is why some nodes cannot be asked at all, or nil.
func (p *Prober) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs[false], p.errs[true])
}

// settle publishes what a change of nodes' states means. p.mu is held.
func (p *Prober) settle() {
	close(p.step)
	p.step = make(chan struct{})
	now := p.result()
	if now.equal(p.last) {
		return
	}
	switch {
	case now.Open && !p.last.Open:
		p.log.Warn("more ingress nodes are dead than tunnel.failOpen allows: the fault is rather here, all count as alive")
	case p.last.Open && !now.Open:
		p.log.Info("enough ingress nodes answer again: those that do not are dead")
	}
	p.last = now
	signal(p.changed)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
