package hostile

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// directRig has a TCP and a UDP service of each family, with n backends each, over
// tunnels of one family.
func directRig(t *testing.T, n int, outer6 bool) *rig {
	r := newRig(t, func(c *bpf.Config) { c.MaxRows, c.MaxBackends = 1<<16, 256 })
	r.syncDirect(n, outer6)
	return r
}

func (r *rig) syncDirect(n int, outer6 bool) {
	r.t.Helper()
	w := r.wantDirect(
		direct("web4", maps.TCP, vip4, n, outer6), direct("dns4", maps.UDP, vip4, n, outer6),
		direct("web6", maps.TCP, vip6, n, outer6), direct("dns6", maps.UDP, vip6, n, outer6))
	for i := range 20 {
		w.Members = append(w.Members, maps.Member{Addr: ingressNode(i, true), Backend: true}, maps.Member{Addr: ingressNode(i, false), Backend: true})
	}
	r.must(r.tables.Sync(r.t.Context(), w))
}

// requests are packets that might be bounced, by name.
func requests(i int) map[string]packet.Packet {
	list := map[string]packet.Packet{}
	for _, f := range families {
		client := port(f.client, uint16(1000+i))
		for flags, name := range map[packet.TCPFlags]string{packet.SYN: "SYN", packet.ACK: "ACK", packet.RST: "RST", packet.SYN | packet.ACK: "SYN-ACK"} {
			list[name+" to "+f.vip.String()] = packet.TCP(client, f.vip, flags, nil)
		}
		list["datagram to "+f.vip.String()] = packet.UDP(client, f.vip, nil)
		list["error to "+f.vip.String()] = packet.Error(client.Addr(), f.vip.Addr(), f.tooBig[0], f.tooBig[1], 1400, packet.TCP(f.vip, client, packet.ACK, nil).IP())
	}
	return list
}

// An ingress node that sends back whatever it gets: a packet makes no more turns than
// a row can have owners, and so often again as its search begins anew because the row
// changes, and then is dropped. Each turn makes one packet of one.
func TestBouncesEnd(t *testing.T) {
	r := directRig(t, 20, false)
	for i := range 6 {
		for name, p := range requests(i) {
			got := r.run(p.Frame())
			changes, turns, anew := i >= 4, 1, 0
			for hop := -1; ; turns++ {
				o, err := packet.OpenTunnel(got.frame)
				if got.action != xdpTX || err != nil {
					break
				}
				if turns > (1+anew)*turnsMax {
					t.Fatalf("%s: turn %d, hop %d, and there is no end", name, turns, o.Hop)
				}
				if int(o.Hop) <= hop && o.Hop != packet.HopLearned {
					if anew++; !changes || anew > restartsMax {
						t.Fatalf("%s: hop %d after hop %d", name, o.Hop, hop)
					}
				}
				if hop = int(o.Hop); o.Hop == packet.HopLearned {
					hop = -1
				}
				if changes && turns%3 == 1 { // the owners become others while they are asked
					r.syncDirect(1+(turns*7+i)%20, turns%2 == 0)
				}
				got = r.run(back(o).Frame())
			}
			if got.verdict != "drop_tunnel" {
				t.Errorf("%s: after %d turns %s, want drop_tunnel", name, turns, got.verdict)
			}
			if strings.HasPrefix(name, "SYN to") && turns > 2 {
				t.Errorf("%s: %d turns, and any pod takes a SYN", name, turns)
			}
		}
	}
}

// A node that lies about the hop gets one packet for each that it sends, as often as
// it likes within its rate; it can't make one into two, nor into one for the kernel.
func TestLiesAboutTheHop(t *testing.T) {
	r := directRig(t, 3, true)
	first := r.opened("encap", packet.TCP(client6, vip6, packet.ACK, nil).Frame())
	second := r.opened("encap_next", back(first).Frame())
	// What one shows says nothing of the other's position, so that it is as if the row were another.
	for o, isFirst := range map[*packet.Opened]bool{&first: true, &second: false} {
		for hop := range 256 {
			got := r.run(back(*o, func(o *packet.Opened) { o.Hop = uint8(hop) }).Frame())
			next, err := packet.OpenTunnel(got.frame)
			switch {
			case got.verdict == "drop_tunnel" && hop >= turnsMax-2 && hop != packet.HopLearned:
			case got.verdict != "encap_next" || err != nil:
				t.Errorf("hop %d: %s", hop, got.verdict)
			case next.Hop == 0 && (hop == packet.HopLearned || isFirst != (hop == 0)):
			case int(next.Hop) > hop && isFirst == (hop == 0):
			default:
				t.Errorf("hop %d, first %v: then hop %d, flags %d", hop, isFirst, next.Hop, next.Flags)
			}
		}
	}
}

// What no node of ours sends back, and what strangers send: dropped, by name. Nothing
// that was in a tunnel comes to the kernel, and no ping from there is answered.
func TestSpoofedTunnelPackets(t *testing.T) {
	r := directRig(t, 3, false)
	type change = func(*packet.Opened)
	inner := func(f func(o *packet.Opened) []byte) change { return func(o *packet.Opened) { o.Inner = f(o) } }
	for _, f := range families {
		o := r.opened("encap", packet.TCP(f.client, f.vip, packet.ACK, packet.Payload(40)).Frame())
		fragments := packet.UDP(f.client, f.vip, packet.Payload(100)).Fragments(64)
		other := families["ipv6"]
		if f.vip.Addr().Is6() {
			other = families["ipv4"]
		}
		bad := map[string]change{
			"inner of another family": inner(func(*packet.Opened) []byte { return packet.TCP(other.client, other.vip, packet.ACK, nil).IP() }),
			"inner to no VIP":         inner(func(*packet.Opened) []byte { return packet.TCP(f.client, f.pod, packet.ACK, nil).IP() }),
			"inner to the node": inner(func(o *packet.Opened) []byte {
				return packet.UDP(f.client, netip.AddrPortFrom(f.source, tunnelPort), nil).IP()
			}),
			"inner to no port of a VIP": inner(func(*packet.Opened) []byte { return packet.TCP(f.client, port(f.vip, 9), packet.ACK, nil).IP() }),
			"inner reply": inner(func(*packet.Opened) []byte {
				return packet.TCP(f.pod, netip.AddrPortFrom(f.source, 20000), packet.ACK, nil).IP()
			}),
			"inner SYN": inner(func(*packet.Opened) []byte { return packet.TCP(f.client, f.vip, packet.SYN, nil).IP() }),
			"inner of other protocol to no VIP": inner(func(*packet.Opened) []byte {
				p := packet.TCP(f.client, f.pod, packet.ACK, nil)
				p.Transport = packet.Raw(47)
				return p.IP()
			}),
			"later inner fragment to no VIP": inner(func(*packet.Opened) []byte {
				return packet.UDP(f.client, f.pod, packet.Payload(100)).Fragments(64)[1][14:]
			}),
			"nested":                     inner(func(o *packet.Opened) []byte { return back(*o).IP() }),
			"trailing data":              inner(func(o *packet.Opened) []byte { return append(slices.Clone(o.Inner), 0) }),
			"cut short":                  inner(func(o *packet.Opened) []byte { return o.Inner[:len(o.Inner)-1] }),
			"no inner":                   inner(func(o *packet.Opened) []byte { return nil }),
			"probe with an inner packet": func(o *packet.Opened) { o.Flags = packet.Probe | packet.Bounce },
			"probe, not answered":        func(o *packet.Opened) { o.Flags, o.Inner = packet.Probe, nil },
			"request":                    func(o *packet.Opened) { o.Flags = 0 },
			"request to accept":          func(o *packet.Opened) { o.Flags = packet.Accept },
			"bounce to accept":           func(o *packet.Opened) { o.Flags = packet.Accept | packet.Bounce },
			"all flags":                  func(o *packet.Opened) { o.Flags = 0xff },
		}
		for name, c := range bad {
			// back sets the flags, so what c makes of them comes last.
			if got := r.run(back(o, c).Frame()); got.verdict != "drop_tunnel" {
				t.Errorf("%s: %s", name, got.verdict)
			}
		}
		for name, verdict := range map[string]string{"ping": "drop_icmp", "later fragment": "drop_fragment", "protocol": "drop_protocol"} {
			got := r.run(back(o, inner(func(*packet.Opened) []byte {
				p := packet.Echo(f.client.Addr(), f.vip.Addr(), 1, 1, packet.Payload(9))
				switch name {
				case "later fragment":
					return fragments[1][14:]
				case "protocol":
					p.Transport = packet.Raw(47)
				}
				return p.IP()
			})).Frame())
			if got.verdict != verdict {
				t.Errorf("%s from a tunnel: %s, want %s", name, got.verdict, verdict)
			}
		}
		for _, stranger := range []netip.Addr{client4.Addr(), source4, ingressNode(77, false)} {
			for _, flags := range []packet.TunnelFlags{packet.Bounce, packet.Bounce | packet.Probe} {
				r.is("drop_tunnel_source", back(o, func(o *packet.Opened) { o.Dst, o.Flags = netip.AddrPortFrom(stranger, 1), flags }).Frame())
			}
		}
		checkBytes(t, r, o)
	}
}

// checkBytes sets each byte of the outer UDP, Geneve and option headers to others.
// Those of the pod nobody reads; the hop and flags are others' tests'. By another
// source port the search begins anew. None may lead to the kernel, but for another UDP
// port.
func checkBytes(t *testing.T, r *rig, o packet.Opened) {
	good := back(o).Frame()
	const udp = 14 + 20
	pod := len(o.Pod.Addr().AsSlice())
	for at := udp; at < udp+8+12; at++ {
		for _, xor := range []byte{1, 0x80, 0xff} {
			frame := slices.Clone(good)
			frame[at] ^= xor
			want := "drop_tunnel"
			switch {
			case at < udp+2:
				want = "encap_next"
			case at < udp+4:
				want = "pass_not_vip" // the kernel's: no tunnel packet
			}
			if got := r.run(frame); got.verdict != want {
				t.Errorf("%d bytes of address: byte %d of the UDP datagram xor %#x: %s, want %s", pod, at-udp, xor, got.verdict, want)
			}
		}
	}
	for end := udp + 8; end < len(good); end += 3 {
		frame := slices.Clone(good[:end])
		frame[14+2], frame[14+3] = byte((end-14)>>8), byte(end-14)
		fixIPv4(frame)
		if got := r.run(frame); got.verdict != "drop_tunnel" {
			t.Errorf("%d of %d bytes: %s", end, len(good), got.verdict)
		}
	}
}

func fixIPv4(frame []byte) {
	sum := uint32(0)
	frame[14+10], frame[14+11] = 0, 0
	for i := 14; i < 34; i += 2 {
		sum += uint32(frame[i])<<8 | uint32(frame[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum>>16 + sum)
	frame[14+10], frame[14+11] = byte(sum>>8), byte(sum)
}

// Flows that are the same to everybody else differ on the way to the node.
func TestTunnelsAreSpreadOut(t *testing.T) {
	r := directRig(t, 1, true)
	ports, labels := map[uint16]bool{}, map[uint32]bool{}
	for i := range 500 {
		o := r.opened("encap", packet.TCP(from(i), vip4, packet.SYN, nil).Frame())
		if o.Src.Port() < 49152 {
			t.Fatalf("source port %d", o.Src.Port())
		}
		ports[o.Src.Port()], labels[o.Label] = true, true
	}
	if len(ports) < 450 || len(labels) < 450 {
		t.Errorf("500 flows have %d source ports and %d flow labels", len(ports), len(labels))
	}
}
