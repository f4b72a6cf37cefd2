package maps

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

var (
	node6     = netip.MustParseAddr("2001:db8::11")
	sameAddrs = cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	}
)

// ways lists the tunnels in the kernel as "index address source flags".
func ways(t *testing.T, d data) (list []string) {
	t.Helper()
	err := walk(d.m.tunnels, func(i uint32, raw bpf.Tunnel) error {
		if raw != (bpf.Tunnel{}) {
			list = append(list, fmt.Sprintf("%d %s via %s from %s flags %d", i, raw.Addr.Netip(),
				MAC(raw.Nexthop.DstMac), raw.Source.Netip(), raw.Flags))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestTunnels(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	hops := map[netip.Addr]NextHop{
		node:  {Ifindex: 2, DstMAC: MAC{2, 0, 0, 0, 0, 1}, Source: netip.MustParseAddr("192.0.2.1")},
		node6: {Ifindex: 2, DstMAC: MAC{2, 0, 0, 0, 0, 6}, Source: netip.MustParseAddr("2001:db8::1")},
	}
	moved := map[netip.Addr]NextHop{node: hops[node], node6: {Ifindex: 3, DstMAC: MAC{2, 0, 0, 0, 0, 7}}}
	first, second := pod(1, 1, 0), pod(1, 2, 0)
	second.Tunnel = node6
	both := []Service{direct(1, first, second), direct(2, pod(2, 1, 0))}
	const (
		one     = "1 192.0.2.11 via 02:00:00:00:00:01 from 192.0.2.1 flags 1"
		oneDead = "1 192.0.2.11 via 02:00:00:00:00:01 from 192.0.2.1 flags 3"
		six     = "2 2001:db8::11 via 02:00:00:00:00:06 from 2001:db8::1 flags 1"
		sixNow  = "2 2001:db8::11 via 02:00:00:00:00:07 from 2001:db8::1 flags 1"
		sixOne  = "1 2001:db8::11 via 02:00:00:00:00:06 from 2001:db8::1 flags 1"
	)
	for _, step := range []struct {
		name    string
		want    Want
		restart bool
		ways    []string
	}{
		{"two nodes", Want{Services: both, NextHops: hops}, false, []string{one, six}},
		{"after a restart", Want{Services: both, NextHops: hops}, true, []string{one, six}},
		{"one does not answer", Want{Services: both, NextHops: hops, Dead: map[netip.Addr]bool{netip.AddrFrom16(node.As16()): true}}, false, []string{oneDead, six}},
		{"another way, the source is not known", Want{Services: both, NextHops: moved}, false, []string{one, sixNow}},
		{"one service less uses it", Want{Services: both[:1], NextHops: hops}, false, []string{one, six}},
		{"none uses it", Want{Services: []Service{direct(1, second)}, NextHops: hops}, false, []string{six}},
		{"it was in use before a restart", Want{Services: both[1:], NextHops: hops}, true, []string{one}},
		{"its backend is translated", Want{Services: []Service{svc("2", "10.0.0.2", "10.1.2.1:80")}, NextHops: hops}, false, nil},
		{"its place is free", Want{Services: []Service{direct(1, second)}, NextHops: hops}, false, []string{sixOne}},
	} {
		if step.restart {
			d.restart(t)
		}
		for range 2 { // the second time removes what nobody uses any more
			if err := d.Sync(t.Context(), step.want); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			check(t, d.Tables)
		}
		if diff := cmp.Diff(step.ways, ways(t, d)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	services, err := d.Services()
	if err != nil {
		t.Fatal(err)
	}
	want := []BackendStatus{{Addr: second.Addr, Rows: 256, Mode: DSR, Tunnel: node6, NextHop: hops[node6]}}
	want[0].Index = services[0].Backends[0].Index
	if diff := cmp.Diff(want, services[0].Backends, sameAddrs); diff != "" {
		t.Errorf("status of the backend (-want +got):\n%s", diff)
	}
}

func TestMembers(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	self4, self6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, step := range []struct {
		name    string
		want    []Member
		restart bool
		flags   map[netip.Addr]bpf.MemberFlags
	}{
		{"self and others", []Member{
			{Addr: self4, Self: true, LB: true}, {Addr: self6, Self: true}, {Addr: self6, LB: true}, {Addr: netip.AddrFrom16(node.As16()), Backend: true},
		}, false, map[netip.Addr]bpf.MemberFlags{
			self4: bpf.MemberSelf | bpf.MemberLB, self6: bpf.MemberSelf | bpf.MemberLB, node: bpf.MemberBackend,
		}},
		{"one has another role after a restart, one is gone", []Member{{Addr: self4, Self: true}, {Addr: self6, LB: true}}, true,
			map[netip.Addr]bpf.MemberFlags{self4: bpf.MemberSelf, self6: bpf.MemberLB}},
		{"none", nil, false, map[netip.Addr]bpf.MemberFlags{}},
	} {
		if step.restart {
			d.restart(t)
		}
		if err := d.Sync(t.Context(), Want{Members: step.want}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got := make(map[netip.Addr]bpf.MemberFlags)
		if err := walk(d.m.members, func(a bpf.Addr, m bpf.Member) error { got[a.Netip()] = m.Flags; return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.flags, got, sameAddrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

// A service has translated flows for longer than it has backends of that kind.
func TestTranslatedFlowsGoOn(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	nat, dsr := svc("1", "10.0.0.1", "10.1.1.1:80"), direct(1, pod(1, 1, 0))
	now, err := tick()
	if err != nil {
		t.Fatal(err)
	}
	key := bpf.Tuple{
		Src: bpf.AddrFrom(netip.MustParseAddr("198.51.100.1")), Sport: bpf.Htons(40000),
		Dst: bpf.AddrFrom(nat.Frontends[0].VIP), Dport: bpf.Htons(80), Proto: uint8(TCP),
	}
	for i, step := range []struct {
		name   string
		minute int
		want   Service
		flow   string // added or deleted
		sweep  bool
		flag   bool
		next   time.Time // beside that of the chains
	}{
		{"direct alone", 0, dsr, "", true, false, time.Time{}},
		{"translated", 0, nat, "add", true, true, time.Time{}},
		{"direct now", 10, dsr, "", true, true, time.Time{}},
		{"the retention is over, but not the flow", 100, dsr, "", true, true, time.Time{}},
		{"a restart", 110, dsr, "delete", false, true, time.Time{}},
		{"nobody has looked", 200, dsr, "", true, true, at(170)},
		{"it has ended", 210, dsr, "", true, false, time.Time{}},
		{"for good", 220, dsr, "", true, false, time.Time{}},
	} {
		if step.name == "a restart" {
			d.restart(t)
		}
		d.now = func() time.Time { return at(step.minute) }
		if err := d.Sync(t.Context(), Want{Services: []Service{step.want}}); err != nil {
			t.Fatal(err)
		}
		switch step.flow {
		case "add":
			err = d.m.flows.Put(key, bpf.Flow{Seen: now, State: 1})
		case "delete":
			err = d.m.flows.Delete(key)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := d.published.get(d.services["1"].id).Flags&bpf.RegionNAT != 0; got != step.flag {
			t.Errorf("step %d, %s: flows are asked: %t", i, step.name, got)
		}
		if !step.sweep {
			continue
		}
		if _, err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if next := d.services["1"].nat.end(time.Hour); !next.Equal(step.next) {
			t.Errorf("step %d, %s: the next change is at %s", i, step.name, next)
		}
	}
}

// A service without an eligible backend has rows: flows go on while a Pod drains or
// is not ready, but nobody may be sent to it anew.
func TestNobodyEligible(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	steps := []struct {
		name     string
		minute   int
		backends []Backend
		usable   bool
	}{
		{"draining from the start", 0, []Backend{pod(1, 1, -10).drained(-1), pod(1, 2, -5).drained(-1)}, false},
		{"one is ready", 1, []Backend{pod(1, 1, -10).drained(-1), pod(1, 2, 1)}, true},
		{"none is ready", 2, []Backend{pod(1, 1, -10).drained(-1), pod(1, 2, 1).drained(2)}, false},
		{"the retention is over", 70, []Backend{pod(1, 1, -10).drained(-1), pod(1, 2, 1).drained(2)}, false},
		{"there are none", 71, nil, false},
	}
	for _, step := range steps {
		minute = step.minute
		want := direct(1, step.backends...)
		if err := d.Sync(t.Context(), Want{Services: []Service{want}}); err != nil {
			t.Fatal(err)
		}
		raw := d.published.get(d.services["1"].id)
		if usable := raw.Flags&bpf.RegionUsable != 0; usable != step.usable || raw.Table == 0 {
			t.Errorf("%s: region %+v", step.name, raw)
		}
		checkRows(t, d.Tables, want, at(minute))
		checkChains(t, d.Tables)
	}
}

// A packet that takes a service for usable finds a backend for new flows, also as the
// last one of them goes.
func TestLastOneGoes(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	for minute < 40 {
		for _, s := range []Service{direct(1, pod(1, 1, -9)), direct(1), direct(1, pod(1, 1, -9), pod(1, 2, -9)), direct(1, pod(1, 1, -9).drained(-8))} {
			minute++
			over := watch(t, d.Tables, 1)
			if err := d.Sync(t.Context(), Want{Services: []Service{s}}); err != nil {
				t.Fatal(err)
			}
			if lost := over(); lost > 0 {
				t.Fatalf("minute %d: %d times a usable service had nobody in a row", minute, lost)
			}
		}
	}
}

// watch counts, until it is told to stop, how often a service is usable and its row
// has no owner.
func watch(t *testing.T, tables *Tables, service uint32) (stop func() int) {
	t.Helper()
	over, lost := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for i := uint32(0); ; i++ {
			select {
			case <-over:
				lost <- n
				return
			default:
			}
			raw := tables.published.get(service)
			r, ok := regionOf(raw)
			if ok && raw.Flags&bpf.RegionUsable != 0 && tables.slots.get(r.base+i%r.rows) == noOwner {
				n++
			}
		}
	}()
	return func() int { close(over); return <-lost }
}

func TestChainsFull(t *testing.T) {
	lb, err := bpf.Load(bpf.Config{
		Pins: pins(t), Ports: bpf.PortRange{First: 1024, Last: 29999}, Timeouts: timeouts, ICMPRate: 1000,
		MaxFrontends: 256, MaxBackends: 64, MaxRows: 4096, MaxFlows: 1024, MaxChains: 4,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Open(lb, Options{Rows: 256, Timeouts: timeouts, Chain: chainOptions}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := data{tables, lb}
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	var old, young []Backend
	for i := range 4 {
		old, young = append(old, pod(1, i, -100)), append(young, pod(1, i, -1))
	}
	for _, step := range []struct {
		name     string
		minute   int
		backends []Backend
		full     bool
	}{
		{"all old", 0, old, false},
		{"all new", 0, young, true},
		{"once more", 0, young, true},
		{"one new, and the others' are not yet free", 10, append([]Backend{pod(1, 9, 10)}, old[:2]...), true},
		{"once more", 10, append([]Backend{pod(1, 9, 10)}, old[:2]...), false},
		{"the retention is over", 80, young, false},
	} {
		minute = step.minute
		want := direct(1, step.backends...)
		if err := d.Sync(t.Context(), Want{Services: []Service{want}}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		check(t, d.Tables)
		checkChains(t, d.Tables)
		warnings := d.Warnings()
		if step.full {
			if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "service 1: ") || !strings.Contains(warnings[0].Error(), "raise chains.max") {
				t.Errorf("%s: warnings %v", step.name, warnings)
			}
			checkPrimaries(t, d.Tables, want, at(minute))
			if soon := !d.NextChange().After(at(minute).Add(retryAfter)); soon != strings.HasPrefix(step.name, "one new") {
				t.Errorf("%s: the next change is at %s", step.name, d.NextChange())
			}
			continue
		}
		if len(warnings) > 0 || !d.NextChange().IsZero() && d.NextChange().Before(at(minute)) {
			t.Errorf("%s: warnings %v, the next change is at %s", step.name, warnings, d.NextChange())
		}
		checkRows(t, d.Tables, want, at(minute))
	}
}

// checkPrimaries makes sure that new flows are placed as they should be.
func checkPrimaries(t *testing.T, tables *Tables, want Service, now time.Time) {
	t.Helper()
	s := tables.services[want.Name]
	table := chain.New(tables.opts.Seed, s.region.rows, tables.opts.Chain)
	table.Set(now, want.endpoints())
	for row := range s.region.rows {
		primary, _ := table.Primary(row)
		if got := tables.owners(s.region.base + row)[0]; got != s.backends[primary].index {
			t.Fatalf("row %d: backend %d, not %s", row, got, primary)
		}
	}
}

// What Sync refuses is no reason to call it again at once, and none to keep chains.
func TestNextChange(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	want := direct(1, pod(1, 1, -50), pod(1, 2, -40))
	steps := []struct {
		name     string
		minute   int
		backends []Backend
		next     time.Time
	}{
		{"the older one leaves the retention", 0, want.Backends, at(10)},
		{"and the other one", 10, want.Backends, at(20)},
		{"refused", 15, append(want.Backends, pod(1, 1, 0)), at(20)},
		{"refused for long, so what it was ages", 25, append(want.Backends, pod(1, 1, 0)), time.Time{}},
		{"all is old", 26, want.Backends, time.Time{}},
	}
	for _, step := range steps {
		minute = step.minute
		err := d.Sync(t.Context(), Want{Services: []Service{direct(1, step.backends...)}})
		if refused := strings.HasPrefix(step.name, "refused"); refused != (err != nil) {
			t.Fatalf("%s: %v", step.name, err)
		}
		if next := d.NextChange(); !next.Equal(step.next) {
			t.Errorf("%s: the next change is at %s, not at %s", step.name, next, step.next)
		}
	}
}

func TestChainStatus(t *testing.T) {
	dir := pins(t)
	d := open(t, dir, 1<<12)
	defer d.close(t)
	d.now = func() time.Time { return at(0) }
	want := Want{Services: []Service{direct(1, pod(1, 1, -100), pod(1, 2, -100), pod(1, 3, -1))}}
	if err := d.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	view, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	services, err := view.Services()
	if err != nil {
		t.Fatal(err)
	}
	lengths := d.services["1"].table.Lengths()
	s := services[0]
	if len(s.Chains) != 3 || s.Chains[1] != uint64(lengths[1]) || s.Chains[2] != uint64(lengths[2]) || uint64(s.Chained) != s.Chains[2] {
		t.Errorf("chains by length %v, %d rows with one; the table has %v", s.Chains, s.Chained, lengths)
	}
	// A third of the rows went to the new one.
	if rows := s.Backends[2].Rows; rows != s.Chained || rows == 0 {
		t.Errorf("the new backend has %d rows, %d have a chain", rows, s.Chained)
	}
	usage, err := view.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if used, _ := d.Usage(); usage != used || used.Chains.Used != 2 || used.Tunnels.Used != 1 {
		t.Errorf("usage %+v, the agent says %+v", usage, used)
	}
}

// The filter's coming generations are empty, the present and the last are not
// touched, however rarely it is turned.
func TestRotate(t *testing.T) {
	f := learnedFilter{memory: &memory[uint64]{words: make([]uint64, bpf.FilterGenerations*generationWords)}}
	word := func(g uint32) *uint64 { return &f.words[g%bpf.FilterGenerations*generationWords+5] }
	for _, g := range []uint32{1000, 1000, 1001, 1002, 1003, 1005, 1011, 1019, 1019} {
		for i := range uint32(bpf.FilterGenerations) {
			if f.cleared < g {
				*word(i) = 7 // of who knows when
			}
		}
		*word(g - 1), *word(g) = 1, 2
		f.rotate(g<<bpf.FilterShift + g%256)
		got := [bpf.FilterGenerations]uint64{*word(g - 1), *word(g), *word(g + 1), *word(g + 2)}
		if want := [bpf.FilterGenerations]uint64{1, 2, 0, 0}; got != want {
			t.Errorf("generation %d: %v of the last and of this and the next ones", g, got)
		}
	}
}
