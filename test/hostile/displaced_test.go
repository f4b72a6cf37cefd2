package hostile

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// rollout is a Deployment of some pods whose oldest is replaced in each step. What
// it was in each step is kept, for who has to know what may have been seen.
type rollout struct {
	pods  []maps.Backend
	next  int
	steps []map[netip.AddrPort]bool // by step, who was there
	done  atomic.Uint32             // steps that are in force
}

const rolloutPods = 4

func (o *rollout) pod(now time.Time) maps.Backend {
	i := o.next
	o.next++
	return maps.Backend{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 7), byte(1 + i&0x7f)}), 8080), Weight: 1,
		Tunnel: ingressNode(i%4, false), BornAt: now.Add(-time.Second), EligibleSince: now,
	}
}

// step lets the oldest pod drain, takes away the one that drained before, and adds
// a pod.
func (o *rollout) step(now time.Time) maps.Service {
	if len(o.pods) > rolloutPods {
		o.pods = o.pods[1:]
	}
	o.pods = append(o.pods, o.pod(now))
	for len(o.pods) <= rolloutPods {
		o.pods = append(o.pods, o.pod(now))
	}
	oldest := &o.pods[0]
	oldest.Draining, oldest.EligibleSince, oldest.LostAt = true, time.Time{}, now
	s := service("web", maps.TCP, vip4)
	s.Backends = append(s.Backends, o.pods...)
	there := map[netip.AddrPort]bool{}
	for _, b := range o.pods {
		there[b.Addr] = true
	}
	o.steps = append(o.steps, there)
	return s
}

// follow sends a flow's packets, each as often as it is bounced, and tells where the
// flow is found. owner is invalid for a packet that opens the flow.
func (r *rig) follow(client netip.AddrPort, flags packet.TCPFlags, owner netip.AddrPort, out []byte) (packet.Opened, int, error) {
	frame := packet.TCP(client, vip4, flags, nil).Frame()
	for turn := 1; ; turn++ {
		action, got, err := r.once(frame, out)
		if err != nil {
			return packet.Opened{}, turn, err
		}
		o, err := packet.OpenTunnel(got)
		if action != xdpTX || err != nil {
			return o, turn, fmt.Errorf("turn %d of a packet from %s ends with action %d, %w", turn, client, action, err)
		}
		if o.Pod == owner || !owner.IsValid() || o.Flags&packet.Accept != 0 {
			return o, turn, nil
		}
		if turn > turnsMax {
			return o, turn, fmt.Errorf("a packet from %s is still on its way after %d turns", client, turn)
		}
		frame = back(o).Frame()
	}
}

// TestDisplacedFlowsAreFound replaces pods one by one under traffic, as fast as Sync
// does. Each packet comes to its flow's pod, as long as that is there, and a new flow
// to a pod that was there before the change or is after it.
func TestDisplacedFlowsAreFound(t *testing.T) {
	r := newRig(t)
	o := &rollout{}
	var mu sync.Mutex // of o
	next := func() maps.Want {
		mu.Lock()
		defer mu.Unlock()
		w := r.wantDirect(o.step(time.Now()))
		for i := range 4 {
			w.Members = append(w.Members, maps.Member{Addr: ingressNode(i, false), Backend: true})
		}
		return w
	}
	r.must(r.tables.Sync(t.Context(), next()))
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	since := func(from, to uint32, pod netip.AddrPort) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range o.steps[from:min(int(to)+1, len(o.steps))] {
			if s[pod] {
				return true
			}
		}
		return false
	}
	var begun atomic.Uint32
	var found, displaced atomic.Uint64
	all := r.beside(stop, func(runner int) error {
		out := make([]byte, 512)
		owners := map[netip.AddrPort]netip.AddrPort{}
		for i := 0; ctx.Err() == nil; i++ {
			client := port(from(i%200), uint16(2000+runner*1000+i%200))
			before := o.done.Load()
			owner, known := owners[client]
			flags := packet.ACK
			if !known {
				flags = packet.SYN
			}
			at, turns, err := r.follow(client, flags, owner, out)
			if err != nil {
				return err
			}
			after := begun.Load()
			switch {
			case !since(before, after, at.Pod):
				return fmt.Errorf("a packet from %s came to %s, which was not there from step %d to %d", client, at.Pod, before, after)
			case !known:
				owners[client] = at.Pod
			case at.Pod == owner:
				found.Add(1)
				if turns > 1 || at.Hop != 0 {
					displaced.Add(1)
				}
			case !gone(&mu, o, after, owner):
				return fmt.Errorf("the flow from %s is on %s, and %s was told to take it, hop %d, turn %d, steps %d to %d",
					client, owner, at.Pod, at.Hop, turns, before, after)
			default:
				delete(owners, client)
			}
		}
		return nil
	})
	for ctx.Err() == nil {
		w := next()
		begun.Add(1)
		if err := r.tables.Sync(context.Background(), w); err != nil {
			t.Error(err)
			stop()
		}
		o.done.Add(1)
		r.forgetLearned() // as on an LB node that the flows come to for the first time
	}
	all.Wait()
	t.Logf("%d steps, %d packets of known flows, %d of them displaced", begun.Load(), found.Load(), displaced.Load())
	if begun.Load() < 10 || displaced.Load() < 100 {
		t.Errorf("only %d steps and %d packets of displaced flows", begun.Load(), displaced.Load())
	}
	for _, c := range r.verdicts() {
		if c.Packets > 0 && c.Name != "encap" && c.Name != "encap_next" {
			t.Errorf("%d packets had verdict %s", c.Packets, c.Name)
		}
	}
}

func (r *rig) forgetLearned() {
	m := r.lb.Map("learned")
	var hash uint64
	for m.NextKey(nil, &hash) == nil {
		if m.Delete(hash) != nil { // a packet was faster
			return
		}
	}
}

// gone says whether the pod is not there in the latest of the steps.
func gone(mu *sync.Mutex, o *rollout, latest uint32, pod netip.AddrPort) bool {
	mu.Lock()
	defer mu.Unlock()
	return !o.steps[min(int(latest), len(o.steps)-1)][pod]
}
