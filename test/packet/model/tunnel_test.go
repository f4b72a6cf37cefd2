package model

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/test/packet"
)

const tunnelPort = 6082

// direct is a world whose service has three backends, each on an ingress node of its
// own, and each may have the flows of the others.
type direct struct {
	*Model
	client, vip netip.AddrPort
	self        netip.Addr
	want        maps.Want
	version     Version // of every row
}

func directWorld(inner6, outer6 bool) *direct {
	d := &direct{client: client4, vip: vip4, self: node4.Addr(), version: Version{0x123, 0x456}}
	pod, node := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	if inner6 {
		d.client, d.vip, pod = client6, vip6, netip.MustParseAddr("2001:db8:2::1")
	}
	if outer6 {
		d.self, node = node6.Addr(), netip.MustParseAddr("2001:db8:3::1")
	}
	d.Model = New(Config{Rows: 64, Reject: true, Ingress: ingress, TunnelPort: tunnelPort,
		Version: func(string, uint32) Version { return d.version },
		Chain:   chain.Options{Retention: time.Hour, Slack: time.Second, ExtraRanks: 3, Longest: 15}})
	d.want = maps.Want{NextHops: map[netip.Addr]maps.NextHop{}, Members: []maps.Member{{Addr: d.self, Self: true}}}
	var backends []maps.Backend
	for range 3 {
		backends = append(backends, maps.Backend{Addr: netip.AddrPortFrom(pod, 8080), Weight: 1, Tunnel: node,
			BornAt: time.Now().Add(-time.Minute), EligibleSince: time.Now().Add(-time.Second)})
		d.want.Members = append(d.want.Members, maps.Member{Addr: node, Backend: true})
		d.want.NextHops[node] = maps.NextHop{Ifindex: ingress, MTU: 1500, Source: d.self}
		pod, node = pod.Next(), node.Next()
	}
	for _, proto := range []maps.Proto{maps.TCP, maps.UDP} {
		d.want.Services = append(d.want.Services, maps.Service{Name: proto.String(), Backends: backends,
			Frontends: []maps.Frontend{{VIP: d.vip.Addr(), Port: d.vip.Port(), Proto: proto}}})
	}
	d.Sync(d.want)
	return d
}

// put runs a frame and takes apart what leaves.
func (d *direct) put(t *testing.T, verdict string, frame []byte) packet.Opened {
	t.Helper()
	r, err := d.Process(frame, nil)
	if err != nil || r.Verdict != verdict {
		t.Fatalf("verdict %s, want %s, %v", r.Verdict, verdict, err)
	}
	if verdict != "encap" && verdict != "encap_next" && verdict != "icmp_forward" {
		return packet.Opened{}
	}
	o, err := packet.OpenTunnel(r.Frame)
	if err != nil {
		t.Fatalf("verdict %s: %v", verdict, err)
	}
	return o
}

// back is a tunnel packet as its receiver bounces it.
func back(o packet.Opened, change ...func(*packet.Opened)) []byte {
	o.Flags = packet.Bounce
	for _, c := range change {
		c(&o)
	}
	return packet.Tunnel(netip.AddrPortFrom(o.Dst.Addr(), o.Src.Port()), netip.AddrPortFrom(o.Src.Addr(), tunnelPort), o.Geneve).Frame()
}

func TestTunnels(t *testing.T) {
	for _, inner6 := range []bool{false, true} {
		for _, outer6 := range []bool{false, true} {
			testTunnels(t, inner6, outer6)
		}
	}
}

func testTunnels(t *testing.T, inner6, outer6 bool) {
	d := directWorld(inner6, outer6)
	syn := packet.TCP(d.client, d.vip, packet.SYN, nil)
	syn.TOS = 0xb9
	o := d.put(t, "encap", syn.Frame())
	if o.Hop != 0 || o.Flags != 0 || o.TOS != 0xb9 || o.TTL != 64 || o.Src.Addr() != d.self || string(o.Inner) != string(syn.IP()) {
		t.Errorf("a SYN leaves as %+v", o)
	}
	primary := o.Dst
	d.put(t, "drop_tunnel", back(o)) // nobody sends back a SYN

	// The three owners in turn, and then the first again, which is to take it.
	ack := packet.TCP(d.client, d.vip, packet.ACK, packet.Payload(7))
	o = d.put(t, "encap", ack.Frame())
	asked := []netip.AddrPort{o.Dst}
	for o.Flags == 0 && len(asked) < 9 {
		o = d.put(t, "encap_next", back(o))
		asked = append(asked, o.Dst)
		if again := d.put(t, "encap", ack.Frame()); o.Flags == 0 && (again.Dst != o.Dst || again.Hop != packet.HopLearned) {
			t.Errorf("the flow was found at %s, and then asked for at %s, hop %d", o.Dst, again.Dst, again.Hop)
		}
	}
	if o.Flags != packet.Accept || o.Dst != primary || o.Hop != hopEnd || len(asked) != 4 || asked[0] != primary ||
		len(slices.Compact(slices.SortedFunc(slices.Values(asked), netip.AddrPort.Compare))) != 3 {
		t.Errorf("asked in turn: %v, at last %+v", asked, o.Geneve)
	}
	d.put(t, "drop_tunnel", back(o))

	// Where the row changes meanwhile the search begins anew, but not for ever. Of the first that is asked
	// only counts whether it is primary.
	for _, tt := range []struct {
		change Version
		want   []uint8
	}{
		{Version{}, []uint8{2, 3, hopEnd}},
		{Version{Row: 1}, []uint8{2, 0, 2, 0, 2, 0, 2, 3, hopEnd}},
		{Version{Primary: 1}, []uint8{0, 0, 0, 2, 3, hopEnd}},
	} {
		var hops []uint8
		d.learned = map[tuple]keeper{}
		for o = d.put(t, "encap", ack.Frame()); o.Flags == 0 && len(hops) < 20; hops = append(hops, o.Hop) {
			d.version.Row, d.version.Primary = d.version.Row+tt.change.Row, d.version.Primary+tt.change.Primary
			o = d.put(t, "encap_next", back(o))
		}
		if !slices.Equal(hops, tt.want) {
			t.Errorf("a row that changes by %+v is asked by hops %d, want %d", tt.change, hops, tt.want)
		}
	}

	// A node that does not answer is not asked.
	d.want.Dead = map[netip.Addr]bool{primary.Addr(): true}
	d.Sync(d.want)
	if o = d.put(t, "encap", ack.Frame()); o.Dst == primary {
		t.Errorf("a dead node is asked")
	}
	d.put(t, "encap", syn.Frame()) // which nobody else may take
	d.want.Dead = nil
	d.Sync(d.want)

	o = d.put(t, "encap", packet.UDP(d.client, d.vip, nil).Frame())
	aboutUDP := packet.Error(d.client.Addr(), d.vip.Addr(), 3, 1, 0, packet.UDP(d.vip, d.client, nil).IP())
	if inner6 {
		aboutUDP = packet.Error(d.client.Addr(), d.vip.Addr(), 1, 1, 0, packet.UDP(d.vip, d.client, nil).IP())
	}
	if e := d.put(t, "icmp_forward", aboutUDP.Frame()); e.Dst != o.Dst || e.Src != o.Src {
		t.Errorf("an error about what %s sent goes to %s", o.Dst, e.Dst)
	}
	d.put(t, "reject_ttl", ttl(syn, 1).Frame())
	d.put(t, "drop_icmp", ttl(aboutUDP, 1).Frame())
	big := packet.UDP(d.client, d.vip, nil)
	big.Payload = packet.Payload(1500 - packet.TunnelOverhead(d.self, d.vip.Addr()) - len(big.IP()))
	d.put(t, "encap", big.Frame())
	big.Payload = append(big.Payload, 0)
	d.put(t, "reject_too_big", big.Frame())

	good := d.put(t, "encap", ack.Frame())
	for verdict, frames := range map[string][][]byte{
		"drop_tunnel_source": {back(good, func(o *packet.Opened) { o.Dst = o.Src })},
		"pass_probe":         {back(good, func(o *packet.Opened) { o.Flags, o.Inner = packet.Probe|packet.Bounce, nil })},
		"drop_tunnel": {
			back(good, func(o *packet.Opened) { o.Flags = 0 }),
			back(good, func(o *packet.Opened) { o.Flags |= packet.Accept }),
			back(good, func(o *packet.Opened) { o.Flags |= packet.Probe }),
			back(good, func(o *packet.Opened) { o.Hop = hopEnd }),
			back(good, func(o *packet.Opened) { o.Inner = append(slices.Clone(o.Inner), 0) }),
			back(good, func(o *packet.Opened) { o.Inner = o.Inner[:len(o.Inner)-1] }),
			back(good, func(o *packet.Opened) {
				o.Inner = packet.UDP(d.client, netip.AddrPortFrom(d.vip.Addr().Prev(), 1), nil).IP()
			}),
			back(good, func(o *packet.Opened) { o.Inner = back(good)[14:] }),
		},
		"drop_icmp": {back(good, func(o *packet.Opened) {
			o.Inner = packet.Echo(d.client.Addr(), d.vip.Addr(), 1, 1, nil).IP()
		})},
		"reject_port": {packet.TCP(d.client, netip.AddrPortFrom(d.vip.Addr(), 9), packet.SYN, nil).Frame()},
	} {
		for _, frame := range frames {
			if r, _ := d.Process(frame, nil); r.Verdict != verdict {
				t.Errorf("%s, want %s, of\n%s", r.Verdict, verdict, packet.String(frame))
			}
		}
	}
}
