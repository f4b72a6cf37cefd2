package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet"
)

// The VIP's frontend, the client of one-flow scenarios, the node and its gateway.
// Clients of many-flow scenarios are in 10.0.0.0/8.
var (
	vip     = netip.MustParseAddrPort("198.51.100.10:80")
	client  = netip.MustParseAddrPort("10.255.0.1:40000")
	node    = netip.MustParseAddr("172.16.0.1")
	gateway = "172.16.0.254"
	podMAC  = maps.MAC{2, 0, 0, 0, 0, 9}
)

const (
	backends  = 100 // enough ports for a million flows
	frameSize = 60
)

// rig is the harness with the programs that it can stand before, in a namespace of
// which run's caller has a thread.
type rig struct {
	harness harnessObjects
	hits    *loaded // its flows stay
	fresh   *loaded // its flows are new ones for ever
	direct  *loaded // through tunnels, all rows stable
	chained *loaded // through tunnels, all rows chained, no flow displaced
	learned *loaded // through tunnels, all rows chained, displaced flows learned
	few     *loaded // as direct, for clients of one range
	ranges  *loaded // as direct, for clients of a thousand
	ingress *bpf.Node
	ifindex uint32
	close   []func() error
}

// loaded is a load balancer with one service.
type loaded struct {
	lb     *bpf.LB
	tables *maps.Tables
}

// newNetns makes the namespace that the rig's packets come from.
func newNetns(tb fixture.TB) *fixture.Netns {
	ns, peer := fixture.NewNetns(tb, "lb"), fixture.NewNetns(tb, "router")
	ns.Forward(tb)
	fixture.Link(tb, ns, "up0", peer, "lb", fixture.LinkOptions{AddrsA: []string{node.String() + "/24"}})
	ns.Run(tb, "ip", "neigh", "replace", gateway, "lladdr", podMAC.String(), "nud", "permanent", "dev", "up0")
	ns.AddRoute(tb, "10.0.0.0/8", gateway)
	return ns
}

// newRig loads everything. flows is how many the tables shall hold at least.
func newRig(pins string, flows int) (_ *rig, err error) {
	r := &rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	dev, err := net.InterfaceByName("up0")
	if err != nil {
		return nil, err
	}
	r.ifindex = uint32(dev.Index)
	spec, err := loadHarness()
	if err != nil {
		return nil, err
	}
	spec.Maps["mappings"].MaxEntries = uint32(2 * flows)
	if err := spec.LoadAndAssign(&r.harness, nil); err != nil {
		return nil, fmt.Errorf("load harness: %w", err)
	}
	r.close = append(r.close, r.harness.Close)
	// Two entries a flow, and room for the LRU lists of each CPU.
	if r.hits, err = r.load(filepath.Join(pins, "hits"), uint32(4*flows), r.service(nil)); err != nil {
		return nil, err
	}
	if r.fresh, err = r.load(filepath.Join(pins, "fresh"), uint32(flows), r.service(nil)); err != nil {
		return nil, err
	}
	if err := r.loadDirect(pins); err != nil {
		return nil, err
	}
	return r, r.fillFloors()
}

func (r *rig) Close() error {
	var errs []error
	for _, c := range slices.Backward(r.close) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// service is one with all backends, each of which change may alter.
func (r *rig) service(change func(*maps.Backend)) maps.Want {
	service := maps.Service{Name: "bench", Frontends: []maps.Frontend{{VIP: vip.Addr(), Port: vip.Port(), Proto: maps.TCP}}}
	hops := map[netip.Addr]maps.NextHop{}
	for i := range backends {
		backend := maps.Backend{Addr: netip.AddrPortFrom(pod(i), 8080), Weight: 1}
		to := backend.Addr.Addr()
		if change != nil {
			change(&backend)
		}
		if backend.Tunnel.IsValid() {
			to = backend.Tunnel
		}
		service.Backends = append(service.Backends, backend)
		hops[to] = maps.NextHop{Ifindex: r.ifindex, SrcMAC: maps.MAC(packet.NodeMAC), DstMAC: podMAC, MTU: 1500, Source: node}
	}
	return maps.Want{Services: []maps.Service{service}, NextHops: hops}
}

func (r *rig) load(pins string, flows uint32, want maps.Want) (*loaded, error) {
	log := slog.New(slog.DiscardHandler)
	timeouts := bpf.Timeouts{SYN: time.Hour, Established: time.Hour, Closing: time.Hour, Closed: time.Hour, UDP: time.Hour}
	lb, err := bpf.Load(bpf.Config{
		Pins: pins, Ports: bpf.PortRange{First: 1024, Last: 29999}, Timeouts: timeouts, UnmatchedReject: true,
		TunnelPort: tunnelPort, BounceRate: 1 << 30,
		MaxFlows: max(flows, 1<<12), MaxRows: 1 << 17, MaxBackends: 1 << 10, MaxFrontends: 1 << 10,
	}, log)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, lb.Close)
	tables, err := maps.Open(lb, maps.Options{
		Rows: 1 << 16, Timeouts: timeouts,
		Chain: chain.Options{Retention: time.Hour, ExtraRanks: 3, Longest: 3},
	}, log)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, tables.Close)
	return &loaded{lb, tables}, tables.Sync(context.Background(), want)
}

func pod(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 17, 0, byte(i + 1)}) }

// fillFloors gives the floors one VIP, whose rows name the backends in turn.
func (r *rig) fillFloors() error {
	key := harnessVip{Port: bpf.Htons(vip.Port()), Proto: uint8(maps.TCP)}
	key.Addr = networkOrder(vip.Addr())
	if err := r.harness.Vips.Put(key, uint32(0)); err != nil {
		return err
	}
	for row := range r.harness.Table.MaxEntries() {
		if err := r.harness.Table.Put(row, row%backends); err != nil {
			return err
		}
	}
	for i := range uint32(backends) {
		t := harnessTarget{Addr: networkOrder(pod(int(i))), Port: bpf.Htons(8080), Mac: podMAC}
		if err := r.harness.Targets.Put(i, t); err != nil {
			return err
		}
	}
	return nil
}

func networkOrder(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

// stream is what the harness makes: frames of 60 bytes, or the like in tunnels.
type stream struct {
	frame []byte // the template
	flows uint64 // a power of two; 1 leaves the template's source as it is, 0 is no end of them
}

// run sends n packets of a stream to a program. It returns the CPU time per packet
// in nanoseconds, and the last frame and what became of it.
func (r *rig) run(prog *ebpf.Program, s stream, stride uint64, n uint32) (ns float64, out []byte, action uint32, err error) {
	var template harnessWords
	words := make([]byte, binary.Size(template))
	copy(words, s.frame)
	if _, err := binary.Decode(words, binary.NativeEndian, &template); err != nil {
		return 0, nil, 0, err
	}
	vary := uint8(1)
	if s.flows == 1 {
		vary = 0
	}
	if err := errors.Join(
		r.harness.Template.Set(template), r.harness.FlowMask.Set(s.flows-1), r.harness.Stride.Set(stride), r.harness.Vary.Set(vary),
		r.harness.UnderTest.Put(uint32(0), prog),
	); err != nil {
		return 0, nil, 0, err
	}
	before, err := r.made()
	if err != nil {
		return 0, nil, 0, err
	}
	opts := &ebpf.RunOptions{
		Data: s.frame, DataOut: make([]byte, 512), Repeat: n,
		Context: xdpMD{DataEnd: uint32(len(s.frame)), IngressIfindex: r.ifindex},
	}
	harness := r.harness.Harness
	if len(s.frame) > frameSize {
		harness = r.harness.HarnessTunnel
	}
	start := cpuTime()
	action, err = harness.Run(opts)
	spent := cpuTime() - start
	if err != nil {
		return 0, nil, 0, err
	}
	after, err := r.made()
	return float64(spent) / float64(after-before), opts.DataOut, action, err
}

func (r *rig) made() (n uint64, err error) {
	err = r.harness.Counter.Get(&n)
	return n, err
}

func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
