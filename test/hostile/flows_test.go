package hostile

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// The values of enum flow_state.
const (
	stateNew = iota
	stateEstablished
	stateClosing
	stateClosed
)

func (r *rig) stateIs(want uint8, src, dst netip.AddrPort) {
	r.t.Helper()
	if _, f := r.flow(src, dst, maps.TCP); f.State != want {
		r.t.Errorf("the flow from %s to %s is in state %d, want %d", src, dst, f.State, want)
	}
}

// A flow that lost its port to a younger one can't be used for errors about that.
func TestErrorThroughStaleHalf(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000} })
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := r.handshake(client4, vip4)
	r.age(client4, vip4, maps.TCP, 1<<20)
	r.age(backend, node, maps.TCP, 1<<20)
	r.handshake(other4, vip4) // takes the port
	r.is("drop_icmp", packet.Error(client4.Addr(), vip4.Addr(), 3, 4, 600, packet.TCP(vip4, client4, packet.ACK, nil).IP()).Frame())
}

// A connection that both ends closed does not come to life by a late ACK.
func TestClosedByBothStaysClosed(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := r.handshake(client4, vip4)
	r.is("forward", packet.TCP(client4, vip4, packet.FIN|packet.ACK, nil).Frame())
	r.stateIs(stateEstablished, client4, vip4)
	r.is("reply", packet.TCP(backend, node, packet.FIN|packet.ACK, nil).Frame())
	r.stateIs(stateClosing, client4, vip4)
	r.stateIs(stateClosing, backend, node)
	r.is("forward", packet.TCP(client4, vip4, packet.ACK, nil).Frame())
	r.stateIs(stateClosing, client4, vip4)
}

// Clients that send what only a backend or the node could: nothing comes of it.
func TestForgedByClients(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := r.handshake(client4, vip4)
	r.is("pass_not_vip", packet.TCP(client4, node, packet.ACK, nil).Frame())
	r.is("pass_not_vip", packet.TCP(netip.AddrPortFrom(client4.Addr(), backend.Port()), node, packet.ACK, nil).Frame())
	r.is("pass_not_vip", packet.TCP(node, backend, packet.ACK, nil).Frame())
	r.is("pass_not_vip", packet.TCP(vip4, client4, packet.ACK, nil).Frame())
	r.is("pass_not_vip", packet.UDP(backend, node, nil).Frame())
	// The same with the two swapped: errors that quote what was never sent.
	quotes := map[string]packet.Packet{
		"client's request":  packet.Error(other4.Addr(), client4.Addr(), 3, 3, 0, packet.TCP(client4, vip4, packet.ACK, nil).IP()),
		"request at vip":    packet.Error(other4.Addr(), vip4.Addr(), 3, 3, 0, packet.TCP(client4, vip4, packet.ACK, nil).IP()),
		"backend's answer":  packet.Error(other4.Addr(), pod4.Addr(), 3, 3, 0, packet.TCP(backend, node, packet.ACK, nil).IP()),
		"answer at node":    packet.Error(other4.Addr(), node.Addr(), 3, 3, 0, packet.TCP(backend, node, packet.ACK, nil).IP()),
		"node to client":    packet.Error(other4.Addr(), node.Addr(), 3, 3, 0, packet.TCP(node, client4, packet.ACK, nil).IP()),
		"vip to backend":    packet.Error(other4.Addr(), vip4.Addr(), 3, 3, 0, packet.TCP(vip4, backend, packet.ACK, nil).IP()),
		"as UDP":            packet.Error(other4.Addr(), vip4.Addr(), 3, 3, 0, packet.UDP(vip4, client4, nil).IP()),
		"other destination": packet.Error(other4.Addr(), vip4.Addr(), 3, 3, 0, packet.TCP(node, backend, packet.ACK, nil).IP()),
	}
	for name, p := range quotes {
		want := "pass_not_vip"
		if p.Dst == vip4.Addr() {
			want = "drop_icmp"
		}
		if got := r.run(p.Frame()); got.verdict != want {
			t.Errorf("an error about %s: %s, want %s", name, got.verdict, want)
		}
	}
	r.stateIs(stateEstablished, client4, vip4)
}
