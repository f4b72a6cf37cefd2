package hostile

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// beside has two run f side by side with what comes, in the node's namespace. An error of one calls stop.
func (r *rig) beside(stop func(), f func(runner int) error) *sync.WaitGroup {
	var all sync.WaitGroup
	for runner := range 2 {
		all.Go(func() {
			if err := r.node.Do(func() error { return f(runner) }); err != nil {
				r.t.Error(err)
				stop()
			}
		})
	}
	return &all
}

// once runs the program on a frame, and gives what it made of that in out. It may run beside others.
func (r *rig) once(frame, out []byte) (action uint32, got []byte, err error) {
	opts := &ebpf.RunOptions{
		Data: frame, DataOut: out, Repeat: 1,
		Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.up0.Index)},
	}
	action, err = r.lb.Program().Run(opts)
	return action, opts.DataOut, err
}

// The kernel uses a replaced element's memory again for the next one at once, while
// programs may still read it. Frontends that move from service to service must not
// be taken for each other.
func TestFrontendsAreReadWhole(t *testing.T) {
	r := newRig(t, func(c *bpf.Config) { c.MaxFlows = 1 << 18; c.Ports = bpf.PortRange{First: 1024, Last: 60000} })
	vipB, podB := addr("198.51.100.2", 80), addr("10.1.0.9", 8080)
	wants := []maps.Want{
		r.want(service("a", maps.TCP, vip4, pod4), service("b", maps.TCP, vipB, podB)),
		r.want(service("c", maps.TCP, vip4, pod4), service("d", maps.TCP, vipB, podB)),
	}
	r.must(r.tables.Sync(t.Context(), wants[0]))
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	all := r.beside(stop, func(runner int) error {
		out := make([]byte, 256)
		for i := 0; ctx.Err() == nil; i++ {
			vip, pod := vip4, pod4
			if i%2 == 1 {
				vip, pod = vipB, podB
			}
			_, got, err := r.once(packet.TCP(port(from(i), uint16(runner<<15+i%20000)), vip, packet.SYN, nil).Frame(), out)
			if err != nil {
				return err
			}
			if src, dst := ends(got); src.Addr() == source4 && dst != pod {
				return fmt.Errorf("packet %d to %s came to %s", i, vip, dst)
			}
		}
		return nil
	})
	for i := 1; ctx.Err() == nil; i++ {
		r.must(r.tables.Sync(t.Context(), wants[i%2]))
	}
	all.Wait()
	for _, c := range r.verdicts() {
		if c.Packets > 0 {
			t.Log(c.Name, c.Packets)
		}
	}
}

// A backend's packets come to be translated where they were tunnelled, and the other way round, in
// place: a program that is under way then does the one or the other.
func TestForwardingChanges(t *testing.T) {
	r := newRig(t)
	var wants [2]maps.Want
	for way := range wants {
		var services []maps.Service
		for name, f := range families {
			s := direct(name, maps.TCP, f.vip, 3, false)
			for i := range s.Backends {
				if way == 1 {
					s.Backends[i].Tunnel = netip.Addr{}
				}
			}
			services = append(services, s)
		}
		wants[way] = r.wantDirect(services...)
	}
	r.must(r.tables.Sync(t.Context(), wants[0]))
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	all := r.beside(stop, func(int) error {
		out := make([]byte, 512)
		for i := 0; ctx.Err() == nil; i++ {
			for _, p := range requests(i % 60000) {
				if _, _, err := r.once(p.Frame(), out); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for i := 1; ctx.Err() == nil; i++ {
		r.must(r.tables.Sync(t.Context(), wants[i%2]))
	}
	all.Wait()
	seen := map[string]uint64{}
	for _, c := range r.verdicts() {
		seen[c.Name] = c.Packets
	}
	if seen["drop_table"] > 0 || seen["abort"] > 0 || seen["encap"] == 0 || seen["forward"] == 0 {
		t.Errorf("%d packets were tunnelled, %d translated, %d met a table that points at nothing, %d a fault",
			seen["encap"], seen["forward"], seen["drop_table"], seen["abort"])
	}
}
