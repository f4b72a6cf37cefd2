package hostile

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// An ingress node falls silent, in truth or because probes are lost. New flows go
// elsewhere at once. One that it has is not taken by anybody else, whose pod would
// reset it: the flow goes on when the node is back. Only datagrams, which may as well
// begin a flow, are.
func TestSilentNodeKeepsItsFlows(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.MaxRows, c.MaxBackends = 1<<16, 256 })
	for name, f := range families {
		ack, ask := packet.TCP(f.client, f.vip, packet.ACK, nil), packet.UDP(f.client, f.vip, nil)

		owner := r.fallsSilent(direct("web", maps.TCP, f.vip, 3, false), ack.Frame())
		if o := r.opened("encap", packet.TCP(f.client, f.vip, packet.SYN, nil).Frame()); o.Dst == owner.Dst {
			t.Errorf("%s: a new flow goes to the silent node", name)
		}
		for range 2 {
			o := r.last(ack.Frame())
			if o.Dst != owner.Dst || o.Pod != owner.Pod || o.Flags != 0 {
				t.Errorf("%s: a packet of the silent node's flow ends at %s, flags %d", name, o.Dst, o.Flags)
			}
			r.is("drop_tunnel", back(o).Frame()) // it answers after all, and never had the flow
			if o := r.opened("encap", ack.Frame()); o.Dst != owner.Dst || o.Hop != packet.HopLearned {
				t.Errorf("%s: the next packet makes its round again, by %s", name, o.Dst)
			}
		}

		owner = r.fallsSilent(direct("dns", maps.UDP, f.vip, 3, false), ask.Frame())
		if o := r.last(ask.Frame()); o.Dst == owner.Dst || o.Flags != packet.Accept {
			t.Errorf("%s: a datagram ends at %s, flags %d", name, o.Dst, o.Flags)
		}
	}
}

// fallsSilent has the node not answer that the packet goes to, with what the agent makes
// of its backends, and returns where that was.
func (r *rig) fallsSilent(s maps.Service, frame []byte) packet.Opened {
	r.t.Helper()
	r.must(r.tables.Sync(r.t.Context(), r.wantDirect(s)))
	owner := r.opened("encap", frame)
	for i := range s.Backends {
		if b := &s.Backends[i]; b.Tunnel == owner.Dst.Addr() {
			b.Draining, b.LostAt = true, b.EligibleSince
		}
	}
	w := r.wantDirect(s)
	w.Dead = map[netip.Addr]bool{owner.Dst.Addr(): true}
	r.must(r.tables.Sync(r.t.Context(), w))
	return owner
}

// last is where a packet goes at last if everybody sends it back.
func (r *rig) last(frame []byte) packet.Opened {
	r.t.Helper()
	o := r.opened("encap", frame)
	for turns := 1; o.Hop < hopEnd || o.Hop == packet.HopLearned; turns++ {
		if turns > turnsMax {
			r.t.Fatalf("hop %d after %d turns", o.Hop, turns)
		}
		o = r.opened("encap_next", back(o).Frame())
	}
	return o
}

// hopEnd is behind all owners of a row.
const hopEnd = uint8(1 + bpf.ChainMax + bpf.RanksMax)
