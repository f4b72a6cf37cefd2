package hostile

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

// generation is that of the learned filter which the program writes to now, counted
// from the boot.
func generation(t *testing.T) uint32 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return uint32(now.Nano()>>bpf.TickShift) >> bpf.FilterShift
}

// turn makes everything in the filter n generations older. What had not been emptied
// in time would be young again, so it is emptied, as the agent does.
func (r *rig) turn(t *testing.T, n uint32) {
	t.Helper()
	m, now := r.lb.Map("learned_filter"), generation(t)
	words := m.MaxEntries() / bpf.FilterGenerations
	for i := range words {
		word := func(age uint32) uint32 { return (now-age)%bpf.FilterGenerations*words + i }
		for age := uint32(bpf.FilterGenerations); age > 0; age-- {
			var have, want uint64
			if age > n {
				r.must(m.Lookup(word(age-1-n), &want))
			}
			r.must(m.Lookup(word(age-1), &have))
			if have != want {
				r.must(m.Put(word(age-1), want))
			}
		}
	}
}

// displace makes a flow live on the row's second owner, as the program comes to know.
func (r *rig) displace(f family) (ack packet.Packet, second packet.Opened) {
	r.t.Helper()
	ack = packet.TCP(f.client, f.vip, packet.ACK, nil)
	first := r.opened("encap", ack.Frame())
	second = r.opened("encap_next", back(first).Frame())
	if o := r.opened("encap", ack.Frame()); o.Dst != second.Dst || o.Hop != packet.HopLearned {
		r.t.Fatalf("after %s kept the flow, its next packet goes to %s, hop %d", second.Dst, o.Dst, o.Hop)
	}
	return ack, second
}

// What was learned is known for two generations after its last use, and is made known
// again by each.
func TestLearnedFilterForgets(t *testing.T) {
	r := directRig(t, 3, false)
	for _, f := range families {
		began := generation(t)
		ack, second := r.displace(f)
		r.turn(t, 1)
		if o := r.opened("encap", ack.Frame()); o.Dst != second.Dst || o.Hop != packet.HopLearned {
			t.Errorf("in the next generation: %s, hop %d", o.Dst, o.Hop)
		}
		r.turn(t, 1) // known, for it was used in between
		if o := r.opened("encap", ack.Frame()); o.Dst != second.Dst || o.Hop != packet.HopLearned {
			t.Errorf("two generations after, but used in between: %s, hop %d", o.Dst, o.Hop)
		}
		r.turn(t, 2)
		if o := r.opened("encap", ack.Frame()); o.Hop != 0 && generation(t) == began {
			t.Errorf("not used for two generations: %s, hop %d", o.Dst, o.Hop)
		}
	}
}

// A client that uses its port again opens the flow on the primary, and the old one's
// owner is forgotten.
func TestSYNForgetsWhatWasLearned(t *testing.T) {
	r := directRig(t, 3, true)
	for _, f := range families {
		ack, second := r.displace(f)
		for range 2 {
			if o := r.opened("encap", packet.TCP(f.client, f.vip, packet.SYN, nil).Frame()); o.Hop != 0 || o.Dst == second.Dst {
				t.Errorf("a SYN goes to %s, hop %d", o.Dst, o.Hop)
			}
		}
		if o := r.opened("encap", ack.Frame()); o.Hop != 0 || o.Dst == second.Dst {
			t.Errorf("after the SYN its ACK goes to %s, hop %d", o.Dst, o.Hop)
		}
	}
}

// What was learned is an element's number. When the backend is gone, the number may
// mean another service's, or one that is translated: then it is as if nothing was.
func TestLearnedBackendIsGone(t *testing.T) {
	r := directRig(t, 3, false)
	ack, _ := r.displace(families["ipv4"])
	learned := r.lb.Map("learned")
	var hash uint64
	var kept bpf.LearnedOwner
	r.must(learned.NextKey(nil, &hash))
	r.must(learned.Lookup(hash, &kept))
	var of bpf.Backend
	r.must(r.lb.Map("backends").Lookup(kept.Backend, &of))
	if of.Service != kept.Service {
		t.Fatalf("learned backend %d of service %d, which is of service %d", kept.Backend, kept.Service, of.Service)
	}
	var foreign uint32
	for i := uint32(0); of.Service == kept.Service; i++ {
		r.must(r.lb.Map("backends").Lookup(i, &of))
		foreign = i
	}
	for name, lie := range map[string]bpf.LearnedOwner{
		"out of range":         {Backend: 1 << 20, Service: kept.Service},
		"free":                 {Backend: 255, Service: kept.Service},
		"another service's":    {Backend: foreign, Service: kept.Service},
		"for another service":  {Backend: kept.Backend, Service: of.Service},
		"all of another's":     {Backend: foreign, Service: of.Service},
		"no backend, all bits": {Backend: ^uint32(0), Service: ^uint32(0)},
	} {
		r.must(learned.Put(hash, lie))
		if o := r.opened("encap", ack.Frame()); o.Hop != 0 {
			t.Errorf("%s: the packet goes to %s, hop %d", name, o.Dst, o.Hop)
		}
	}
	// And one whose packets came to be translated: only that is asked no more.
	r.must(learned.Put(hash, kept))
	r.opened("encap", ack.Frame())
	r.must(r.lb.Map("backends").Lookup(kept.Backend, &of))
	of.Tunnel = 0
	r.must(r.lb.Map("backends").Put(kept.Backend, of))
	if o := r.opened("encap", ack.Frame()); o.Hop != 0 {
		t.Errorf("its owner is translated, and the packet goes to %s, hop %d", o.Dst, o.Hop)
	}
}
