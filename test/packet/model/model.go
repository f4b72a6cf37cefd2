package model

import (
	"net/netip"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/flowhash"
	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// Config is what the program is loaded with, and where it stands.
type Config struct {
	Seed                [16]byte
	Rows                uint32 // of the smallest table, at least 16
	PortFirst, PortLast uint16 // ports that flows get, both included
	Reject              bool   // answer what is for a VIP and goes nowhere by an ICMP error
	Ingress             uint32 // index of the device that frames come in by
	Devices             map[uint32]bool

	// Route is the kernel's answer for a packet of some bytes. Without it the
	// kernel is left to send all packets whose next hop is not known.
	Route func(src, dst netip.Addr, length int) Route
}

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
	cfg       Config
	services  map[maps.Frontend]*service
	vips      map[netip.Addr]bool
	hops      map[netip.Addr]maps.NextHop
	requests  map[tuple]*flow
	replies   map[tuple]*flow
	fragments map[datagram]fragment
}

type service struct {
	maps.Service
	table *rendezvous.Table // nil if no backend takes new flows

	// The node's address towards each backend. It stays while the way is not known.
	sources map[netip.AddrPort]netip.Addr
}

// New returns a model without services.
func New(cfg Config) *Model {
	m := &Model{cfg: cfg, requests: map[tuple]*flow{}, replies: map[tuple]*flow{}, fragments: map[datagram]fragment{}}
	m.Sync(maps.Want{})
	return m
}

// Sync makes want the services and next hops. Flows stay.
func (m *Model) Sync(want maps.Want) {
	before := map[string]*service{}
	for _, s := range m.services {
		before[s.Name] = s
	}
	m.services, m.vips, m.hops = map[maps.Frontend]*service{}, map[netip.Addr]bool{}, want.NextHops
	for _, s := range want.Services {
		svc := &service{Service: s, sources: map[netip.AddrPort]netip.Addr{}}
		for _, b := range s.Backends {
			svc.sources[b.Addr] = m.hops[b.Addr.Addr()].Source
			if old := before[s.Name]; old != nil && !svc.sources[b.Addr].IsValid() {
				svc.sources[b.Addr] = old.sources[b.Addr]
			}
		}
		var eps []rendezvous.Endpoint
		for _, b := range s.Backends {
			if b.Weight > 0 {
				eps = append(eps, rendezvous.Endpoint{ID: b.Addr, Weight: b.Weight})
			}
		}
		if len(eps) > 0 {
			svc.table = rendezvous.New(m.cfg.Seed, rendezvous.RowsFor(len(s.Backends), m.cfg.Rows))
			svc.table.Set(eps)
		}
		for _, fe := range s.Frontends {
			m.services[fe] = svc
			m.vips[fe.VIP] = true
		}
	}
}

// pick is the backend of a new flow.
func (m *Model) pick(s *service, t tuple) netip.AddrPort {
	hash := flowhash.FlowHash(m.cfg.Seed, t.src, t.dst, t.proto)
	if s.Affinity == maps.AffinityClientIP {
		hash = flowhash.AffinityHash(m.cfg.Seed, t.src.Addr(), t.dst.Addr())
	}
	backend, _ := s.table.Row(hash & (s.table.Rows() - 1))
	return backend
}

func (s *service) has(backend netip.AddrPort) bool {
	for _, b := range s.Backends {
		if b.Addr == backend {
			return true
		}
	}
	return false
}

// Process says what is to happen to a frame. observed is what the program made of
// it, from which the model learns the port of a new flow; the error says what is
// wrong with that port.
func (m *Model) Process(frame, observed []byte) (Result, error) {
	p, ok := parse(frame)
	if !ok {
		return pass(frame, "pass_not_ip"), nil
	}
	vip := m.vips[p.dst]
	switch {
	case p.broken && frame[0]&1 != 0:
		return pass(frame, "pass_not_vip"), nil
	case p.broken && vip:
		return drop("drop_malformed"), nil
	case p.broken:
		return pass(frame, "pass_not_vip"), nil
	case frame[0]&1 != 0: // to a group
		return pass(frame, "pass_not_vip"), nil
	case p.part == later:
		f, known := m.fragments[p.datagram()]
		if !known && vip {
			return drop("drop_fragment"), nil
		} else if !known {
			return pass(frame, "pass_not_vip"), nil
		}
		p.ports, p.proto = f.ports, f.proto
	}
	switch {
	case p.isICMP():
		return m.icmp(p), nil
	case p.proto != protoTCP && p.proto != protoUDP && vip:
		return drop("drop_protocol"), nil
	case p.proto != protoTCP && p.proto != protoUDP:
		return pass(frame, "pass_not_vip"), nil
	}
	frontend := maps.Frontend{VIP: p.dst, Port: p.dport, Proto: maps.Proto(p.proto)}
	if s := m.services[frontend]; s != nil {
		return m.forward(p, s, observed)
	}
	if r, ok := m.reply(p); ok {
		return r, nil
	}
	if vip {
		return m.unreachable(p, "port"), nil
	}
	return pass(frame, "pass_not_vip"), nil
}

func pass(frame []byte, verdict string) Result {
	return Result{Verdict: verdict, Action: Pass, Frame: frame}
}

func drop(verdict string) Result { return Result{Verdict: verdict, Action: Drop} }
