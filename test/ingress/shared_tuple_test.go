package ingress

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

// destination of a frame without tags and options.
func ends(frame []byte) (src, dst netip.AddrPort) {
	at, a, n := 14+20, 26, 4
	if frame[14]>>4 == 6 {
		at, a, n = 14+40, 22, 16
	}
	one := func(addr, port []byte) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(addr)
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port))
	}
	return one(frame[a:a+n], frame[at:]), one(frame[a+n:a+2*n], frame[at+2:])
}

// TestCollision sends the same client's port through two VIPs to one pod: over TCP and
// UDP, each flow keeps its VIP, and the second gets another port on the pod's side.
func TestCollision(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		before := events(t, r.node, bpf.EventCollision)
		other := c
		other.vip = port(c.vip, 81)
		r.handshake(c)
		r.is("bounce", other.request(tcp(c.client, other.vip, packet.ACK, 1, 2), 0)) // not the first VIP's flow
		syn := tcp(c.client, other.vip, packet.SYN, clientSeq, 0)
		got := r.is("deliver", other.request(syn, 0))
		moved, pod := ends(got.frame)
		if moved.Addr() != c.client.Addr() || moved.Port() == c.client.Port() || pod != c.pod {
			t.Fatalf("the second flow goes from %s to %s", moved, pod)
		}
		if diff := packet.Diff(between(syn, moved, c.pod).Frame(), got.frame); diff != "" {
			t.Error(diff)
		}
		if again, _ := ends(r.is("deliver", other.request(syn, 0)).frame); again != moved {
			t.Errorf("a SYN that is said again goes from %s, was %s", again, moved)
		}
		back := r.answers("return", tcp(c.pod, moved, packet.SYN|packet.ACK, podSeq, clientSeq+1))
		if src, dst := ends(back.frame); src != other.vip || dst != c.client {
			t.Errorf("the answer goes from %s to %s", src, dst)
		}
		if src, dst := ends(r.answers("return", tcp(c.pod, c.client, packet.ACK, podSeq+1, clientSeq+1)).frame); src != c.vip || dst != c.client {
			t.Errorf("the first flow's answer goes from %s to %s", src, dst)
		}
		ack := other.request(tcp(c.client, other.vip, packet.ACK, clientSeq+1, podSeq+1), 0)
		if src, _ := ends(r.is("deliver", ack).frame); src != moved {
			t.Errorf("the handshake's ACK goes from %s", src)
		}
		r.forget(c.client, c.pod, 6) // the first flow ends, the second stays where it is
		if src, _ := ends(r.is("deliver", ack).frame); src != moved {
			t.Errorf("without the first flow the second goes from %s", src)
		}
		if n := events(t, r.node, bpf.EventCollision) - before; n != 1 {
			t.Errorf("%d collisions, want 1", n)
		}

		r.is("deliver", c.request(packet.UDP(c.client, c.vip, nil), accept))
		second := packet.UDP(c.client, other.vip, packet.Payload(5))
		movedUDP, _ := ends(r.is("deliver", other.request(second, accept)).frame)
		if movedUDP.Port() == c.client.Port() {
			t.Error("two flows over UDP share a tuple")
		}
		if src, dst := ends(r.answers("return", packet.UDP(c.pod, movedUDP, nil)).frame); src != other.vip || dst != c.client {
			t.Errorf("the UDP answer goes from %s to %s", src, dst)
		}
	})
}

// A tuple whose flow is over, or idle for too long, is nobody's.
func TestNoCollisionWithTheDead(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		other := c
		other.vip = port(c.vip, 81)
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.SYN, 1, 0), 0))
		r.age(c, 40) // longer than a handshake may take
		if src, _ := ends(r.is("deliver", other.request(tcp(c.client, other.vip, packet.SYN, 1, 0), 0)).frame); src != c.client {
			t.Errorf("the flow goes from %s", src)
		}
		f, _ := r.flow(c.client, c.pod, 6)
		if bpf.Htons(f.Vport) != 81 {
			t.Errorf("the tuple is still that of port %d", bpf.Htons(f.Vport))
		}
	})
}

// TestNoFreePort fills all tuples of a client and a pod.
func TestNoFreePort(t *testing.T) {
	r := newRig(t, func(c *bpf.NodeConfig) { c.MaxFlows = 1 << 17 })
	c := casts["v4 in v4"]
	r.handshake(c)
	f, _ := r.flow(c.client, c.pod, 6)
	for p := range 1 << 16 {
		r.put(settled, tuple(port(c.client, uint16(p)), c.pod, 6), f)
	}
	other := c
	other.vip = port(c.vip, 81)
	r.is("drop_collision", other.request(tcp(c.client, other.vip, packet.SYN, 1, 0), 0))
}

// TestErrorsAboutFlows follow the packet that they quote, both ways.
func TestErrorsAboutFlows(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		r.handshake(c)
		for _, size := range []int{0, 200} {
			about := tcp(c.vip, c.client, packet.ACK, podSeq+1, clientSeq+1)
			about.Payload = packet.Payload(size)
			known := between(about, c.pod, c.client)
			in := tooBig(c, about)
			want := tooBig(c, known)
			want.Dst = c.pod.Addr()
			r.want("deliver", next, c.wrapped(to(c.pod, 0, 0), in.IP()), want.Frame())
		}
		astray := tooBig(c, tcp(c.vip, port(c.client, 9), packet.ACK, 1, 1))
		r.is("bounce", c.wrapped(to(c.pod, 0, 0), astray.IP()).Frame())

		for name, from := range map[string]netip.Addr{"pod": c.pod.Addr(), "node": c.router} {
			about := tcp(c.client, c.pod, packet.ACK, clientSeq+1, podSeq+1)
			about.Payload = packet.Payload(50)
			sent := tooBig(c, about)
			sent.Src, sent.Dst = from, c.client.Addr()
			want := tooBig(c, between(about, c.client, c.vip))
			want.Src, want.Dst = from, c.client.Addr()
			if name == "pod" {
				want.Src = c.vip.Addr()
			}
			got := r.answers("return", sent)
			if diff := packet.Diff(reply(want).Frame(), got.frame); diff != "" {
				t.Errorf("from the %s: %s", name, diff)
			}
		}
	})
}

// Errors about a flow whose client has another port on the pod's side.
func TestErrorsAboutCollisions(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		other := c
		other.vip = port(c.vip, 81)
		r.handshake(c)
		moved, _ := ends(r.is("deliver", other.request(tcp(c.client, other.vip, packet.SYN, clientSeq, 0), 0)).frame)
		about := tcp(other.vip, c.client, packet.ACK, 1, 1)
		want := tooBig(c, between(about, c.pod, moved))
		want.Dst = c.pod.Addr()
		r.want("deliver", next, c.wrapped(to(c.pod, 0, 0), tooBig(c, about).IP()), want.Frame())
	})
}
