package model

import (
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

// Config is what the program is loaded with, and where it stands.
type Config struct {
	Seed                [16]byte
	Rows                uint32 // of the smallest table, at least 16
	PortFirst, PortLast uint16 // ports that flows get, both included
	TunnelPort          uint16 // of UDP, 0 for no tunnels
	Chain               chain.Options
	Reject              bool   // answer what is for a VIP and goes nowhere by an ICMP error
	Ingress             uint32 // index of the device that frames come in by
	Devices             map[uint32]bool

	// Version is the program's of a row. Without it that of all rows is zero.
	Version func(service string, row uint32) Version

	// Route is the kernel's answer for a packet of some bytes. Without it the
	// kernel is left to send all packets whose next hop is not known.
	Route func(src, dst netip.Addr, length int) Route
}

// Version is what numbers the program has for a row's owners and for its primary, of
// 12 bits each.
type Version struct{ Row, Primary uint16 }

// RouteKind is what the kernel says about a destination.
type RouteKind uint8

// What can be said about a destination.
const (
	RouteKernel RouteKind = iota // send it through the kernel
	RouteDirect                  // the next hop is known
	RouteNone                    // unreachable
	RouteTooBig                  // it does not fit the MTU
)

// Route is the kernel's answer.
type Route struct {
	Kind    RouteKind
	NextHop maps.NextHop // device and MACs of RouteDirect
	MTU     uint16       // of RouteTooBig
}

// Action is what becomes of a frame, with the numbers of enum xdp_action.
type Action uint32

// The actions that the load balancer takes.
const (
	Drop     Action = 1
	Pass     Action = 2
	TX       Action = 3
	Redirect Action = 4
)

// Result is what is to happen to a frame.
type Result struct {
	Verdict string
	Action  Action
	Frame   []byte // as it leaves; nil if it does not

	// Unsure says that the model does not know enough for the rest to be held
	// against anybody: the frame belongs to a flow whose tuple a newer one has
	// taken, or whose port it has not seen.
	Unsure bool
}

// Model is the load balancer's state.
type Model struct {
	Restarts int // of searches, so far

	cfg       Config
	byName    map[string]*service
	services  map[maps.Frontend]*service
	vips      map[netip.Addr]bool
	hops      map[netip.Addr]maps.NextHop
	members   map[netip.Addr]maps.Member
	dead      map[netip.Addr]bool
	sources   map[netip.Addr]netip.Addr // this node's address towards each ingress node
	requests  map[tuple]*flow
	replies   map[tuple]*flow
	fragments map[datagram]fragment
	learned   map[tuple]keeper
	labels    map[tuple]uint32
}

// New returns a model without services.
func New(cfg Config) *Model {
	if cfg.Version == nil {
		cfg.Version = func(string, uint32) (v Version) { return v }
	}
	m := &Model{
		cfg: cfg, requests: map[tuple]*flow{}, replies: map[tuple]*flow{}, fragments: map[datagram]fragment{},
		learned: map[tuple]keeper{}, labels: map[tuple]uint32{},
	}
	m.Sync(maps.Want{})
	return m
}

// Sync makes want the services, next hops and tunnels. Flows stay. It is true if
// the backend of a flow that was learned is gone: then what was learned of any flow
// is forgotten, and is to be by the program, for in its tables a number may come to
// mean another backend.
func (m *Model) Sync(want maps.Want) (forgotten bool) {
	now := time.Now()
	m.hops, m.dead = want.NextHops, want.Dead
	m.members = map[netip.Addr]maps.Member{}
	for _, member := range want.Members {
		m.members[member.Addr] = member
	}
	before, sources := m.byName, m.sources
	m.byName, m.sources = map[string]*service{}, map[netip.Addr]netip.Addr{}
	m.services, m.vips = map[maps.Frontend]*service{}, map[netip.Addr]bool{}
	for _, s := range want.Services {
		svc := newService(m.cfg, s, before[s.Name], m.hops, now)
		m.byName[s.Name] = svc
		for _, b := range s.Backends {
			if b.Tunnel.IsValid() {
				m.sources[b.Tunnel] = m.hops[b.Tunnel].Source
				if !m.sources[b.Tunnel].IsValid() {
					m.sources[b.Tunnel] = sources[b.Tunnel]
				}
			}
		}
		for _, fe := range s.Frontends {
			m.services[fe] = svc
			m.vips[fe.VIP] = true
		}
	}
	for _, k := range m.learned {
		forgotten = forgotten || m.byName[k.service] == nil || !m.byName[k.service].has(k.backend)
	}
	if forgotten {
		m.learned = map[tuple]keeper{}
	}
	return forgotten
}

// Process says what is to happen to a frame. observed is what the program made of
// it, from which the model learns the port of a new flow; the error says what is
// wrong with that port.
func (m *Model) Process(frame, observed []byte) (Result, error) {
	p, ok := parse(frame)
	switch {
	case !ok:
		return pass(frame, "pass_not_ip"), nil
	case frame[0]&1 != 0: // to a group
		return pass(frame, "pass_not_vip"), nil
	case p.broken && m.vips[p.dst]:
		return drop("drop_malformed"), nil
	case p.broken:
		return pass(frame, "pass_not_vip"), nil
	case !m.isOwnTunnel(p):
		return m.process(p, observed)
	}
	inner, r := m.unwrap(p)
	if inner == nil {
		return r, nil
	}
	// What a tunnel brought is no packet that the kernel may see, nor reply to.
	r, err := m.process(inner, observed)
	if strings.HasPrefix(r.Verdict, "pass") {
		return drop("drop_tunnel"), err
	}
	return r, err
}

// process goes on with a packet that a client might have sent.
func (m *Model) process(p *parsed, observed []byte) (Result, error) {
	vip := m.vips[p.dst]
	if p.part == later {
		f, known := m.fragments[p.datagram()]
		if !known && vip {
			return drop("drop_fragment"), nil
		} else if !known {
			return pass(p.frame, "pass_not_vip"), nil
		}
		p.ports, p.proto = f.ports, f.proto
	}
	switch {
	case p.isICMP():
		return m.icmp(p, observed)
	case p.proto != protoTCP && p.proto != protoUDP && vip:
		return drop("drop_protocol"), nil
	case p.proto != protoTCP && p.proto != protoUDP:
		return pass(p.frame, "pass_not_vip"), nil
	}
	if s := m.serviceOf(p.tuple()); s != nil {
		return m.forward(p, s, observed)
	}
	if p.bounced {
		return drop("drop_tunnel"), nil
	}
	if r, ok := m.reply(p); ok {
		return r, nil
	}
	if vip {
		return m.unreachable(p, "port"), nil
	}
	return pass(p.frame, "pass_not_vip"), nil
}

// serviceOf returns the service that a client's packets of the flow reach.
func (m *Model) serviceOf(t tuple) *service {
	return m.services[maps.Frontend{VIP: t.dst.Addr(), Port: t.dst.Port(), Proto: maps.Proto(t.proto)}]
}

func pass(frame []byte, verdict string) Result {
	return Result{Verdict: verdict, Action: Pass, Frame: frame}
}

func drop(verdict string) Result { return Result{Verdict: verdict, Action: Drop} }
