package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/test/packet"
)

const ingressNodes = 4

func ingressNode(i int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:3:%d::1", i))
	}
	return netip.AddrFrom4([4]byte{10, 2, byte(i), 1})
}

// members has, besides this node and the ingress nodes, another LB node, which has
// nothing to send back here.
var members = func() []maps.Member {
	list := []maps.Member{
		{Addr: netip.MustParseAddr("10.0.0.1"), Self: true, LB: true}, {Addr: netip.MustParseAddr("2001:db8:1000::1"), Self: true, LB: true},
		{Addr: netip.MustParseAddr("10.0.0.2"), LB: true}, {Addr: netip.MustParseAddr("2001:db8:1000::2"), LB: true},
	}
	for i := range ingressNodes {
		list = append(list, maps.Member{Addr: ingressNode(i, false), Backend: true}, maps.Member{Addr: ingressNode(i, true), Backend: true})
	}
	return list
}()

func (g *generator) deaths() {
	g.wanted.Dead = map[netip.Addr]bool{}
	for i := range ingressNodes {
		if g.oneIn(6, "dead") {
			g.wanted.Dead[ingressNode(i, false)], g.wanted.Dead[ingressNode(i, true)] = true, true
		}
	}
}

// ago is a time in the past, far from where a difference of seconds matters. Zero is
// before all.
func (g *generator) ago(label string) time.Time {
	minutes := pick(g, label, 0, 1, 10, 30, 50, 120)
	if minutes == 0 {
		return time.Time{}
	}
	return g.now.Add(-time.Duration(minutes) * time.Minute)
}

// backends draws those of a service: translated, behind tunnels, or some of each.
func (g *generator) backends(ipv6 bool) (list []maps.Backend) {
	kind := pick(g, "forwarding", "nat", "dsr", "dsr", "mixed")
	first := g.number("first backend", 0, 3)
	for i := range g.number("backends", 0, 5) {
		b := maps.Backend{
			Addr:   netip.AddrPortFrom(pod(first+i, ipv6), 8080),
			Weight: pick[uint32](g, "weight", 1, 1, 3, 0),
		}
		b.Draining = g.oneIn(5, "draining")
		if kind == "dsr" || kind == "mixed" && g.oneIn(2, "direct") {
			b.Tunnel = ingressNode((first+i)%ingressNodes, g.oneIn(2, "tunnel over ipv6"))
			g.history(&b)
		}
		list = append(list, b)
	}
	return list
}

func (g *generator) history(b *maps.Backend) {
	b.BornAt = g.ago("born")
	if b.Draining {
		b.LostAt = g.ago("lost")
	} else {
		b.EligibleSince = g.ago("eligible")
	}
	if until := g.ago("reweighted"); !until.IsZero() && g.oneIn(3, "former weight") {
		b.Former = []chain.Former{{Weight: pick[uint32](g, "former", 1, 4, 9), Until: until}}
	}
}

// sent remembers what the program sent, if it was through a tunnel, and tells what
// is special about it.
func (g *generator) sent(frame []byte) (special []string) {
	o, err := packet.OpenTunnel(frame)
	if err != nil || o.Flags&^packet.Accept != 0 || len(o.Inner) < 20 { // what only passed through
		return nil
	}
	g.tunnels = append(g.tunnels, o)
	families := map[bool]string{true: "IPv6", false: "IPv4"}
	special = append(special, families[o.Pod.Addr().Is6()]+" in "+families[o.Src.Addr().Is6()])
	switch {
	case o.Flags == packet.Accept && o.Hop > 0:
		special = append(special, "last owner")
	case o.Flags == packet.Accept:
		special = append(special, "datagram")
	case o.Hop == packet.HopLearned:
		special = append(special, "learned")
	case o.Hop > 2:
		special = append(special, "far owner")
	case o.Hop > 0:
		special = append(special, "next owner")
	}
	return special
}

// bounced is a tunnel packet as an ingress node sends it back.
func bounced(o packet.Opened) (from, to netip.AddrPort, g packet.Geneve) {
	from, to = netip.AddrPortFrom(o.Dst.Addr(), o.Src.Port()), netip.AddrPortFrom(o.Src.Addr(), tunnelPort)
	o.Flags = packet.Bounce
	return from, to, o.Geneve
}

// fromTunnel draws what an ingress node sends back, or something like it.
func (g *generator) fromTunnel() []byte {
	o := g.tunnels[len(g.tunnels)-1]
	if g.oneIn(3, "not the latest") {
		o = pick(g, "tunnel packet", g.tunnels...)
	}
	if pick(g, "again from the client", false, true) {
		return g.damage(again(o.Inner, g.oneIn(3, "as a SYN")))
	}
	from, to, inside := bounced(o)
	switch pick(g, "what is wrong", "nothing", "nothing", "nothing", "nothing", "nothing", "flags", "hop", "probe", "source", "destination", "inner") {
	case "flags":
		inside.Flags = packet.TunnelFlags(g.number("flags", 0, 7))
	case "hop":
		inside.Hop = uint8(pick(g, "hop", 0, 1, 2, 17, 18, 19, 20, 254, 255))
	case "probe":
		inside.Flags, inside.Inner = packet.Probe|packet.Bounce, nil
	case "source":
		from = g.stranger(from)
	case "destination":
		to = pick(g, "to", netip.AddrPortFrom(to.Addr(), tunnelPort+1), netip.AddrPortFrom(vip(0, to.Addr().Is6()), tunnelPort))
	case "inner":
		inside.Inner = g.otherInner(o)
	}
	p := packet.Tunnel(from, to, inside)
	if g.oneIn(30, "checksum") {
		p.Transport.(*packet.UDPHeader).NoChecksum = inside.Flags&packet.Probe != 0
	}
	p.TTL = pick[uint8](g, "outer ttl", 64, 1)
	p.VLANs = pick(g, "outer vlans", nil, nil, nil, []uint16{5})
	p.Padding = make([]byte, pick(g, "outer padding", 0, 0, 1, 40))
	frame := p.Frame()
	if g.oneIn(10, "damage to the tunnel") {
		outer := len(frame) - len(p.Padding) - len(inside.Inner)
		frame[g.number("byte", max(14, outer-40), outer-1)] ^= 1 << g.number("bit", 0, 7)
	}
	return g.damage(frame)
}

// again is a packet from the client once more, if need be with other TCP flags. (To
// the load balancer it is all the same what the TCP checksum says then.)
func again(ip []byte, syn bool) []byte {
	ethertype, proto, flags := []byte{0x08, 0x00}, 9, int(ip[0]&15)*4+13
	if ip[0]>>4 == 6 {
		ethertype, proto, flags = []byte{0x86, 0xdd}, 6, 40+13
	}
	frame := slices.Concat(packet.NodeMAC[:], packet.RouterMAC[:], ethertype, ip)
	if syn && ip[proto] == 6 && len(ip) > flags {
		frame[14+flags] = byte(packet.SYN)
	}
	return frame
}

// stranger is somebody who has nothing to send back.
func (g *generator) stranger(from netip.AddrPort) netip.AddrPort {
	list := []string{"10.0.0.1", "10.0.0.2", "192.0.2.1"}
	if from.Addr().Is6() {
		list = []string{"2001:db8:1000::1", "2001:db8:1000::2", "2001:db8:a::1"}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(pick(g, "stranger", list...)), from.Port())
}

// otherInner is anything instead of the packet that was sent.
func (g *generator) otherInner(o packet.Opened) []byte {
	switch pick(g, "inner", "any", "fragment", "trailing", "short", "nested", "nothing") {
	case "fragment":
		p := g.packet()
		g.dress(&p)
		fragments := p.Fragments(64)
		if len(fragments) == 0 { // of a packet without a payload
			return p.IP()
		}
		frame := pick(g, "fragment", fragments...)
		return frame[14+4*len(p.VLANs) : len(frame)-len(p.Padding)]
	case "trailing":
		return slices.Concat(o.Inner, []byte{0})
	case "short":
		return o.Inner[:g.number("length", 0, len(o.Inner))]
	case "nested":
		return packet.Tunnel(o.Dst, netip.AddrPortFrom(o.Src.Addr(), tunnelPort), o.Geneve).IP()
	case "nothing":
		return nil
	}
	p := g.packet() // of whatever family
	g.dress(&p)
	return p.IP()
}
