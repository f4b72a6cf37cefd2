package differential

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
	"github.com/penstock-lb/penstock/test/packet/model"
)

// generator draws services and the packets that might come to them. Few addresses
// and ports, so that packets meet flows.
type generator struct {
	*rapid.T
	model   *model.Model
	wanted  maps.Want
	ifindex map[string]uint32
	now     time.Time
	tunnels []packet.Opened // that the program sent, the latest last
}

func pick[V any](g *generator, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(g.T, label)
}

func (g *generator) number(label string, low, high int) int {
	return rapid.IntRange(low, high).Draw(g.T, label)
}

// oneIn is true once in n times; rapid makes it false where it can.
func (g *generator) oneIn(n int, label string) bool { return g.number(label, 1, n) == n }

func (g *generator) want() {
	g.nextHops()
	g.wanted.Members = members
	g.deaths()
	for i := range g.number("services", 1, 4) {
		g.wanted.Services = append(g.wanted.Services, g.service(i))
	}
}

func (g *generator) nextHops() {
	g.wanted.NextHops = map[netip.Addr]maps.NextHop{}
	for i := range 8 {
		// Without a next hop there is no address to translate to.
		if !g.oneIn(12, "no next hop") {
			g.wanted.NextHops[pod(i, false)] = g.nextHop("10.0.0.1")
			g.wanted.NextHops[pod(i, true)] = g.nextHop("2001:db8:1000::1")
		}
	}
	for i := range ingressNodes {
		if !g.oneIn(12, "no way to the node") {
			g.wanted.NextHops[ingressNode(i, false)] = g.nextHop("10.0.0.1")
			g.wanted.NextHops[ingressNode(i, true)] = g.nextHop("2001:db8:1000::1")
		}
	}
}

// change draws the next hops, the dead nodes or one service anew, or changes what
// the service's backends are.
func (g *generator) change() {
	i := g.number("service", 0, len(g.wanted.Services)-1)
	switch pick(g, "change", "backends", "next hops", "dead", "service", "sources") {
	case "next hops":
		g.nextHops()
	case "dead":
		g.deaths()
	case "service":
		g.wanted.Services[i] = g.service(i)
	case "sources":
		g.restrict(&g.wanted.Services[i])
	case "backends":
		s := g.wanted.Services[i]
		s.Backends = g.backends(s.Frontends[0].VIP.Is6())
		g.wanted.Services[i] = s
	}
}

func pod(i int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", i+1))
	}
	return netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)})
}

func (g *generator) nextHop(source string) maps.NextHop {
	dev := pick(g, "next hop", "up0", "up1", "side", "")
	hop := maps.NextHop{Source: netip.MustParseAddr(source)}
	if dev == "" {
		return hop
	}
	hop.Ifindex, hop.SrcMAC, hop.DstMAC = g.ifindex[dev], maps.MAC{2, 1, 1, 1, 1, 1}, maps.MAC{2, 2, 2, 2, 2, 2}
	hop.MTU = pick[uint16](g, "mtu", deviceMTU, 600, 0)
	hop.VLAN = pick[uint16](g, "vlan", 0, 100)
	return hop
}

func (g *generator) service(i int) maps.Service {
	ipv6 := g.oneIn(2, "ipv6")
	s := maps.Service{Name: fmt.Sprint("service-", i), Affinity: pick(g, "affinity", maps.AffinityNone, maps.AffinityClientIP)}
	proto := pick(g, "protocol", maps.TCP, maps.UDP)
	for v := range g.number("frontends", 1, 2) {
		s.Frontends = append(s.Frontends, maps.Frontend{VIP: vip(v, ipv6), Port: uint16(80 + i), Proto: proto})
	}
	s.Backends = g.backends(ipv6)
	g.restrict(&s)
	return s
}

// restrict draws whom the service is for: mostly everybody.
func (g *generator) restrict(s *maps.Service) {
	ranges := []string{"0.0.0.0/0", "192.0.2.0/24", "192.0.2.1/32", "192.0.0.0/8", "203.0.113.0/30", "100.64.0.0/10", "128.0.0.0/1"}
	if s.Frontends[0].VIP.Is6() {
		ranges = []string{"::/0", "2001:db8:a::/48", "2001:db8:a::1/128", "2001:db8::/32", "2001:db8:b::/127", "2001:db8:8::/45", "8000::/1"}
	}
	s.Restricted, s.Sources = g.oneIn(3, "restricted"), nil
	for range g.number("source ranges", 0, 3) {
		s.Sources = append(s.Sources, netip.MustParsePrefix(pick(g, "source range", ranges...)))
	}
}

// vip 2 is no service's.
func vip(i int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:f::%d", i+1))
	}
	return netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
}

// Clients by what the routes say about the way back to them, and some that are none.
var (
	clients4 = []string{"192.0.2.1", "192.0.2.2", "203.0.113.1", "100.64.0.1", "100.65.0.1", "100.66.0.1", "198.18.0.1"}
	clients6 = []string{"2001:db8:a::1", "2001:db8:a::2", "2001:db8:b::1", "2001:db8:c::1", "2001:db8:d::1", "2001:db8:e::1", "2001:db8:9::1"}
	nobody4  = []string{"127.0.0.1", "0.0.0.0", "224.0.0.1", "239.1.2.3", "255.255.255.255", "198.51.100.1"}
	nobody6  = []string{"::1", "::", "ff02::1", "2001:db8:f::1", "::ffff:192.0.2.1"}
)

func (g *generator) client(ipv6 bool) netip.AddrPort {
	list := clients4
	switch strange := g.oneIn(20, "strange client"); {
	case strange && ipv6:
		list = nobody6
	case strange:
		list = nobody4
	case ipv6:
		list = clients6
	}
	return netip.AddrPortFrom(netip.MustParseAddr(pick(g, "client", list...)), pick[uint16](g, "client port", 40000, 40001, 1, 0))
}

// transport returns a TCP or UDP packet.
func (g *generator) transport(src, dst netip.AddrPort, proto uint8) packet.Packet {
	data := packet.Payload(pick(g, "payload", 0, 1, 7, 8, 100, 560, 1200, 1460, 1473, 4000))
	if proto == uint8(maps.UDP) {
		p := packet.UDP(src, dst, data)
		p.Transport.(*packet.UDPHeader).NoChecksum = g.oneIn(8, "no checksum")
		return p
	}
	p := packet.TCP(src, dst, pick(g, "flags", packet.SYN, packet.ACK, packet.ACK|packet.PSH, packet.FIN|packet.ACK, packet.SYN|packet.ACK,
		packet.RST, packet.RST|packet.ACK, 0, packet.SYN|packet.RST, packet.SYN|packet.FIN), data)
	if g.oneIn(3, "tcp options") {
		p.Transport.(*packet.TCPHeader).Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionData: []byte{5, 0xb4}}}
	}
	return p
}

// frames draws a packet: one frame, or fragments of it in any order.
func (g *generator) frames() [][]byte {
	if len(g.tunnels) > 0 && g.number("from a tunnel", 1, 10) > 6 {
		return [][]byte{g.fromTunnel()}
	}
	p := g.packet()
	g.dress(&p)
	if g.oneIn(8, "fragments") {
		frames := p.Fragments(pick(g, "fragment size", 8, 64, 512))
		frames = frames[:min(len(frames), 4)]
		if g.oneIn(4, "disorder") {
			frames = rapid.Permutation(frames).Draw(g.T, "order")
		}
		return frames
	}
	return [][]byte{g.damage(p.Frame())}
}

func (g *generator) packet() packet.Packet {
	ipv6 := g.oneIn(2, "ipv6 packet")
	if flows := g.model.Flows(); len(flows) > 0 && g.number("known flow", 1, 10) > 3 {
		return g.known(pick(g, "flow", flows...))
	}
	client := g.client(ipv6)
	anywhere := netip.AddrPortFrom(vip(g.number("vip", 0, 2), ipv6), uint16(g.number("port", 79, 84)))
	proto := pick[uint8](g, "protocol", 6, 17)
	switch pick(g, "kind", "service", "service", "service", "service", "vip", "echo", "reply", "protocol", "icmp", "error", "mapped") {
	case "service":
		s := pick(g, "service", g.wanted.Services...)
		fe := pick(g, "frontend", s.Frontends...)
		return g.transport(g.client(fe.VIP.Is6()), netip.AddrPortFrom(fe.VIP, fe.Port), uint8(fe.Proto))
	case "echo":
		return packet.Echo(client.Addr(), anywhere.Addr(), 1, 2, packet.Payload(g.number("payload", 0, 100)))
	case "reply":
		node := netip.AddrPortFrom(g.node(ipv6), uint16(pick(g, "port", portFirst-1, portFirst, portLast, portLast+1)))
		return g.transport(netip.AddrPortFrom(pod(0, ipv6), 8080), node, proto)
	case "protocol":
		p := g.transport(client, anywhere, proto)
		p.Transport = packet.Raw(pick[uint8](g, "protocol", 1, 2, 47, 50, 58, 59, 132, 255))
		return p
	case "icmp":
		return packet.Error(client.Addr(), anywhere.Addr(), pick[uint8](g, "type", 0, 3, 4, 5, 11, 12, 13, 1, 2, 129, 135), 0, 0, packet.Payload(60))
	case "error":
		quoted := g.transport(anywhere, client, proto).IP()
		return packet.Error(client.Addr(), anywhere.Addr(), pick[uint8](g, "type", 3, 11, 1, 2), 0, 1400, quoted[:min(len(quoted), 100)])
	case "mapped": // an IPv4 address written as an IPv6 one is nobody's
		mapped := netip.AddrPortFrom(netip.AddrFrom16(vip(0, false).As16()), anywhere.Port())
		return g.transport(g.client(true), mapped, proto)
	}
	return g.transport(client, anywhere, proto)
}

func (g *generator) node(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr("2001:db8:1000::1")
	}
	return netip.MustParseAddr("10.0.0.1")
}

// known draws a packet of a flow, or an error about one.
func (g *generator) known(f model.Flow) packet.Packet {
	switch pick(g, "direction", "reply", "request", "about request", "about reply") {
	case "request":
		return g.transport(f.Client, f.VIP, f.Proto)
	case "reply":
		return g.transport(f.Backend, f.Node, f.Proto)
	case "about request":
		return g.errorAbout(g.transport(f.Node, f.Backend, f.Proto), f.Backend.Addr())
	}
	return g.errorAbout(g.transport(f.VIP, f.Client, f.Proto), f.Client.Addr())
}

func (g *generator) errorAbout(sent packet.Packet, from netip.Addr) packet.Packet {
	types := []uint8{3, 11, 12, 4}
	header := 20
	if sent.Src.Is6() {
		types, header = []uint8{1, 2, 3, 4, 5}, 40
	}
	g.dress(&sent)
	quoted := sent.IP()
	end := header + pick(g, "quoted", 8, 20, 1000, 7, 18, 17, -1)
	if g.oneIn(20, "damaged quote") {
		quoted[g.number("damaged byte", 0, min(len(quoted), header+8)-1)] ^= uint8(g.number("damage", 1, 255))
	}
	return packet.Error(from, sent.Src, pick(g, "type", types...), pick[uint8](g, "code", 0, 3, 4), 1400, quoted[:min(len(quoted), end)])
}

// dress draws what matters to no flow.
func (g *generator) dress(p *packet.Packet) {
	p.TTL = pick[uint8](g, "ttl", 64, 64, 64, 64, 64, 64, 64, 64, 2, 255, 1, 0)
	p.TOS = pick[uint8](g, "tos", 0, 0xb9, 0x03)
	p.ID = pick[uint32](g, "id", 1, 2, 0xffff)
	p.DontFragment = g.oneIn(2, "don't fragment")
	p.VLANs = pick(g, "vlans", nil, nil, nil, nil, nil, nil, nil, []uint16{5}, []uint16{5}, []uint16{0xe005, 6}, []uint16{5, 6, 7})
	p.Padding = make([]byte, pick(g, "padding", 0, 0, 1, 40))
	if p.Src.Is4() {
		p.Options = make([]byte, 4*pick(g, "ip options", 0, 0, 0, 1, 10))
		for i := range p.Options {
			p.Options[i] = 1
		}
		return
	}
	for range pick(g, "extensions", 0, 0, 0, 0, 0, 0, 1, 2, 6, 7) {
		size := pick(g, "extension size", 1, 1, 2, 3, 32)
		p.Extensions = append(p.Extensions, pick(g, "extension",
			packet.HopByHop(size), packet.Destination(size), packet.Routing(size), packet.Atomic(p.ID)))
	}
}

// damage leaves most frames alone.
func (g *generator) damage(frame []byte) []byte {
	switch g.number("damage", 1, 24) {
	case 22: // somewhere in the headers
		at := g.number("byte", 12, min(len(frame), 100)-1)
		frame[at] ^= 1 << g.number("bit", 0, 7)
	case 23:
		frame = frame[:g.number("length", 14, len(frame))]
	case 24:
		frame = frame[:g.number("length", 14, min(len(frame), 100))]
	}
	return frame
}
