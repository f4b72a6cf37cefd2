package maps

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

// BenchmarkSyncRolling replaces 30 backends one by one, at 2^14 rows, within the
// retention: each step is a Sync, in which all rows may have chains.
func BenchmarkSyncRolling(b *testing.B) {
	const n, rows = 30, 1 << 14
	lb, err := bpf.Load(bpf.Config{
		Pins: pins(b), Ports: bpf.PortRange{First: 1024, Last: 29999}, Timeouts: timeouts,
		MaxFrontends: 256, MaxBackends: 256, MaxRows: rows, MaxFlows: 1024,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	tables, err := Open(lb, Options{Rows: rows, Timeouts: timeouts, Chain: chain.Options{
		Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 15,
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	d := data{tables, lb}
	defer d.close(b)
	now := at(0)
	d.now = func() time.Time { return now }
	syncs, chains, longest := 0, uint32(0), 0
	sync := func(backends []Backend) {
		now = now.Add(2 * time.Second)
		b.StartTimer()
		if err := d.Sync(b.Context(), Want{Services: []Service{direct(1, backends...)}}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		syncs++
		chains = max(chains, d.chains.used())
		longest = max(longest, len(d.services["1"].table.Lengths())-1)
	}
	for b.Loop() {
		b.StopTimer()
		now = now.Add(3 * time.Hour)
		var backends []Backend
		for i := range n {
			p := pod(1, i, 0)
			p.BornAt, p.EligibleSince = now.Add(-25*time.Hour), now.Add(-24*time.Hour)
			backends = append(backends, p)
		}
		if err := d.Sync(b.Context(), Want{Services: []Service{direct(1, backends...)}}); err != nil {
			b.Fatal(err)
		}
		for i := range n {
			next := pod(1, n+i, 0)
			next.BornAt, next.EligibleSince, next.Draining = now, time.Time{}, true
			backends = append(backends, next)
			sync(backends)
			backends[n].EligibleSince, backends[n].Draining = now, false
			sync(backends)
			backends[0] = backends[0].drained(0)
			backends[0].LostAt = now
			sync(backends)
			backends = backends[1:]
			sync(backends)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(syncs), "ms/sync")
	b.ReportMetric(float64(chains), "chains")
	b.ReportMetric(float64(longest), "longest")
}

// BenchmarkSyncSteady has nothing to do, for many services.
func BenchmarkSyncSteady(b *testing.B) {
	d := open(b, pins(b), 1<<13)
	defer d.close(b)
	var want []Service
	for i := range 15 {
		want = append(want, direct(i, pod(i, 1, 0), pod(i, 2, 0), pod(i, 3, 0)))
	}
	all := Want{Services: want, NextHops: map[netip.Addr]NextHop{node: {Ifindex: 2}}}
	for b.Loop() {
		if err := d.Sync(b.Context(), all); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOneOfMany changes one endpoint of one service among many that have four: one
// goes and another comes, at 512 rows a service.
func BenchmarkOneOfMany(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		for _, partial := range []bool{true, false} {
			name := map[bool]string{true: "partial", false: "whole"}[partial]
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) { benchOneOfMany(b, n, partial) })
		}
	}
}

func benchOneOfMany(b *testing.B, n int, partial bool) {
	lb, err := bpf.Load(bpf.Config{
		Pins: pins(b), Ports: bpf.PortRange{First: 1024, Last: 29999}, Timeouts: timeouts,
		MaxFrontends: 1 << 15, MaxBackends: 1 << 17, MaxRows: 1 << 23, MaxFlows: 1024,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	tables, err := Open(lb, Options{Rows: 64, Timeouts: timeouts, Chain: chainOptions}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	d := data{tables, lb}
	defer d.close(b)
	d.now = func() time.Time { return at(0) }
	all := Want{NextHops: map[netip.Addr]NextHop{node: {Ifindex: 2, Source: node}}}
	old := func(i, e int) Backend {
		p := pod(0, e, -100)
		p.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(e), byte(i >> 8), byte(i)}), 80)
		return p
	}
	for i := range n {
		s := Service{Name: fmt.Sprintf("default/service-%d:http/tcp/ipv4", i),
			Frontends: []Frontend{{netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 80, TCP}}}
		for e := range 4 {
			s.Backends = append(s.Backends, old(i, e))
		}
		all.Services = append(all.Services, s)
	}
	if err := d.Sync(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	turn := 0
	for b.Loop() {
		turn++
		changed := &all.Services[turn*7919%n]
		backends := slices.Clone(changed.Backends[1:])
		changed.Backends = append(backends, changed.Backends[0])
		changed.Backends[3].Addr = netip.AddrPortFrom(changed.Backends[3].Addr.Addr(), changed.Backends[3].Addr.Port()+1)
		want := all
		if partial {
			want.Partial, want.Services = true, []Service{*changed}
		}
		if err := d.Sync(b.Context(), want); err != nil {
			b.Fatal(err)
		}
	}
}
