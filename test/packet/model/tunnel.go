package model

import (
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

const tunnelTTL = 64

func (m *Model) isOwnTunnel(p *parsed) bool {
	return m.cfg.TunnelPort != 0 && p.proto == protoUDP && p.part == whole && p.dport == m.cfg.TunnelPort && m.members[p.dst].Self
}

// unwrap returns the packet that an ingress node sent back. It is nil if there is
// none, or one that none of ours sends back.
func (m *Model) unwrap(p *parsed) (*parsed, Result) {
	if !m.members[p.src].Backend {
		return nil, drop("drop_tunnel_source")
	}
	datagram := p.frame[p.l4:p.end]
	g, err := packet.ParseGeneve(datagram[8:])
	if err != nil || int(datagram[4])<<8|int(datagram[5]) != len(datagram) {
		return nil, drop("drop_tunnel")
	}
	if g.Flags == packet.Probe|packet.Bounce && len(g.Inner) == 0 {
		return nil, pass(p.frame, "pass_probe")
	}
	noSum := datagram[6] == 0 && datagram[7] == 0 // which nobody here could verify
	if g.Flags != packet.Bounce || g.Hop >= hopEnd && g.Hop != packet.HopLearned || !noSum {
		return nil, drop("drop_tunnel")
	}
	ethertype := []byte{0x08, 0x00}
	if g.Pod.Addr().Is6() {
		ethertype = []byte{0x86, 0xdd}
	}
	frame := slices.Concat(p.frame[:12], ethertype, g.Inner, p.frame[p.end:])
	inner, ok := parse(frame)
	if !ok || inner.broken || inner.length() != len(g.Inner) || inner.isSYN() {
		return nil, drop("drop_tunnel") // a SYN is never sent back: any pod takes it
	}
	inner.bounced, inner.asked, inner.outerPort = true, g.Hop, p.sport
	return inner, Result{}
}

// encap sends a packet of flow t, or an error about one, to its owner's node.
func (m *Model) encap(p *parsed, t tuple, o owner, observed []byte) Result {
	node, source := o.Tunnel, m.sources[o.Tunnel]
	length := p.length() + packet.TunnelOverhead(node, p.src)
	switch {
	case !source.IsValid():
		return drop("drop_no_route")
	case p.ttl <= 1 && p.isICMP(): // no errors about errors
		return drop("drop_icmp")
	case p.ttl <= 1:
		return m.timeExceeded(p, p.dst)
	}
	hop := m.hops[node]
	route := Route{Kind: RouteDirect, NextHop: hop}
	switch {
	case hop.Ifindex == 0:
		route = m.route(source, node, length)
	case hop.MTU != 0 && length > int(hop.MTU):
		route = Route{Kind: RouteTooBig, MTU: hop.MTU}
	}
	switch {
	case route.Kind == RouteNone, route.Kind == RouteTooBig && p.isICMP():
		return drop("drop_no_route")
	case route.Kind == RouteTooBig: // also what may be fragmented: a tunnel packet may not
		return m.tooBig(p, route.MTU-uint16(length-p.length()))
	}
	g := packet.Geneve{Pod: o.Addr, Hop: o.hop, Inner: p.frame[p.l3:p.end]}
	if o.accept {
		g.Flags = packet.Accept
	}
	tunnel := packet.Tunnel(netip.AddrPortFrom(source, m.flowPort(t)^o.stamp), netip.AddrPortFrom(node, m.cfg.TunnelPort), g)
	tunnel.TTL, tunnel.TOS, tunnel.Label = tunnelTTL, p.tos, m.labelOf(t, observed)
	return m.sendTunnel(p, tunnel, route)
}

// sendTunnel lets a tunnel packet go. The kernel gets it with the MACs that the
// packet inside came with.
func (m *Model) sendTunnel(p *parsed, tunnel packet.Packet, route Route) Result {
	verdict := "encap"
	if p.bounced {
		verdict = "encap_next"
	}
	ip := slices.Concat(tunnel.IP(), p.frame[p.end:])
	ifindex := route.NextHop.Ifindex
	switch {
	case route.Kind == RouteDirect && ifindex == m.cfg.Ingress:
		return Result{Verdict: verdict, Action: TX, Frame: link(ip, tunnel.Src.Is6(), route.NextHop)}
	case route.Kind == RouteDirect && m.cfg.Devices[ifindex]:
		return Result{Verdict: verdict, Action: Redirect, Frame: link(ip, tunnel.Src.Is6(), route.NextHop)}
	}
	came := maps.NextHop{DstMAC: maps.MAC(p.frame[:6]), SrcMAC: maps.MAC(p.frame[6:12])}
	return Result{Verdict: verdict + "_kernel", Action: Pass, Frame: link(ip, tunnel.Src.Is6(), came)}
}

// labelOf takes the flow's label, which those over IPv6 show, from what the program has made of its first packet.
func (m *Model) labelOf(t tuple, observed []byte) uint32 {
	label, known := m.labels[t]
	if seen, err := packet.OpenTunnel(observed); !known && err == nil && seen.Src.Addr().Is6() {
		label = seen.Label
		m.labels[t] = label
	}
	return label
}
