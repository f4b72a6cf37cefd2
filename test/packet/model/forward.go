package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps"
)

func (m *Model) forward(p *parsed, s *service, observed []byte) (Result, error) {
	if !s.admits(p.src) {
		return drop("drop_source_range"), nil
	}
	var f *flow
	if s.nat && !p.bounced { // what is translated is not sent back
		f = find(m.requests, p)
	}
	if f != nil {
		f.track(p, false)
		if !s.has(f.backend) {
			m.remove(f)
			f = nil
		}
	}
	if f == nil {
		switch {
		case !s.usable && (s.table == nil || p.isSYN()):
			return m.unreachable(p, "no_backend"), nil
		case s.usable && (!isHost(p.src) || m.vips[p.src] && p.proto != protoTCP): // two services could answer each other
			return drop("drop_source"), nil
		}
		o, ok := m.choose(p, s, p.tuple())
		switch {
		case !s.usable && (!ok || !o.Tunnel.IsValid() || o.accept && p.bounced):
			return m.unreachable(p, "no_backend"), nil // its flows go on, and no new one begins
		case o.Tunnel.IsValid():
			o.accept = o.accept && s.usable
			m.remember(p)
			return m.encap(p, p.tuple(), o, observed), nil
		case p.part == later:
			return drop("drop_fragment"), nil
		case m.vips[p.src]:
			return drop("drop_source"), nil
		}
		backend := o.Addr
		if _, member := m.members[backend.Addr()]; member && p.proto == protoUDP && backend.Port() == m.cfg.TunnelPort {
			return drop("drop_tunnel"), nil // it would be a tunnel packet of this node's
		}
		source := s.sources[backend]
		if !source.IsValid() {
			return drop("drop_no_route"), nil
		}
		f = m.open(p, backend, source)
	}
	if p.ttl <= 1 {
		return m.timeExceeded(p, f.node.Addr()), nil
	}
	m.remember(p)
	hop := m.hops[f.backend.Addr()]
	route := Route{Kind: RouteDirect, NextHop: hop}
	switch {
	case hop.Ifindex == 0:
		route = m.route(f.node.Addr(), f.backend.Addr(), p.length())
	case hop.MTU != 0 && p.length() > int(hop.MTU):
		route = Route{Kind: RouteTooBig, MTU: hop.MTU}
	}
	// What is rejected or dropped does not show the port.
	var err error
	if route.Kind != RouteNone && (route.Kind != RouteTooBig || !p.dontFragment) {
		err = m.learn(f, p, observed)
	}
	return m.send(p, f.node, f.backend, route, "forward"), err
}

func (m *Model) reply(p *parsed) (Result, bool) {
	if p.dport < m.cfg.PortFirst || p.dport > m.cfg.PortLast {
		return Result{}, false
	}
	f := find(m.replies, p)
	if f == nil {
		return Result{}, false
	}
	f.track(p, true)
	var r Result
	if p.ttl <= 1 {
		r = m.timeExceeded(p, p.dst)
	} else {
		m.remember(p)
		vip, client := f.request.dst, f.request.src
		r = m.send(p, vip, client, m.route(vip.Addr(), client.Addr(), p.length()), "reply")
	}
	r.Unsure = f.replaced
	return r, true
}

func (m *Model) route(src, dst netip.Addr, length int) Route {
	if m.cfg.Route == nil {
		return Route{}
	}
	return m.cfg.Route(src, dst, length)
}

// send gives the packet new ends and lets it go.
func (m *Model) send(p *parsed, src, dst netip.AddrPort, route Route, verdict string) Result {
	switch {
	case route.Kind == RouteNone:
		return drop("drop_no_route")
	case route.Kind == RouteTooBig && p.dontFragment:
		return m.tooBig(p, route.MTU)
	}
	return m.leave(p, rewrite(p, src, dst), route, verdict, verdict+"_kernel")
}

// leave sends a finished frame by the route, or leaves it to the kernel.
func (m *Model) leave(p *parsed, frame []byte, route Route, verdict, byKernel string) Result {
	ifindex := route.NextHop.Ifindex
	switch {
	case route.Kind == RouteDirect && ifindex == m.cfg.Ingress:
		return Result{Verdict: verdict, Action: TX, Frame: relink(frame, p, route.NextHop)}
	case route.Kind == RouteDirect && m.cfg.Devices[ifindex]:
		return Result{Verdict: verdict, Action: Redirect, Frame: relink(frame, p, route.NextHop)}
	}
	// The kernel takes the hop off.
	ends := &parsed{frame: frame, l3: p.l3}
	if p.ipv6() {
		ends.parseIPv6(frame[p.l3:])
	} else {
		ends.parseIPv4(frame[p.l3:])
	}
	readdress(frame[p.l3:], ends.src, ends.dst, p.ttl)
	return Result{Verdict: byKernel, Action: Pass, Frame: frame}
}

// relink gives the packet in frame a new Ethernet header.
func relink(frame []byte, p *parsed, hop maps.NextHop) []byte {
	return link(frame[p.l3:], p.ipv6(), hop)
}

func link(ip []byte, ipv6 bool, hop maps.NextHop) []byte {
	b := slices.Concat(hop.DstMAC[:], hop.SrcMAC[:])
	if hop.VLAN != 0 {
		b = binary.BigEndian.AppendUint16(b, 0x8100)
		b = binary.BigEndian.AppendUint16(b, hop.VLAN)
	}
	if ipv6 {
		b = binary.BigEndian.AppendUint16(b, 0x86dd)
	} else {
		b = binary.BigEndian.AppendUint16(b, 0x0800)
	}
	return append(b, ip...)
}

// rewrite is the frame with other addresses and ports and a hop less to live.
func rewrite(p *parsed, src, dst netip.AddrPort) []byte {
	b := slices.Clone(p.frame)
	readdress(b[p.l3:], src.Addr(), dst.Addr(), p.ttl-1)
	if p.part == later {
		return b
	}
	before, after := b[p.l4:p.end], slices.Clone(b[p.l4:p.end])
	binary.BigEndian.PutUint16(after, src.Port())
	binary.BigEndian.PutUint16(after[2:], dst.Port())
	at := 16
	if p.proto == protoUDP {
		at = 6
	}
	change := sumChange{pseudo(p.src, p.dst), pseudo(src.Addr(), dst.Addr())}.and(before, after)
	change.apply(after[at:], p.proto)
	copy(b[p.l4:], after)
	return b
}

// readdress changes an IP header, and the IPv4 checksum by as much.
func readdress(ip []byte, src, dst netip.Addr, ttl uint8) {
	if src.Is6() {
		ip[7] = ttl
		copy(ip[8:], src.AsSlice())
		copy(ip[24:], dst.AsSlice())
		return
	}
	before := slices.Clone(ip[:20])
	ip[8] = ttl
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], dst.AsSlice())
	sumChange{}.and(before, ip[:20]).apply(ip[10:], 0)
}
