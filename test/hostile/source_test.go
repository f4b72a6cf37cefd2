package hostile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	tables "github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// restricted runs a client of a service's source ranges against one that is beside
// them, and the same client once its range is gone.
type restricted struct {
	*verdicts
	stranger netip.AddrPort
	services []tables.Service
}

func newRestricted(t *testing.T, f family, services func(f family) []tables.Service) *restricted {
	r := &restricted{verdicts: &verdicts{rig: newRig(t), family: f, seen: map[string]bool{}}, stranger: other4, services: services(f)}
	if f.client.Addr().Is6() {
		r.stranger = addr("2001:db8:a:0:8000::1", 41000)
	}
	return r
}

// only lets the services serve the clients of these ranges.
func (r *restricted) only(ranges ...netip.Prefix) {
	r.t.Helper()
	for i := range r.services {
		r.services[i].Restricted, r.services[i].Sources = true, ranges
	}
	r.must(r.tables.Sync(r.t.Context(), r.wantDirect(r.services...)))
}

// excluded drops a packet without an answer, by this name and no other counter.
func (r *restricted) excluded(p packet.Packet) {
	r.t.Helper()
	r.want("drop_source_range", xdpDrop, p, nil)
}

func (r *restricted) host() netip.Prefix {
	return netip.PrefixFrom(r.client.Addr(), r.client.Addr().BitLen())
}

// TestTranslatedFlowsOfOtherSources has services by NAT. What the client opened while it
// was served ends with its range, also what comes in pieces, and goes on with it.
func TestTranslatedFlowsOfOtherSources(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			r := newRestricted(t, f, func(f family) []tables.Service {
				return []tables.Service{service("web", tables.TCP, f.vip, f.pod), service("dns", tables.UDP, f.vip, f.pod)}
			})
			nobody := netip.PrefixFrom(r.stranger.Addr(), r.stranger.Addr().BitLen())
			r.only(r.host())
			r.excluded(packet.TCP(r.stranger, r.vip, packet.SYN, packet.Payload(5)))
			r.excluded(packet.TCP(r.stranger, r.vip, packet.ACK, packet.Payload(5)))
			r.excluded(packet.UDP(r.stranger, r.vip, packet.Payload(5)))
			node, backend := r.handshake(r.client, r.vip)
			request := packet.TCP(r.client, r.vip, packet.ACK, packet.Payload(9))
			answered := packet.TCP(r.vip, r.client, packet.ACK, packet.Payload(20))
			router := r.client.Addr().Next() // which is of no range, and speaks of a packet to who is
			tooBig := packet.Error(router, r.vip.Addr(), r.tooBig[0], r.tooBig[1], 1400, answered.IP())
			within := packet.TCP(backend, node, packet.ACK, packet.Payload(20))
			pieces := packet.UDP(r.client, r.vip, packet.Payload(100)).Fragments(64)
			served := func() {
				r.want("forward", xdpTX, request, leaving(request, node, backend, hopSrc, hopDst))
				r.want("icmp_forward", xdpTX, tooBig, r.translatedError(packet.Error(r.source, r.pod.Addr(), r.tooBig[0], r.tooBig[1], 1400, within.IP())))
				for _, piece := range pieces {
					r.is("forward", piece)
				}
			}
			served()
			r.only(nobody)
			r.excluded(request)
			r.excluded(packet.TCP(r.client, r.vip, packet.RST, nil))
			r.excluded(tooBig)
			for _, piece := range pieces { // of the later ones the ports are known from before
				r.wantRaw("drop_source_range", xdpDrop, piece, len(piece)-14, nil)
			}
			// What the pod says goes on, as nobody asks about it: the client can't answer.
			reply := packet.TCP(backend, node, packet.ACK, packet.Payload(7))
			r.want("reply", xdpTX, reply, leaving(reply, r.vip, r.client, tables.MAC(r.up0.HardwareAddr), gatewayMAC))
			// The address is not the service: pings and ports that nothing is on are as ever.
			r.is("icmp_echo", packet.Echo(r.client.Addr(), r.vip.Addr(), 1, 2, nil).Frame())
			r.is("reject_port", packet.TCP(r.client, port(r.vip, 9), packet.SYN, nil).Frame())
			r.only(r.host(), nobody)
			served()
			r.only() // is nobody, and not everybody
			r.excluded(request)
		})
	}
}

// TestDirectFlowsOfOtherSources has services whose ingress nodes answer clients
// themselves, with owners that flows may be displaced to.
func TestDirectFlowsOfOtherSources(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			r := newRestricted(t, f, func(f family) []tables.Service {
				return []tables.Service{direct("web", tables.TCP, f.vip, 3, false), direct("dns", tables.UDP, f.vip, 3, true)}
			})
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if r.vip.Addr().Is6() {
				all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			answered := packet.TCP(r.vip, r.client, packet.ACK, packet.Payload(20))
			requests := map[string]packet.Packet{
				"SYN":      packet.TCP(r.client, r.vip, packet.SYN, nil),
				"ACK":      packet.TCP(r.client, r.vip, packet.ACK, packet.Payload(5)),
				"datagram": packet.UDP(r.client, r.vip, packet.Payload(5)),
			}
			tooBig := packet.Error(r.client.Addr().Next(), r.vip.Addr(), r.tooBig[0], r.tooBig[1], 1400, answered.IP())
			r.only(all)
			bounced := map[string]packet.Packet{}
			for name, p := range requests {
				o := r.open(r.want("encap", xdpTX, p, nil))
				if name == "ACK" {
					bounced[name] = back(o)
					r.is("encap_next", bounced[name].Frame()) // now the next owner is learned to have it
				}
			}
			bounced["error"] = back(r.open(r.want("icmp_forward", xdpTX, tooBig, nil)))
			r.only(netip.PrefixFrom(r.stranger.Addr(), r.stranger.Addr().BitLen()))
			for _, p := range requests {
				r.excluded(p)
			}
			r.excluded(tooBig)
			r.wantRaw("drop_source_range", xdpDrop, bounced["ACK"].Frame(), len(requests["ACK"].IP()), nil)
			r.wantRaw("drop_source_range", xdpDrop, bounced["error"].Frame(), len(tooBig.IP()), nil)
			r.only(r.host())
			for _, p := range requests {
				r.want("encap", xdpTX, p, nil)
			}
			r.want("icmp_forward", xdpTX, tooBig, nil)
		})
	}
}

// While no backend is usable, who is not served is not told of it.
func TestOtherSourcesOfNobody(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			r := newRestricted(t, f, func(f family) []tables.Service { return []tables.Service{service("web", tables.TCP, f.vip)} })
			r.only(r.host())
			r.excluded(packet.TCP(r.stranger, r.vip, packet.SYN, nil))
			r.is("reject_no_backend", packet.TCP(r.client, r.vip, packet.SYN, nil).Frame())
		})
	}
}

// A client that is of some range all the time is served all the time, while ranges come
// and go around it and the service is opened and closed to others.
func TestSourcesChangeUnderTraffic(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			r := newRestricted(t, f, func(f family) []tables.Service { return []tables.Service{direct("web", tables.TCP, f.vip, 3, false)} })
			bits := r.client.Addr().BitLen()
			around := []int{0, 1, 8, bits / 2, bits - 1, bits}
			r.only(r.host())
			stop, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				frame := packet.TCP(r.client, r.vip, packet.ACK, nil).Frame()
				opts := ebpf.RunOptions{Data: frame, Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.up0.Index)}}
				for {
					select {
					case <-stop:
						ended <- nil
						return
					default:
					}
					opts.DataOut = make([]byte, 512)
					action, err := r.lb.Program().Run(&opts)
					if err == nil && action != xdpTX {
						err = fmt.Errorf("action %d", action)
					}
					if err != nil {
						ended <- err
						return
					}
				}
			}()
			random := rand.New(rand.NewPCG(1, 2))
			for range 200 {
				s := &r.services[0]
				s.Restricted, s.Sources = random.IntN(3) > 0, nil
				random.Shuffle(len(around), func(i, j int) { around[i], around[j] = around[j], around[i] })
				for _, n := range around[:1+random.IntN(len(around))] {
					s.Sources = append(s.Sources, netip.PrefixFrom(r.client.Addr(), n))
				}
				r.must(r.tables.Sync(t.Context(), r.wantDirect(r.services...)))
			}
			close(stop)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for _, c := range r.rig.verdicts() {
				if c.Packets > 0 && c.Name != "encap" {
					t.Errorf("%d packets were %s", c.Packets, c.Name)
				}
			}
		})
	}
}
