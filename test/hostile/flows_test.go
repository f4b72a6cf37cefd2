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

// An ICMP error about a flow whose backend is removed has no place to go: its
// address may be another pod's by now.
func TestErrorToRemovedBackend(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	r.handshake(client4, vip4)
	about := packet.Error(client4.Addr(), vip4.Addr(), 3, 4, 1400, packet.TCP(vip4, client4, packet.ACK, nil).IP())
	about.SrcMAC = packet.RouterMAC
	r.is("icmp_forward", about.Frame())
	r.sync(service("web", maps.TCP, vip4, addr("10.1.0.2", 8080)))
	r.is("drop_icmp", about.Frame())
}

// A closing flow over which the client still sends keeps its port: its answers
// would go to somebody else.
func TestClosingFlowInUseKeepsItsPort(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000} })
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := r.handshake(client4, vip4)
	r.is("forward", packet.TCP(client4, vip4, packet.RST, nil).Frame()) // forged by anybody
	r.age(backend, node, maps.TCP, 2)
	r.is("forward", packet.TCP(client4, vip4, packet.ACK, packet.Payload(100)).Frame())
	r.run(packet.TCP(other4, vip4, packet.SYN, nil).Frame())
	_, dst := ends(r.is("reply", packet.TCP(backend, node, packet.ACK, packet.Payload(100)).Frame()))
	if dst != client4 {
		t.Errorf("the answer to %s went to %s", client4, dst)
	}
}

// A forged address can send a SYN and an ACK, but has not seen what to acknowledge.
func TestForgedHandshakeEstablishesNothing(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := ends(r.is("forward", packet.TCP(client4, vip4, packet.SYN, nil).Frame()))
	r.is("reply", packet.TCP(backend, node, packet.SYN|packet.ACK, nil).Frame()) // sequence number 1000
	r.is("forward", with(packet.TCP(client4, vip4, packet.ACK, nil), func(h *packet.TCPHeader) { h.Ack = 0xdead }).Frame())
	r.stateIs(stateNew, client4, vip4)
	r.is("forward", with(packet.TCP(client4, vip4, packet.ACK, nil), func(h *packet.TCPHeader) { h.Ack = 1001 }).Frame())
	r.stateIs(stateEstablished, client4, vip4)
}

// A RST that the backend ignores, for its sequence number is a guess, must not cut
// down the timeout of a connection that goes on.
func TestForgedResetIsUndone(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	r.handshake(client4, vip4)
	r.is("forward", with(packet.TCP(client4, vip4, packet.RST, nil), func(h *packet.TCPHeader) { h.Seq = 0xdeadbeef }).Frame())
	r.is("forward", packet.TCP(client4, vip4, packet.ACK|packet.PSH, packet.Payload(10)).Frame())
	r.stateIs(stateEstablished, client4, vip4)
}

// Half-open connections from forged addresses give way to the next client.
func TestHalfOpenFloodLeavesPorts(t *testing.T) {
	const ports = 64
	r := newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000 + ports - 1} })
	r.sync(service("web", maps.TCP, vip4, pod4))
	for i := range 10 * ports {
		r.run(packet.TCP(from(i), vip4, packet.SYN, nil).Frame())
	}
	for i := range 10 * ports { // some seconds ago
		key := bpf.Tuple{Src: bpf.AddrFrom(from(i).Addr()), Dst: bpf.AddrFrom(vip4.Addr()),
			Sport: bpf.Htons(from(i).Port()), Dport: bpf.Htons(80), Proto: 6}
		var f bpf.Flow
		if r.lb.Map("flows").Lookup(key, &f) == nil {
			node := netip.AddrPortFrom(source4, bpf.Htons(f.Sport))
			r.age(from(i), vip4, maps.TCP, 5)
			r.age(pod4, node, maps.TCP, 5)
		}
	}
	for range 20 { // a client repeats its SYN for longer than that
		if r.run(packet.TCP(client4, vip4, packet.SYN, nil).Frame()).verdict == "forward" {
			return
		}
	}
	t.Errorf("no port for a client while %d forged SYNs hold them all for 30 s", ports)
}

// Where fewer ports are configured than are probed, a free one is found.
func TestSmallPortRangeIsUsedUp(t *testing.T) {
	for _, ports := range []uint16{1, 3, 9, 15, 21, 30} {
		r := newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000 + ports - 1} })
		r.sync(service("web", maps.UDP, vip4, pod4))
		for i := range ports {
			if got := r.run(packet.UDP(from(int(i)), vip4, nil).Frame()); got.verdict != "forward" {
				t.Errorf("flow %d of %d ports: %s", i+1, ports, got.verdict)
				break
			}
		}
		r.is("drop_ports_exhausted", packet.UDP(other4, vip4, nil).Frame())
	}
}

// The range of ports may change with a restart, and flows go on (they last longer
// than the agent).
func TestPortRangeChanges(t *testing.T) {
	r := newRig(t)
	r.sync(service("web", maps.TCP, vip4, pod4))
	node, backend := r.handshake(client4, vip4)
	r.cfg.Ports = bpf.PortRange{First: 10000, Last: 19999}
	r.restart()
	r.sync(service("web", maps.TCP, vip4, pod4))
	r.is("forward", packet.TCP(client4, vip4, packet.ACK, nil).Frame())
	r.is("reply", packet.TCP(backend, node, packet.ACK, nil).Frame())
}

// A VIP that is this node's own address, on a port of the NAT range: an answer of
// the backend must not be taken for a request.
func TestNodeAddressAsVIP(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.Ports = bpf.PortRange{First: 20000, Last: 20000} })
	own := netip.AddrPortFrom(source4, 20000)
	web := service("web", maps.TCP, vip4, pod4)
	other := service("other", maps.TCP, own, addr("10.1.0.9", 8080))
	r.sync(web)
	node, backend := r.handshake(client4, vip4)
	if err := r.tables.Sync(t.Context(), r.want(web, other)); err != nil {
		t.Logf("refused, which is as good: %v", err)
	}
	_, dst := ends(r.is("reply", packet.TCP(backend, node, packet.ACK, packet.Payload(10)).Frame()))
	if dst != client4 {
		t.Errorf("the answer for %s went to %s", client4, dst)
	}
	r.is("forward", packet.TCP(client4, vip4, packet.ACK, nil).Frame())
	if _, f := r.flow(client4, vip4, maps.TCP); bpf.Htons(f.Sport) != node.Port() || f.State != stateEstablished {
		t.Errorf("the flow was made anew: %+v", f)
	}
}

// Whoever floods closed ports must not silence Fragmentation Needed.
func TestRejectsLeaveRoomForTooBig(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.ICMPRate = 10 })
	web := service("web", maps.UDP, vip4, pod4)
	r.sync(web)
	for range 30 {
		r.run(packet.UDP(client4, addr("198.51.100.1", 9), nil).Frame())
	}
	big := packet.UDP(client4, vip4, packet.Payload(1600))
	big.DontFragment = true
	r.is("reject_too_big", big.Frame())
}
