package differential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet/model"
)

// judge is what a test, a property and a fuzzer have in common.
type judge interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// lab is a loaded program in a namespace whose routes are known.
type lab struct {
	lb      *bpf.LB
	tables  *maps.Tables
	jobs    chan func() // run inside the namespace
	ifindex map[string]uint32
	mac     map[string]maps.MAC
	before  []maps.VerdictCount
	seen    map[string]int // packets by verdict, where the model was sure
}

const (
	portFirst, portLast = 20000, 29999
	smallestTable       = 256
	deviceMTU           = 1500
	routeMTU            = 1300
	tunnelPort          = 6082
)

var chainOptions = chain.Options{Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 5}

var labSeed = [16]byte{0: 0x42, 5: 0x17, 9: 0x99, 15: 0x03}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{jobs: make(chan func()), ifindex: map[string]uint32{}, mac: map[string]maps.MAC{}, seen: map[string]int{}}
	node, peer := fixture.NewNetns(t, "node"), fixture.NewNetns(t, "peer")
	node.Forward(t)
	for i, dev := range []string{"up0", "up1", "side"} {
		fixture.Link(t, node, dev, peer, "peer"+dev, fixture.LinkOptions{
			AddrsA: []string{fmt.Sprintf("10.0.%d.1/24", i), fmt.Sprintf("2001:db8:%d::1/64", 0x1000+i)},
		})
		for _, gateway := range []string{gateway4(i), gateway6(i)} {
			node.Run(t, "ip", "neigh", "replace", gateway, "lladdr", gatewayMAC(i).String(), "nud", "permanent", "dev", dev)
		}
	}
	for _, r := range routes {
		if r.device < 0 {
			node.Run(t, "ip", "route", "add", "blackhole", r.prefix.String())
			continue
		}
		gateway := gateway4(r.device)
		if r.prefix.Addr().Is6() {
			gateway = gateway6(r.device)
		}
		node.Run(t, "ip", "route", "add", r.prefix.String(), "via", gateway, "mtu", "lock", fmt.Sprint(r.mtu))
	}
	ended := make(chan error, 1)
	go func() {
		ended <- node.Do(func() error {
			for job := range l.jobs {
				job()
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		close(l.jobs)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	l.load(t)
	return l
}

func (l *lab) do(job func()) {
	done := make(chan struct{})
	l.jobs <- func() { defer close(done); job() }
	<-done
}

func (l *lab) load(t testing.TB) {
	t.Helper()
	var err error
	l.do(func() {
		for _, dev := range []string{"up0", "up1", "side"} {
			var i *net.Interface
			if i, err = net.InterfaceByName(dev); err != nil {
				return
			}
			l.ifindex[dev], l.mac[dev] = uint32(i.Index), maps.MAC(i.HardwareAddr)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	timeouts := bpf.Timeouts{SYN: time.Hour, Established: time.Hour, Closing: time.Hour, Closed: time.Hour, UDP: time.Hour}
	l.lb, err = bpf.Load(bpf.Config{
		Pins: filepath.Join(fixture.MountBPFFS(t), "penstock"), Seed: labSeed, Timeouts: timeouts,
		Ports: bpf.PortRange{First: portFirst, Last: portLast}, UnmatchedReject: true, ICMPRate: 1 << 30,
		TunnelPort: tunnelPort, BounceRate: 1 << 30,
		MaxFrontends: 64, MaxBackends: 64, MaxRows: 1 << 14, MaxFlows: 1 << 14, MaxChains: 1 << 12, MaxLearned: 1 << 12,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.lb.Close() })
	opts := maps.Options{Rows: smallestTable, Seed: labSeed, Timeouts: timeouts, Chain: chainOptions}
	if l.tables, err = maps.Open(l.lb, opts, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.tables.Close() })
	// What Attach does for the devices that it attaches to.
	l.do(func() {
		for _, dev := range []string{"up0", "up1"} {
			if err == nil {
				err = l.lb.Map("devices").Put(l.ifindex[dev], l.ifindex[dev])
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// clear forgets all services, flows and fragments.
func (l *lab) clear(t judge) {
	if err := l.tables.Sync(context.Background(), maps.Want{}); err != nil {
		t.Fatalf("clear services: %v", err)
	}
	l.forget(t)
}

// forget forgets all flows and fragments.
func (l *lab) forget(t judge) {
	for _, name := range []string{"flows", "fragments", "learned"} {
		l.empty(t, name)
	}
}

func (l *lab) empty(t judge, name string) {
	m := l.lb.Map(name)
	key := make([]byte, m.KeySize())
	for m.NextKey(nil, key) == nil {
		if err := m.Delete(key); err != nil {
			t.Fatalf("clear %s: %v", name, err)
		}
	}
}

func (l *lab) sync(t judge, m *model.Model, want maps.Want) {
	if err := l.tables.Sync(context.Background(), want); err != nil {
		t.Fatalf("sync: %v", err)
	}
	if m.Sync(want) {
		l.empty(t, "learned")
	}
}

// The namespace's routes. A device below 0 is a black hole.
type labRoute struct {
	prefix netip.Prefix
	device int
	mtu    int
}

var devices = []string{"up0", "up1", "side"}

var routes = []labRoute{
	{netip.MustParsePrefix("192.0.2.0/24"), 0, deviceMTU}, {netip.MustParsePrefix("2001:db8:a::/48"), 0, deviceMTU},
	{netip.MustParsePrefix("203.0.113.0/24"), 1, deviceMTU}, {netip.MustParsePrefix("2001:db8:b::/48"), 1, deviceMTU},
	{netip.MustParsePrefix("100.64.0.0/24"), 2, deviceMTU}, {netip.MustParsePrefix("2001:db8:c::/48"), 2, deviceMTU},
	{netip.MustParsePrefix("100.65.0.0/24"), 1, routeMTU}, {netip.MustParsePrefix("2001:db8:d::/48"), 1, routeMTU},
	{netip.MustParsePrefix("100.66.0.0/24"), -1, 0}, {netip.MustParsePrefix("2001:db8:e::/48"), -1, 0},
	{netip.MustParsePrefix("10.1.0.0/16"), 0, deviceMTU}, {netip.MustParsePrefix("2001:db8:2::/48"), 0, deviceMTU},
	// Ingress nodes.
	{netip.MustParsePrefix("10.2.0.0/24"), 0, deviceMTU}, {netip.MustParsePrefix("2001:db8:3::/64"), 0, deviceMTU},
	{netip.MustParsePrefix("10.2.1.0/24"), 1, routeMTU}, {netip.MustParsePrefix("2001:db8:3:1::/64"), 1, routeMTU},
	{netip.MustParsePrefix("10.2.2.0/24"), 2, deviceMTU}, {netip.MustParsePrefix("2001:db8:3:2::/64"), 2, deviceMTU},
	{netip.MustParsePrefix("10.2.3.0/24"), -1, 0}, {netip.MustParsePrefix("2001:db8:3:3::/64"), -1, 0},
}

func gateway4(device int) string { return fmt.Sprintf("10.0.%d.254", device) }
func gateway6(device int) string { return fmt.Sprintf("2001:db8:%d::fe", 0x1000+device) }

func gatewayMAC(device int) maps.MAC { return maps.MAC{2, 0, 0, 0, 0xfe, byte(device)} }

func (l *lab) config() model.Config {
	return model.Config{
		Seed: labSeed, Rows: smallestTable, PortFirst: portFirst, PortLast: portLast, Reject: true,
		TunnelPort: tunnelPort, Chain: chainOptions,
		Ingress: l.ifindex["up0"], Devices: map[uint32]bool{l.ifindex["up0"]: true, l.ifindex["up1"]: true},
		Route: l.route, Version: l.version,
	}
}

// version is chain.h's version_of, and version_hash of the primary.
func (l *lab) version(service string, row uint32) model.Version {
	var id, next uint32
	var name []byte
	for entries := l.lb.Map("services").Iterate(); entries.Next(&next, &name); {
		if unix.ByteSliceToString(name) == service {
			id = next
		}
	}
	var region bpf.Region
	var line bpf.SlotLine
	var rank bpf.Rank
	err := l.lb.Map("regions").Lookup(id, &region)
	row += region.Table &^ (bpf.RegionAlign - 1)
	err = errors.Join(err, l.lb.Map("slots").Lookup(row/bpf.SlotsPerLine, &line), l.lb.Map("ranks").Lookup(row, &rank))
	if id == 0 || err != nil {
		panic(fmt.Sprintf("row %d of service %s: %v", row, service, err))
	}
	word := line.Rows[row%bpf.SlotsPerLine]
	primary := word &^ bpf.SlotChained
	v := primary
	for _, owner := range rank.Owners {
		v = v*31 + owner
	}
	if word&bpf.SlotChained != 0 {
		v = v*31 + rank.Chain + 1
	}
	const multiplier, shift = 0x9e3779b1, 20
	return model.Version{Row: uint16(v * multiplier >> shift), Primary: uint16(primary * multiplier >> shift)}
}

// route is what the kernel says to a packet, as newLab has told it.
func (l *lab) route(_, dst netip.Addr, length int) model.Route {
	for _, r := range routes {
		switch {
		case !r.prefix.Contains(dst):
			continue
		case r.device < 0:
			return model.Route{Kind: model.RouteNone}
		case length > r.mtu:
			return model.Route{Kind: model.RouteTooBig, MTU: uint16(r.mtu)}
		}
		dev := devices[r.device]
		return model.Route{Kind: model.RouteDirect, NextHop: maps.NextHop{
			Ifindex: l.ifindex[dev], SrcMAC: l.mac[dev], DstMAC: gatewayMAC(r.device)}}
	}
	return model.Route{}
}
