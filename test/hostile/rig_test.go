package hostile

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet"
)

// The numbers of enum xdp_action.
const (
	xdpAborted  = 0
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

var (
	client4, client6 = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("[2001:db8:a::1]:40000")
	other4           = netip.MustParseAddrPort("192.0.2.99:41000")
	vip4, vip6       = netip.MustParseAddrPort("198.51.100.1:80"), netip.MustParseAddrPort("[2001:db8:f::1]:80")
	pod4, pod6       = netip.MustParseAddrPort("10.1.0.1:8080"), netip.MustParseAddrPort("[2001:db8:2::1]:8080")
	source4, source6 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8:1000::1")
	gatewayMAC       = maps.MAC{2, 0, 0, 0, 0xfe, 0}
	hopSrc, hopDst   = maps.MAC{2, 1, 1, 1, 1, 1}, maps.MAC{2, 2, 2, 2, 2, 2}
)

// rig is a program loaded in a namespace whose device up0 frames come in by. The
// clients are behind its default route.
type rig struct {
	t        testing.TB
	cfg      bpf.Config
	node     *fixture.Netns
	lb       *bpf.LB
	tables   *maps.Tables
	jobs     chan func()
	up0, up1 *net.Interface
}

func newRig(t testing.TB, change ...func(*bpf.Config)) *rig {
	t.Helper()
	r := &rig{t: t, jobs: make(chan func()), node: fixture.NewNetns(t, "node")}
	peer := fixture.NewNetns(t, "peer")
	r.node.Forward(t)
	fixture.Link(t, r.node, "up0", peer, "peer0", fixture.LinkOptions{AddrsA: []string{"10.0.0.1/24", "2001:db8:1000::1/64"}})
	fixture.Link(t, r.node, "up1", peer, "peer1", fixture.LinkOptions{AddrsA: []string{"10.0.1.1/24"}})
	for _, gateway := range []string{"10.0.0.254", "2001:db8:1000::fe"} {
		r.node.Run(t, "ip", "neigh", "replace", gateway, "lladdr", gatewayMAC.String(), "nud", "permanent", "dev", "up0")
		r.node.Run(t, "ip", "route", "add", "default", "via", gateway)
	}
	r.node.Run(t, "ip", "route", "add", "blackhole", "203.0.113.0/24")
	ended := make(chan error, 1)
	go func() {
		ended <- r.node.Do(func() error {
			for job := range r.jobs {
				job()
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		close(r.jobs)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	r.cfg = bpf.Config{
		Pins:     filepath.Join(fixture.MountBPFFS(t), "penstock"),
		Timeouts: bpf.Timeouts{SYN: 30 * time.Second, Established: 3 * time.Hour, Closing: time.Minute, Closed: 5 * time.Second, UDP: 3 * time.Minute},
		Ports:    bpf.PortRange{First: 20000, Last: 29999}, UnmatchedReject: true, ICMPRate: 1 << 30,
		TunnelPort: tunnelPort, BounceRate: 1 << 30,
		MaxFrontends: 64, MaxBackends: 64, MaxRows: 1 << 12, MaxFlows: 1 << 14, MaxChains: 1 << 12, MaxLearned: 1 << 12,
	}
	for _, c := range change {
		c(&r.cfg)
	}
	r.do(func() {
		var err error
		if r.up0, err = net.InterfaceByName("up0"); err == nil {
			r.up1, err = net.InterfaceByName("up1")
		}
		if err != nil {
			t.Error(err)
		}
	})
	r.open()
	t.Cleanup(func() { r.close() })
	if err := r.lb.Map("devices").Put(uint32(r.up1.Index), uint32(r.up1.Index)); err != nil {
		t.Fatal(err)
	}
	return r
}

// do runs a job inside the namespace.
func (r *rig) do(job func()) {
	done := make(chan struct{})
	r.jobs <- func() { defer close(done); job() }
	<-done
}

func (r *rig) open() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	var err error
	if r.lb, err = bpf.Load(r.cfg, log); err != nil {
		r.t.Fatal(err)
	}
	if r.tables, err = maps.Open(r.lb, maps.Options{Rows: 16, Timeouts: r.cfg.Timeouts, Chain: chainOptions}, log); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	if r.lb == nil {
		return
	}
	if r.tables != nil {
		if err := r.tables.Close(); err != nil {
			r.t.Error(err)
		}
		r.tables = nil
	}
	if err := r.lb.Close(); err != nil {
		r.t.Error(err)
	}
	r.lb = nil
}

// restart stands for an agent that died and comes back.
func (r *rig) restart() {
	r.t.Helper()
	r.close()
	r.open()
}

func (r *rig) sync(services ...maps.Service) {
	r.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			r.t.Fatalf("Sync panics: %v", p)
		}
	}()
	if err := r.tables.Sync(context.Background(), r.want(services...)); err != nil {
		r.t.Fatal(err)
	}
}

// want has a next hop on up0 for all backends.
func (r *rig) want(services ...maps.Service) maps.Want {
	w := maps.Want{Services: services, NextHops: map[netip.Addr]maps.NextHop{}}
	for _, s := range services {
		for _, b := range s.Backends {
			hop := maps.NextHop{Ifindex: uint32(r.up0.Index), SrcMAC: hopSrc, DstMAC: hopDst, MTU: 1500, Source: source4}
			if b.Addr.Addr().Is6() {
				hop.Source = source6
			}
			w.NextHops[b.Addr.Addr()] = hop
		}
	}
	return w
}

func service(name string, proto maps.Proto, vip netip.AddrPort, pods ...netip.AddrPort) maps.Service {
	s := maps.Service{Name: name, Frontends: []maps.Frontend{{VIP: vip.Addr(), Port: vip.Port(), Proto: proto}}}
	for _, p := range pods {
		s.Backends = append(s.Backends, maps.Backend{Addr: p, Weight: 1})
	}
	return s
}

// result is what became of a frame.
type result struct {
	action  uint32
	verdict string
	frame   []byte
}

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

// run runs the program once. Exactly one counter must move, by the packet's length.
func (r *rig) run(frame []byte) result {
	r.t.Helper()
	return r.runWith(frame, 0)
}

// runWith puts so many bytes of metadata in front of the frame, which are not
// there for the program to grow into.
func (r *rig) runWith(frame []byte, metadata int) result {
	r.t.Helper()
	data := append(make([]byte, metadata), frame...)
	opts := &ebpf.RunOptions{
		Data: data, DataOut: make([]byte, len(frame)+512),
		Context: xdpMD{Data: uint32(metadata), DataEnd: uint32(len(data)), IngressIfindex: uint32(r.up0.Index)},
	}
	before := r.verdicts()
	var ret uint32
	var err error
	r.do(func() { ret, err = r.lb.Program().Run(opts) })
	if err != nil {
		r.t.Fatalf("run the program on %d bytes: %v", len(frame), err)
	}
	var moved []string
	for i, c := range r.verdicts() {
		for range c.Packets - before[i].Packets {
			moved = append(moved, c.Name)
		}
	}
	if len(moved) != 1 {
		r.t.Fatalf("a packet moved the counters of verdicts %v", moved)
	}
	return result{ret, moved[0], opts.DataOut}
}

func (r *rig) verdicts() []maps.VerdictCount {
	r.t.Helper()
	counts, err := r.tables.Verdicts()
	if err != nil {
		r.t.Fatal(err)
	}
	return counts
}

// is runs a frame whose verdict is known.
func (r *rig) is(verdict string, frame []byte) []byte {
	r.t.Helper()
	got := r.run(frame)
	if got.verdict != verdict {
		r.t.Errorf("verdict %s, want %s, for\n%s", got.verdict, verdict, packet.String(frame))
	}
	return got.frame
}

// ends are the addresses and ports of a frame without tags and options.
func ends(frame []byte) (src, dst netip.AddrPort) {
	at := 14 + 20
	if frame[14]>>4 == 6 {
		at = 14 + 40
		src, dst = addrPort(frame[22:38], frame[at:]), addrPort(frame[38:54], frame[at+2:])
		return src, dst
	}
	return addrPort(frame[26:30], frame[at:]), addrPort(frame[30:34], frame[at+2:])
}

func addrPort(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// handshake opens a TCP flow and returns the node's and the backend's end of it.
func (r *rig) handshake(client, vip netip.AddrPort) (node, backend netip.AddrPort) {
	r.t.Helper()
	node, backend = ends(r.is("forward", packet.TCP(client, vip, packet.SYN, nil).Frame()))
	r.is("reply", packet.TCP(backend, node, packet.SYN|packet.ACK, nil).Frame())
	r.is("forward", with(packet.TCP(client, vip, packet.ACK, nil), func(h *packet.TCPHeader) { h.Seq, h.Ack = 2000, 1001 }).Frame())
	return node, backend
}

func with(p packet.Packet, change func(*packet.TCPHeader)) packet.Packet {
	change(p.Transport.(*packet.TCPHeader))
	return p
}

// flow returns the half of a flow whose packets go from src to dst.
func (r *rig) flow(src, dst netip.AddrPort, proto maps.Proto) (bpf.Tuple, bpf.Flow) {
	r.t.Helper()
	key := bpf.Tuple{Src: bpf.AddrFrom(src.Addr()), Dst: bpf.AddrFrom(dst.Addr()),
		Sport: bpf.Htons(src.Port()), Dport: bpf.Htons(dst.Port()), Proto: uint8(proto)}
	var f bpf.Flow
	if err := r.lb.Map("flows").Lookup(key, &f); err != nil {
		r.t.Fatalf("no flow from %s to %s: %v", src, dst, err)
	}
	return key, f
}

// age moves the half's last packet ticks into the past.
func (r *rig) age(src, dst netip.AddrPort, proto maps.Proto, ticks uint32) {
	r.t.Helper()
	key, f := r.flow(src, dst, proto)
	f.Seen -= ticks
	if err := r.lb.Map("flows").Put(key, f); err != nil {
		r.t.Fatal(err)
	}
}

// must fails the test on an error.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func addr(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// from returns clients whose hashes reach many rows.
func from(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i%250)}), uint16(30000+i))
}

// goesTo runs new flows and wants each at one of pods.
func (r *rig) goesTo(vip netip.AddrPort, pods ...netip.AddrPort) {
	r.t.Helper()
	want := map[netip.AddrPort]bool{}
	for _, p := range pods {
		want[p] = true
	}
	for i := range 200 {
		got := r.run(packet.TCP(from(i), vip, packet.SYN, nil).Frame())
		if got.verdict != "forward" {
			continue
		}
		if _, dst := ends(got.frame); !want[dst] {
			r.t.Fatalf("a client of %s came to %s, which is none of %v", vip, dst, pods)
		}
	}
}
