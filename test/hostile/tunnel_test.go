package hostile

import (
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	tables "github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/test/packet"
)

const tunnelPort = 6082

// turnsMax is how often a packet can be sent to an ingress node: once by what was
// learned, to the primary, to the longest chain, to the extra ranks, and at last to
// the primary again.
const turnsMax = 1 + 1 + bpf.ChainMax + bpf.RanksMax + 1

// restartsMax is how often a search begins anew: RESTARTS_MAX in chain.h.
const restartsMax = 3

var chainOptions = chain.Options{Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: bpf.RanksMax, Longest: bpf.ChainMax}

// ingressNode is the i-th one's address, of either family.
func ingressNode(i int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 3, 15: byte(i + 1)})
	}
	return netip.AddrFrom4([4]byte{10, 2, 0, byte(i + 1)})
}

// direct is a service of n backends, the i-th on the i-th ingress node. All were born
// before any of them became eligible, so each may have any other's flows.
func direct(name string, proto tables.Proto, vip netip.AddrPort, n int, outer6 bool) tables.Service {
	pod := pod4
	if vip.Addr().Is6() {
		pod = pod6
	}
	s := service(name, proto, vip)
	for i := range n {
		s.Backends = append(s.Backends, tables.Backend{
			Addr: pod, Weight: 1, Tunnel: ingressNode(i, outer6),
			BornAt: time.Now().Add(-time.Hour / 2), EligibleSince: time.Now().Add(-time.Hour / 4),
		})
		pod = netip.AddrPortFrom(pod.Addr().Next(), pod.Port())
	}
	return s
}

// wantDirect adds to want the ways to the ingress nodes, and who is who.
func (r *rig) wantDirect(services ...tables.Service) tables.Want {
	w := r.want(services...)
	w.Members = []tables.Member{{Addr: source4, Self: true, LB: true}, {Addr: source6, Self: true, LB: true}}
	for _, s := range services {
		for _, b := range s.Backends {
			if !b.Tunnel.IsValid() {
				continue
			}
			hop := tables.NextHop{Ifindex: uint32(r.up0.Index), SrcMAC: hopSrc, DstMAC: hopDst, MTU: 1500, Source: source4}
			if b.Tunnel.Is6() {
				hop.Source = source6
			}
			w.NextHops[b.Tunnel] = hop
			w.Members = append(w.Members, tables.Member{Addr: b.Tunnel, Backend: true})
		}
	}
	return w
}

// opened runs a frame that has to leave through a tunnel.
func (r *rig) opened(verdict string, frame []byte) packet.Opened {
	r.t.Helper()
	o, err := packet.OpenTunnel(r.is(verdict, frame))
	if err != nil {
		r.t.Fatalf("%s: %v", verdict, err)
	}
	return o
}

// back is a tunnel packet as the ingress node that it was for sends it back.
func back(o packet.Opened, change ...func(*packet.Opened)) packet.Packet {
	o.Flags = packet.Bounce
	for _, c := range change {
		c(&o)
	}
	return packet.Tunnel(netip.AddrPortFrom(o.Dst.Addr(), o.Src.Port()), netip.AddrPortFrom(o.Src.Addr(), tunnelPort), o.Geneve)
}

func tunnelVerdicts(t *testing.T, seen map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(families)) {
		for _, outer6 := range []bool{false, true} {
			v := &verdicts{rig: newRig(t), family: families[name], seen: seen}
			v.tunnelled(outer6)
			v = &verdicts{rig: newRig(t, func(c *bpf.Config) { c.BounceRate = 1 }), family: families[name], seen: seen}
			v.bounceRate(outer6)
		}
	}
}

// through is the tunnel packet that is to leave, but for what marks its flow.
func (v *verdicts) through(p packet.Packet, o packet.Opened, node netip.Addr, hop uint8, flags packet.TunnelFlags) packet.Packet {
	source := source4
	if node.Is6() {
		source = source6
	}
	g := packet.Geneve{Pod: o.Pod, Hop: hop, Flags: flags, Inner: p.IP()}
	want := packet.Tunnel(netip.AddrPortFrom(source, o.Src.Port()), netip.AddrPortFrom(node, tunnelPort), g)
	want.TTL, want.TOS, want.Label = 64, p.TOS, o.Label
	want.SrcMAC, want.DstMAC = packet.MAC(hopSrc), packet.MAC(hopDst)
	return want
}

func (v *verdicts) open(r result) packet.Opened {
	v.t.Helper()
	o, err := packet.OpenTunnel(r.frame)
	if err != nil {
		v.t.Fatal(err)
	}
	return o
}

func (v *verdicts) tunnelled(outer6 bool) {
	node := func(i int) netip.Addr { return ingressNode(i, outer6) }
	web, dns := direct("web", tables.TCP, v.vip, 2, outer6), direct("dns", tables.UDP, v.vip, 1, outer6)
	kernel := direct("kernel", tables.TCP, port(v.vip, 85), 2, outer6)
	for i := range kernel.Backends {
		kernel.Backends[i].Tunnel = node(8 + i)
	}
	w := v.wantDirect(web, dns, kernel)
	for i := range 2 {
		hop := w.NextHops[node(8+i)]
		hop.Ifindex = 4095 // a device that we may not send through
		w.NextHops[node(8+i)] = hop
	}
	v.must(v.tables.Sync(v.t.Context(), w))

	syn := packet.TCP(v.client, v.vip, packet.SYN, packet.Payload(5))
	syn.TOS = 0xb9
	o := v.open(v.want("encap", xdpTX, syn, nil))
	v.want("encap", xdpTX, syn, v.through(syn, o, o.Dst.Addr(), 0, 0).Frame())
	ask := packet.UDP(v.client, v.vip, packet.Payload(5)) // nobody else can have its flow
	d := v.open(v.want("encap", xdpTX, ask, nil))
	v.want("encap", xdpTX, ask, v.through(ask, d, node(0), 0, packet.Accept).Frame())

	ack := packet.TCP(v.client, v.vip, packet.ACK, packet.Payload(5))
	o = v.open(v.want("encap", xdpTX, ack, nil))
	got := v.wantRaw("encap_next", xdpTX, back(o).Frame(), len(ack.IP()), nil)
	next := v.open(got)
	if diff := packet.Diff(v.through(ack, next, next.Dst.Addr(), next.Hop, 0).Frame(), got.frame); diff != "" || next.Dst == o.Dst || next.Hop <= o.Hop {
		v.t.Errorf("from %s, hop %d, to %s, hop %d: %s", o.Dst, o.Hop, next.Dst, next.Hop, diff)
	}

	far := packet.TCP(v.client, port(v.vip, 85), packet.ACK, packet.Payload(5))
	got = v.want("encap_kernel", xdpPass, far, nil)
	o = v.open(got)
	want := v.through(far, o, o.Dst.Addr(), 0, 0)
	want.SrcMAC, want.DstMAC = far.SrcMAC, far.DstMAC
	if diff := packet.Diff(want.Frame(), got.frame); diff != "" {
		v.t.Error(diff)
	}
	v.open(v.wantRaw("encap_next_kernel", xdpPass, back(o).Frame(), len(far.IP()), nil))

	probe := back(o, func(o *packet.Opened) { o.Flags, o.Inner = packet.Probe|packet.Bounce, nil })
	v.want("pass_probe", xdpPass, probe, probe.Frame())
	v.want("drop_tunnel", xdpDrop, back(o, func(o *packet.Opened) { o.Flags = packet.Accept }), nil)
	v.want("drop_tunnel_source", xdpDrop, back(o, func(o *packet.Opened) { o.Dst = netip.AddrPortFrom(node(9).Next(), 1) }), nil)

	about := packet.Error(v.client.Addr(), v.vip.Addr(), v.tooBig[0], v.tooBig[1], 1400, packet.TCP(v.vip, v.client, packet.ACK, nil).IP())
	e := v.open(v.want("icmp_forward", xdpTX, about, nil))
	if string(e.Inner) != string(about.IP()) {
		v.t.Errorf("the error became %+v", e)
	}
	big := packet.TCP(v.client, v.vip, packet.ACK, nil)
	overhead := packet.TunnelOverhead(node(0), v.vip.Addr())
	big.Payload = packet.Payload(1500 - overhead - len(big.IP()))
	v.want("encap", xdpTX, big, nil)
	big.Payload = append(big.Payload, 0)
	big.DontFragment = false
	v.want("reject_too_big", xdpTX, big, answer(big, v.vip.Addr(), v.tooBig, uint32(1500-overhead)))
	ack.TTL = 1
	v.want("reject_ttl", xdpTX, ack, answer(ack, v.vip.Addr(), v.timeExceeded, 0))
}

// bounceRate is one bounce in each tick, 1.07 s, so of many only few go on.
func (v *verdicts) bounceRate(outer6 bool) {
	v.must(v.tables.Sync(v.t.Context(), v.wantDirect(direct("web", tables.TCP, v.vip, 4, outer6))))
	o := v.opened("encap", packet.TCP(v.client, v.vip, packet.ACK, nil).Frame())
	began := time.Now()
	sent := 0
	for range 200 {
		if r := v.run(back(o).Frame()); r.verdict == "encap_next" {
			sent++
		} else if r.verdict != "drop_bounce_rate" || r.action != xdpDrop {
			v.t.Fatalf("a bounce had verdict %s", r.verdict)
		}
	}
	// The program runs on whatever CPU this test is on.
	if most := (int(time.Since(began)/(time.Second)) + 2) * runtime.NumCPU(); sent == 0 || sent > most {
		v.t.Errorf("%d of 200 bounces were sent on, want 1 to %d", sent, most)
	}
	v.wantRaw("drop_bounce_rate", xdpDrop, back(o).Frame(), len(back(o).IP()), nil)
}
