package ingress

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

// back sends a packet of the pod's, which must get the VIP's source, or not.
func (r *rig) answers(verdict string, p packet.Packet) result {
	r.t.Helper()
	got := r.out(reply(p).Frame())
	if got.verdict != verdict || got.action != next {
		r.t.Fatalf("egress: verdict %q, action %s; want %q for\n%s", got.verdict, got.action, verdict, packet.String(p.Frame()))
	}
	if err := packet.Verify(got.frame); err != nil {
		r.t.Errorf("egress: %v", err)
	}
	return got
}

func (r *rig) wantFlow(c cast, table string, state uint8) {
	r.t.Helper()
	if f, in := r.flow(c.client, c.pod, 6); in != table || f.State != state {
		r.t.Fatalf("the flow is in %q with state %d, want %q, %d", in, f.State, table, state)
	}
}

// The states of enum flow_state.
const (
	stateNew = iota
	stateEstablished
	stateClosing
	stateClosed
	stateUDP
)

const settled, young = "node_flows", "young_flows"

func TestLifeOfAFlow(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		in := func(verdict string, flags packet.TCPFlags, seq, ack uint32) {
			t.Helper()
			r.is(verdict, c.request(tcp(c.client, c.vip, flags, seq, ack), 0))
		}
		out := func(flags packet.TCPFlags, seq, ack uint32) {
			t.Helper()
			r.answers("return", tcp(c.pod, c.client, flags, seq, ack))
		}
		in("deliver", packet.SYN, clientSeq, 0)
		r.wantFlow(c, young, stateNew)
		in("deliver", packet.SYN, clientSeq, 0) // said again
		in("bounce", packet.ACK, clientSeq+1, podSeq+1)
		out(packet.SYN|packet.ACK, podSeq, clientSeq+1)
		in("bounce", packet.ACK, clientSeq+1, podSeq+2) // completes another pod's handshake
		in("bounce", packet.RST, podSeq+1, 0)
		r.wantFlow(c, young, stateNew)
		in("deliver", packet.ACK, clientSeq+1, podSeq+1)
		r.wantFlow(c, settled, stateEstablished)
		out(packet.SYN|packet.ACK, podSeq, clientSeq+1) // said again, for the pod did not take the ACK
		r.wantFlow(c, settled, stateEstablished)
		in("deliver", packet.ACK|packet.PSH, clientSeq+1, podSeq+1)
		out(packet.ACK, podSeq+1, clientSeq+9)

		out(packet.FIN|packet.ACK, podSeq+1, clientSeq+9)
		r.wantFlow(c, settled, stateEstablished)
		in("deliver", packet.ACK, clientSeq+9, podSeq+2) // goes on sending
		in("deliver", packet.FIN|packet.ACK, clientSeq+9, podSeq+2)
		r.wantFlow(c, young, stateClosing)
		out(packet.ACK, podSeq+2, clientSeq+10)
		in("deliver", packet.ACK, clientSeq+10, podSeq+2)
		r.wantFlow(c, young, stateClosing)

		in("deliver", packet.SYN, 777, 0) // the tuple again
		r.wantFlow(c, young, stateNew)
		in("bounce", packet.ACK, 778, podSeq+1) // the old numbers are not good any more
		out(packet.SYN|packet.ACK, 9000, 778)
		in("deliver", packet.ACK, 778, 9001)
		r.wantFlow(c, settled, stateEstablished)
	})
}

func TestReset(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		in := func(flags packet.TCPFlags, seq, ack uint32) {
			t.Helper()
			r.is("deliver", c.request(tcp(c.client, c.vip, flags, seq, ack), 0))
		}
		r.handshake(c)
		in(packet.RST, clientSeq+1, 0)
		r.wantFlow(c, young, stateClosing)
		in(packet.ACK, clientSeq+1, podSeq+1) // it was forged
		r.wantFlow(c, settled, stateEstablished)
		r.answers("return", tcp(c.pod, c.client, packet.RST, podSeq+1, 0))
		r.wantFlow(c, young, stateClosed)
		in(packet.SYN, 5, 0)
		r.wantFlow(c, young, stateNew)
		r.answers("return", tcp(c.pod, c.client, packet.RST|packet.ACK, 0, 6)) // nobody listens
		r.wantFlow(c, young, stateClosed)
	})
}

// A client that forgot its flow, or a forged SYN, comes to the pod, which knows.
func TestSYNForAnEstablishedFlow(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		r.handshake(c)
		syn := c.request(tcp(c.client, c.vip, packet.SYN, 70000, 0), 0)
		r.is("deliver", syn)
		r.wantFlow(c, settled, stateEstablished)
		r.answers("return", tcp(c.pod, c.client, packet.ACK, podSeq+1, clientSeq+1)) // RFC 5961, 4
		r.wantFlow(c, settled, stateEstablished)
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.ACK, clientSeq+1, podSeq+1), 0))
		r.is("deliver", syn) // and this time the pod has forgotten it too
		r.answers("return", tcp(c.pod, c.client, packet.SYN|packet.ACK, 30000, 70001))
		r.wantFlow(c, young, stateNew)
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.ACK, 70001, 30001), 0))
		r.wantFlow(c, settled, stateEstablished)
	})
}

// What comes with ACCEPT is delivered whatever we know of it, and is a flow when the
// pod answers.
func TestAccept(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		ack := tcp(c.client, c.vip, packet.ACK, 1, 2)
		r.is("bounce", c.request(ack, 0))
		if _, table := r.flow(c.client, c.pod, 6); table != "" {
			t.Fatalf("a packet that went back left a flow in %s", table)
		}
		r.is("deliver", c.request(ack, accept))
		r.wantFlow(c, young, stateClosed)
		r.answers("return", tcp(c.pod, c.client, packet.RST, 2, 0))
		r.wantFlow(c, young, stateClosed)
		r.is("deliver", c.request(ack, accept))
		r.answers("return", tcp(c.pod, c.client, packet.ACK, 2, 1))
		r.wantFlow(c, settled, stateEstablished)

		half := c
		half.client = port(c.client, 2)
		r.is("deliver", half.request(tcp(half.client, c.vip, packet.SYN, 1, 0), 0))
		r.answers("return", tcp(c.pod, half.client, packet.SYN|packet.ACK, 70, 2))
		r.is("deliver", half.request(tcp(half.client, c.vip, packet.ACK, 2, 9999), accept))
		r.wantFlow(half, young, stateNew)
	})
}

func TestUDP(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		ask := packet.UDP(c.client, c.vip, packet.Payload(9))
		table := func() string { _, table := r.flow(c.client, c.pod, 17); return table }
		r.is("bounce", c.request(ask, 0))
		r.is("deliver", c.request(ask, accept))
		r.is("deliver", c.request(ask, 0))
		if table() != young {
			t.Errorf("a client that nobody answered is in %q", table())
		}
		r.answers("return", packet.UDP(c.pod, c.client, packet.Payload(3)))
		if table() != young {
			t.Errorf("a client that did not come back is in %q", table())
		}
		r.is("deliver", c.request(ask, 0))
		if table() != settled {
			t.Errorf("an answered client that came back is in %q", table())
		}
	})
}

// TestFlood opens more flows than the young ones' table has room for.
func TestFlood(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		r.handshake(c)
		for i := range 3000 {
			from := port(c.client, uint16(1+i%30000))
			if from != c.client {
				r.run(r.ingress, c.request(tcp(from, c.vip, packet.SYN, 1, 0), 0))
			}
		}
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.ACK, clientSeq+1, podSeq+1), 0))
		r.answers("return", tcp(c.pod, c.client, packet.ACK, podSeq+1, clientSeq+1))
	})
}

// TestFull is a node_flows without room: flows stay young, and go on.
func TestFull(t *testing.T) {
	r := newRig(t, func(c *bpf.NodeConfig) { c.MaxFlows = 1 })
	c := casts["v4 in v4"]
	r.handshake(c)
	second := c
	second.client = port(c.client, 2)
	r.is("deliver", second.request(tcp(second.client, c.vip, packet.SYN, clientSeq, 0), 0))
	r.answers("return", tcp(c.pod, second.client, packet.SYN|packet.ACK, podSeq, clientSeq+1))
	ack := second.request(tcp(second.client, c.vip, packet.ACK, clientSeq+1, podSeq+1), 0)
	r.is("deliver", ack)
	r.wantFlow(second, young, stateEstablished)
	if n := events(t, r.node, bpf.EventFull); n != 1 {
		t.Errorf("%d times full, want 1", n)
	}
	r.forget(c.client, c.pod, 6)
	r.age(second, 1)
	r.is("deliver", ack)
	r.wantFlow(second, settled, stateEstablished)
}

// age moves a flow's last packet ticks into the past.
func (r *rig) age(c cast, ticks uint32) {
	r.t.Helper()
	f, table := r.flow(c.client, c.pod, 6)
	f.Seen -= ticks
	r.put(table, tuple(c.client, c.pod, 6), f)
}

// A connection that the client makes to the pod itself is not the VIP's.
func TestDirectConnectionAfterwards(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		r.handshake(c)
		r.is("deliver", c.request(tcp(c.client, c.vip, packet.FIN|packet.ACK, 1, 2), 0))
		r.answers("return", tcp(c.pod, c.client, packet.FIN|packet.ACK, 2, 2))
		r.wantFlow(c, young, stateClosing)
		r.answers("", tcp(c.pod, c.client, packet.SYN|packet.ACK, 9, 10))
		if _, table := r.flow(c.client, c.pod, 6); table != "" {
			t.Errorf("the flow is still in %s", table)
		}
		r.answers("", tcp(c.pod, c.client, packet.ACK, 10, 10))
	})
}

// What pods begin themselves, and what is none of a flow, leaves as it is.
func TestOtherTraffic(t *testing.T) {
	each(t, func(t *testing.T, r *rig, c cast) {
		r.handshake(c)
		elsewhere := netip.AddrPortFrom(c.router, 443)
		for _, p := range []packet.Packet{
			tcp(c.pod, c.client, packet.SYN, 1, 0),
			tcp(c.pod, elsewhere, packet.ACK, 1, 2),
			packet.UDP(c.pod, c.client, packet.Payload(9)),
			packet.Echo(c.pod.Addr(), c.client.Addr(), 1, 2, nil),
			tooBig(c, tcp(c.vip, c.client, packet.ACK, 1, 1)),
		} {
			frame := reply(p).Frame()
			if got := r.out(frame); got.verdict != "" || got.action != next || packet.Diff(frame, got.frame) != "" {
				t.Errorf("verdict %q, action %s for\n%s", got.verdict, got.action, packet.String(frame))
			}
		}
	})
}
