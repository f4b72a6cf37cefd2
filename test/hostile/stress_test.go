package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// state is a wanted state: the service of each frontend and the pods of each service.
type state struct {
	owner map[netip.AddrPort]string
	pods  map[string]map[netip.AddrPort]bool
}

func stateOf(want maps.Want) state {
	p := state{map[netip.AddrPort]string{}, map[string]map[netip.AddrPort]bool{}}
	for _, s := range want.Services {
		for _, f := range s.Frontends {
			p.owner[netip.AddrPortFrom(f.VIP, f.Port)] = s.Name
		}
		p.pods[s.Name] = map[netip.AddrPort]bool{}
		for _, b := range s.Backends {
			p.pods[s.Name][b.Addr] = true
		}
	}
	return p
}

// history has the wanted states by number, the first done and begun of them.
type history struct {
	states      []state
	done, begun atomic.Uint32
}

// has says whether a service that had the frontend in any of the states had the
// pod in any of them. (A service may have its new pods before another one takes
// its frontend.)
func (h *history) has(vip, pod netip.AddrPort, since, until uint32) bool {
	for _, o := range h.states[since : until+1] {
		for _, s := range h.states[since : until+1] {
			if s.pods[o.owner[vip]][pod] {
				return true
			}
		}
	}
	return false
}

// TestSyncUnderTraffic changes the tables at random while packets run. Each packet
// comes to a pod that its service has before or after the change, and none to a
// pod that was removed before it came.
func TestSyncUnderTraffic(t *testing.T) {
	const runners = 3
	r := newRig(t, func(c *bpf.Config) {
		c.Ports = bpf.PortRange{First: 1024, Last: 60000}
		c.MaxFlows, c.MaxRows = 1<<18, 1<<13
	})
	r.must(r.tables.Sync(t.Context(), r.randomWant(0)))
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Second)
	defer stop()
	h := &history{states: make([]state, 1<<16)}
	h.states[0] = stateOf(r.randomWant(0))
	var packets, forwarded atomic.Uint64
	var all sync.WaitGroup
	for i := range runners {
		all.Go(func() {
			if err := r.node.Do(func() error { return r.traffic(ctx, uint16(i), h, &packets, &forwarded) }); err != nil {
				t.Error(err)
				stop()
			}
		})
	}
	syncs := 0
	for ; ctx.Err() == nil; syncs++ {
		want := r.randomWant(syncs + 1)
		h.states[syncs+1] = stateOf(want)
		h.begun.Add(1)
		if err := r.tables.Sync(context.Background(), want); err != nil {
			t.Error(err)
			stop()
		}
		h.done.Add(1)
	}
	all.Wait()
	for _, c := range r.verdicts() {
		if c.Packets > 0 {
			t.Log(c.Name, c.Packets)
		}
		if c.Packets > 0 && (c.Name == "drop_table" || c.Name == "abort" || c.Name == "drop_malformed") {
			t.Errorf("%d packets had verdict %s", c.Packets, c.Name)
		}
	}
	t.Logf("%d syncs, %d packets, %d forwarded", syncs, packets.Load(), forwarded.Load())
	if syncs < 20 || forwarded.Load() < 1000 {
		t.Errorf("only %d syncs and %d packets", syncs, forwarded.Load())
	}
}

// traffic sends SYNs and packets of flows that may be known.
func (r *rig) traffic(ctx context.Context, runner uint16, h *history, packets, forwarded *atomic.Uint64) error {
	random := rand.New(rand.NewPCG(uint64(runner), 1))
	prog := r.lb.Program()
	out := make([]byte, 256)
	for ctx.Err() == nil {
		vip := stressVIP(random.IntN(12))
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(200))}), 1000+runner<<12|uint16(random.IntN(64)))
		flags := packet.SYN
		if random.IntN(3) > 0 {
			flags = packet.ACK
		}
		frame := packet.TCP(client, vip, flags, nil).Frame()
		since := h.done.Load()
		opts := &ebpf.RunOptions{Data: frame, DataOut: out,
			Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.up0.Index)}}
		if _, err := prog.Run(opts); err != nil {
			return err
		}
		packets.Add(1)
		src, dst := ends(opts.DataOut)
		if src.Addr() != source4 {
			continue // not forwarded
		}
		forwarded.Add(1)
		if until := h.begun.Load(); !h.has(vip, dst, since, until) {
			return fmt.Errorf("a packet from %s to %s came to %s, which is no pod of its service from state %d to %d: %v", client, vip, dst, since, until, h.states[since:until+1])
		}
	}
	return nil
}

func stressVIP(i int) netip.AddrPort {
	return addr(fmt.Sprintf("198.51.100.%d", 1+i%4), uint16(80+i/4))
}

// randomWant draws services by a seed. Each has pods of its own, of changing
// number and weight; frontends go from one to another, and some services are away.
func (r *rig) randomWant(seed int) maps.Want {
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	services := make([]maps.Service, 6)
	for i := range services {
		services[i].Name = fmt.Sprint("service-", i)
		for pod := range random.IntN(6) {
			a := addr(fmt.Sprintf("10.1.%d.%d", i, 1+(pod+random.IntN(3))%6), uint16(8000+pod))
			services[i].Backends = append(services[i].Backends, maps.Backend{Addr: a, Weight: uint32(random.IntN(3))})
		}
	}
	for f := range 12 {
		owner := f / 2
		if random.IntN(4) == 0 {
			owner = random.IntN(6)
		}
		if random.IntN(10) == 0 {
			continue
		}
		vip := stressVIP(f)
		services[owner].Frontends = append(services[owner].Frontends, maps.Frontend{VIP: vip.Addr(), Port: vip.Port(), Proto: maps.TCP})
	}
	var some []maps.Service
	for _, s := range services {
		if len(s.Frontends) > 0 {
			some = append(some, s)
		}
	}
	random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return r.want(some...)
}
