package ingress

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/penstock-lb/penstock/test/packet"
)

// TestECN is the table of RFC 6040, 4.2, for all other bits of the field too.
func TestECN(t *testing.T) {
	const notECT, ect1, ect0, ce, lost = 0, 1, 2, 3, -1
	table := [4][4]int{ // by inner, outer
		notECT: {notECT: notECT, ect0: notECT, ect1: notECT, ce: lost},
		ect0:   {notECT: ect0, ect0: ect0, ect1: ect1, ce: ce},
		ect1:   {notECT: ect1, ect0: ect1, ect1: ect1, ce: ce},
		ce:     {notECT: ce, ect0: ce, ect1: ce, ce: ce},
	}
	each(t, func(t *testing.T, r *rig, c cast) {
		for inner := range 4 {
			for outer := range 4 {
				p := packet.TCP(c.client, c.vip, packet.SYN, nil)
				p.TOS = 0xb8 | uint8(inner)
				w := c.wrapped(to(c.pod, 0, 0), p.IP())
				w.TOS = 0x48 | uint8(outer)
				if table[inner][outer] == lost {
					r.want("drop_ecn", drop, w, nil)
					continue
				}
				p.TOS = 0xb8 | uint8(table[inner][outer])
				r.want("deliver", next, w, between(p, c.client, c.pod).Frame())
			}
		}
	})
}

func mss(n uint16) layers.TCPOption {
	return layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(n >> 8), byte(n)}}
}

var (
	nop     = layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1}
	sackOK  = layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2}
	scale   = layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}}
	stamps  = layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}
	unknown = layers.TCPOption{OptionType: 253, OptionLength: 6, OptionData: make([]byte, 4)}
)

// TestMSS puts the option at every offset that Linux and others use, and some more.
func TestMSS(t *testing.T) {
	overheads := map[string]uint16{"v4 in v4": 48, "v6 in v4": 60, "v4 in v6": 68, "v6 in v6": 80}
	each(t, func(t *testing.T, r *rig, c cast) {
		var overhead, headers uint16 = 0, 40
		for name, other := range casts {
			if other == c {
				overhead = overheads[name]
			}
		}
		if c.client.Addr().Is6() {
			headers = 60
		}
		fits := 1500 - overhead - headers
		for i, test := range []struct {
			mtu       uint32
			have      uint16
			want      uint16
			before    []layers.TCPOption
			following []layers.TCPOption
		}{
			{1500, 1460, fits, nil, nil},
			{1500, 1460, fits, nil, []layers.TCPOption{sackOK, stamps, nop, scale}},
			{1500, 1460, fits, []layers.TCPOption{nop}, nil},
			{1500, 1460, fits, []layers.TCPOption{nop, nop, sackOK}, nil},
			{1500, 1460, fits, []layers.TCPOption{scale, unknown, stamps}, []layers.TCPOption{nop}},
			{1500, fits, fits, nil, nil},
			{1500, fits - 1, fits - 1, nil, nil},
			{1500, fits + 1, fits, nil, nil},
			{9000, 8960, 8960 - overhead - (headers - 40), nil, nil},
			{0, 1460, 1460, nil, nil},
			{40, 1460, 1460, nil, nil},
		} {
			r.mtu(test.mtu)
			client := port(c.client, uint16(100+i))
			r.is("deliver", c.request(tcp(client, c.vip, packet.SYN, 1, 0), 0))
			answer := func(n uint16) packet.Packet {
				p := tcp(c.pod, client, packet.SYN|packet.ACK, 5, 2)
				p.Transport.(*packet.TCPHeader).Options = slices.Concat(test.before, []layers.TCPOption{mss(n)}, test.following)
				return p
			}
			got := r.answers("return", answer(test.have))
			if diff := packet.Diff(reply(between(answer(test.want), c.vip, client)).Frame(), got.frame); diff != "" {
				t.Errorf("MTU %d, MSS %d: %s", test.mtu, test.have, diff)
			}
		}
		r.mtu(1500)
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.SYN, 1, 0), 0))
		bare := tcp(c.pod, c.client, packet.SYN|packet.ACK, 5, 2)
		if diff := packet.Diff(reply(between(bare, c.vip, c.client)).Frame(), r.answers("return", bare).frame); diff != "" {
			t.Error(diff)
		}
	})
}

// TestFragments of a datagram go where the first goes, both ways. One whose first is
// not here may have it elsewhere.
func TestFragments(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		ask := packet.UDP(c.client, c.vip, packet.Payload(150))
		frames, want := ask.Fragments(64), between(ask, c.client, c.pod).Fragments(64)
		in := func(i int, tail uint8) []byte { return c.wrapped(to(c.pod, 0, tail), frames[i][14:]).Frame() }
		r.is("bounce", in(1, 0))
		for i := range frames {
			got := r.is("deliver", in(i, accept))
			if diff := packet.Diff(want[i], got.frame); diff != "" {
				t.Errorf("fragment %d: %s", i, diff)
			}
		}
		answer := reply(packet.UDP(c.pod, c.client, packet.Payload(150)))
		frames, want = answer.Fragments(64), between(answer, c.vip, c.client).Fragments(64)
		for i := range frames {
			got := r.out(frames[i])
			if diff := packet.Diff(want[i], got.frame); diff != "" || got.verdict != "return" {
				t.Errorf("fragment %d of the reply: verdict %q, %s", i, got.verdict, diff)
			}
		}
	})
}

// TestTags keeps VLAN tags in front of what is delivered and sent back. To tc they are
// part of the metadata.
func TestTags(t *testing.T) {
	r := newRig(t)
	for name, c := range casts {
		for n := 1; n <= 2; n++ {
			t.Run(fmt.Sprintf("%s, %d tags", name, n), func(t *testing.T) {
				r.reset()
				r.t = t
				inner := packet.TCP(c.client, c.vip, packet.SYN, nil)
				p := c.wrapped(to(c.pod, 0, 0), inner.IP())
				p.VLANs = []uint16{0x2064, 7}[:n]
				want := between(inner, c.client, c.pod)
				want.VLANs = p.VLANs
				r.want("deliver", next, p, want.Frame())
				stray := c.wrapped(to(c.pod, 0, 0), packet.TCP(port(c.client, 3), c.vip, packet.ACK, nil).IP())
				stray.VLANs = p.VLANs
				r.want("bounce", back, stray, returned(stray, to(c.pod, 0, bounce)))
			})
		}
	}
}

// TestOptionsAndExtensions are between the inner IP header and its transport.
func TestOptionsAndExtensions(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		p := packet.TCP(c.client, c.vip, packet.SYN, packet.Payload(9))
		if c.client.Addr().Is4() {
			p.Options = []byte{1, 1, 1, 0, 1, 1, 1, 0}
		} else {
			p.Extensions = []packet.Extension{packet.HopByHop(1), packet.Destination(2)}
		}
		r.want("deliver", next, c.wrapped(to(c.pod, 0, 0), p.IP()), between(p, c.client, c.pod).Frame())
	})
}
