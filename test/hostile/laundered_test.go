package hostile

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// A Service whose endpoint is a node's end of the tunnels. What a client sends there
// would be translated to an LB node's address, from which ingress nodes take tunnel
// packets: with one in its datagrams, without a checksum, the client would be any
// client to any pod, behind all policies.
func TestNoTunnelPacketsOfClients(t *testing.T) {
	r := newRig(t)
	for name, f := range families {
		node, stranger := netip.MustParseAddr("10.2.0.9"), netip.MustParseAddr("10.2.0.10")
		if f.vip.Addr().Is6() {
			node, stranger = netip.MustParseAddr("2001:db8:3::9"), netip.MustParseAddr("2001:db8:3::a")
		}
		for _, who := range []maps.Member{{Backend: true}, {LB: true}, {Self: true}} {
			for _, tt := range []struct {
				verdict string
				proto   maps.Proto
				pod     netip.AddrPort
			}{
				{"drop_tunnel", maps.UDP, netip.AddrPortFrom(node, tunnelPort)},
				{"forward", maps.TCP, netip.AddrPortFrom(node, tunnelPort)},
				{"forward", maps.UDP, netip.AddrPortFrom(node, 53)}, // of the node's own
				{"forward", maps.UDP, netip.AddrPortFrom(stranger, tunnelPort)},
			} {
				w := r.want(service("web", tt.proto, f.vip, tt.pod))
				who.Addr = node
				w.Members = []maps.Member{who}
				r.must(r.tables.Sync(t.Context(), w))
				p := packet.TCP(f.client, f.vip, packet.SYN, nil)
				if tt.proto == maps.UDP {
					p = packet.UDP(f.client, f.vip, packet.Payload(60))
					p.Transport.(*packet.UDPHeader).NoChecksum = true
				}
				if got := r.run(p.Frame()); got.verdict != tt.verdict {
					t.Errorf("%s: %s to %s, of member %+v: verdict %s, want %s", name, tt.proto, tt.pod, who, got.verdict, tt.verdict)
				}
			}
		}
	}
}
