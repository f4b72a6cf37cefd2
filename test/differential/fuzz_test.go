package differential

import (
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
	"github.com/penstock-lb/penstock/test/packet/model"
)

// FuzzFrame holds the program against the model over frames of any bytes, each
// sent twice, so that the second meets what the first has left.
func FuzzFrame(f *testing.F) {
	client4, client6 := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("[2001:db8:a::1]:40000")
	vip4, vip6 := netip.MustParseAddrPort("198.51.100.1:80"), netip.MustParseAddrPort("[2001:db8:f::1]:80")
	l := newLab(f)
	want := maps.Want{Members: members, NextHops: map[netip.Addr]maps.NextHop{
		pod(0, false):         {Ifindex: l.ifindex["up0"], Source: netip.MustParseAddr("10.0.0.1")},
		pod(0, true):          {Ifindex: l.ifindex["up1"], Source: netip.MustParseAddr("2001:db8:1000::1")},
		ingressNode(0, false): {Ifindex: l.ifindex["up0"], Source: netip.MustParseAddr("10.0.0.1"), MTU: deviceMTU},
		ingressNode(0, true):  {Ifindex: l.ifindex["up1"], Source: netip.MustParseAddr("2001:db8:1000::1"), MTU: deviceMTU},
	}}
	for name, proto := range map[string]maps.Proto{"tcp": maps.TCP, "udp": maps.UDP} {
		for family, vip := range map[string]netip.AddrPort{"ipv4": vip4, "ipv6": vip6} {
			want.Services = append(want.Services, maps.Service{
				Name:      name + family,
				Frontends: []maps.Frontend{{VIP: vip.Addr(), Port: vip.Port(), Proto: proto}},
				Backends:  []maps.Backend{{Addr: netip.AddrPortFrom(pod(0, vip.Addr().Is6()), 8080), Weight: 1}},
			}, maps.Service{
				Name:      "direct" + name + family,
				Frontends: []maps.Frontend{{VIP: vip.Addr(), Port: vip.Port() + 1, Proto: proto}},
				Backends:  displaced(vip.Addr().Is6()),
			}, maps.Service{
				Name:       "restricted" + name + family,
				Frontends:  []maps.Frontend{{VIP: vip.Addr(), Port: vip.Port() + 2, Proto: proto}},
				Backends:   displaced(vip.Addr().Is6()),
				Restricted: true,
				Sources:    []netip.Prefix{netip.MustParsePrefix(map[string]string{"ipv4": "192.0.2.0/31", "ipv6": "2001:db8:a::/127"}[family])},
			})
		}
	}
	l.sync(f, model.New(l.config()), want)
	for _, ends := range [][2]netip.AddrPort{{client4, vip4}, {client6, vip6}} {
		request := packet.TCP(ends[0], ends[1], packet.SYN, nil)
		f.Add(request.Frame())
		f.Add(packet.UDP(ends[0], ends[1], packet.Payload(30)).Frame())
		f.Add(packet.Echo(ends[0].Addr(), ends[1].Addr(), 1, 2, packet.Payload(20)).Frame())
		f.Add(packet.Error(ends[0].Addr(), ends[1].Addr(), 3, 4, 1400, request.IP()).Frame())
		for _, frame := range packet.UDP(ends[0], ends[1], packet.Payload(100)).Fragments(64) {
			f.Add(frame)
		}
		for _, client := range []netip.AddrPort{ends[0], netip.AddrPortFrom(ends[0].Addr().Next(), 40000)} { // the next one is not served
			f.Add(packet.TCP(client, netip.AddrPortFrom(ends[1].Addr(), ends[1].Port()+2), packet.ACK, nil).Frame())
		}
		direct := netip.AddrPortFrom(ends[1].Addr(), ends[1].Port()+1)
		inner := packet.TCP(ends[0], direct, packet.ACK, packet.Payload(10))
		f.Add(inner.Frame())
		for _, self := range []string{"10.0.0.1", "2001:db8:1000::1"} {
			to := netip.AddrPortFrom(netip.MustParseAddr(self), tunnelPort)
			from := netip.AddrPortFrom(ingressNode(0, to.Addr().Is6()), 50000)
			g := packet.Geneve{Pod: netip.AddrPortFrom(pod(0, direct.Addr().Is6()), 8080), Flags: packet.Bounce, Inner: inner.IP()}
			f.Add(packet.Tunnel(from, to, g).Frame())
			g.Flags, g.Inner = packet.Probe|packet.Bounce, nil
			f.Add(packet.Tunnel(from, to, g).Frame())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 3000 { // the kernel runs no program on less
			return
		}
		l.forget(t)
		m := model.New(l.config())
		m.Sync(want)
		l.compare(t, m, frame)
		l.compare(t, m, frame)
	})
}

// displaced are backends behind tunnels, of which each may have the others' flows.
func displaced(ipv6 bool) (list []maps.Backend) {
	for i := range 3 {
		list = append(list, maps.Backend{
			Addr: netip.AddrPortFrom(pod(i, ipv6), 8080), Weight: 1, Tunnel: ingressNode(0, i%2 == 1),
			BornAt: time.Now().Add(-20 * time.Minute), EligibleSince: time.Now().Add(-10 * time.Minute),
		})
	}
	return list
}
