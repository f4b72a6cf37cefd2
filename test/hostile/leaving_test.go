package hostile

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// leave marks every backend that is one as leaving, as Sync does before it empties them.
func (r *rig) leave(is func(bpf.Backend) bool) {
	r.t.Helper()
	marked := 0
	for i := range r.lb.Map("backends").MaxEntries() {
		var b bpf.Backend
		r.must(r.lb.Map("backends").Lookup(i, &b))
		if b.Port == 0 || !is(b) {
			continue
		}
		b.Nexthop.Flags |= bpf.BackendLeaving
		r.must(r.lb.Map("backends").Put(i, b))
		marked++
	}
	if marked != 1 {
		r.t.Fatalf("%d backends are leaving, want 1", marked)
	}
}

// What was learned leads to no backend that is leaving: it is emptied in a moment, and
// this program might still be about it.
func TestLearnedBackendIsLeaving(t *testing.T) {
	r := directRig(t, 3, false)
	for name, f := range families {
		ack, second := r.displace(f)
		r.leave(func(b bpf.Backend) bool {
			return b.Addr == bpf.AddrFrom(second.Pod.Addr()) && b.Port == bpf.Htons(second.Pod.Port()) && b.Service == r.serviceOf(f.vip)
		})
		if o := r.opened("encap", ack.Frame()); o.Hop != 0 || o.Pod == second.Pod {
			t.Errorf("%s: its owner %s is leaving, and the packet goes to %s, hop %d", name, second.Pod, o.Pod, o.Hop)
		}
	}
}

// serviceOf is the number of the service with a TCP frontend.
func (r *rig) serviceOf(vip netip.AddrPort) uint32 {
	r.t.Helper()
	var f bpf.Frontend
	r.must(r.lb.Map("frontends").Lookup(bpf.FrontendKey{Vip: bpf.AddrFrom(vip.Addr()), Port: bpf.Htons(vip.Port()), Proto: uint8(maps.TCP)}, &f))
	return f.Service
}

// A translated flow whose backend is leaving is none any more: an error about it goes
// nowhere, and its next packet by its row.
func TestTranslatedBackendIsLeaving(t *testing.T) {
	for _, f := range families {
		r := newRig(t)
		r.sync(service("web", maps.TCP, f.vip, f.pod))
		r.handshake(f.client, f.vip)
		about := packet.Error(f.client.Addr(), f.vip.Addr(), f.tooBig[0], f.tooBig[1], 1400, packet.TCP(f.vip, f.client, packet.ACK, nil).IP())
		about.SrcMAC = packet.RouterMAC
		r.is("icmp_forward", about.Frame())
		r.leave(func(bpf.Backend) bool { return true })
		r.is("drop_icmp", about.Frame())
		r.is("forward", packet.TCP(f.client, f.vip, packet.ACK, nil).Frame())
	}
}
