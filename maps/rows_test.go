package maps

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps/chain"
)

const maxChains = 4096

var (
	chainOptions = chain.Options{Retention: time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 4}
	epoch        = time.Unix(1_800_000_000, 0)
	node         = netip.MustParseAddr("192.0.2.11")
)

// tester is what tests of one run and of many have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

// pod is a backend behind a tunnel that has been eligible since some minute.
func pod(service, i, since int) Backend {
	return Backend{
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(service), byte(i)}), 80),
		Tunnel: node, Weight: 1, BornAt: at(since), EligibleSince: at(since),
	}
}

// drained is the pod that takes no new flows since some minute.
func (b Backend) drained(since int) Backend {
	b.Draining, b.EligibleSince, b.LostAt = true, time.Time{}, at(since)
	return b
}

func direct(i int, backends ...Backend) Service {
	s := svc(fmt.Sprint(i), fmt.Sprintf("10.0.0.%d", i))
	s.Backends = backends
	return s
}

// extraOf are the backends to ask after the chain.
func extraOf(t *Tables, row uint32) (owners []uint32) {
	for _, owner := range t.ranks.at(row) {
		if owner != 0 {
			owners = append(owners, owner-1)
		}
	}
	return owners
}

// checkRows compares the service's rows in the kernel with those of a table that is
// made anew.
func checkRows(tb tester, t *Tables, want Service, now time.Time) {
	tb.Helper()
	s := t.services[want.Name]
	if s == nil || s.region.rows == 0 {
		if want.usable() || want.direct() {
			tb.Fatalf("service %s has no rows", want.Name)
		}
		return
	}
	opts := t.opts.Chain
	if !want.direct() {
		opts = chain.Options{Longest: 1}
	}
	table := chain.New(t.opts.Seed, s.region.rows, opts, s.sizes...)
	table.Set(now, want.endpoints())
	addrs := make(map[uint32]netip.AddrPort)
	for addr, b := range s.backends {
		addrs[b.index] = addr
	}
	named := func(owners []uint32) (ids []netip.AddrPort) {
		for _, owner := range owners {
			ids = append(ids, addrs[owner])
		}
		return ids
	}
	for row := range s.region.rows {
		if want, got := table.AppendChain(nil, row), named(t.owners(s.region.base+row)); !slices.Equal(want, got) {
			tb.Fatalf("service %s, row %d: the table's chain is %v, the kernel has %v", s.name, row, want, got)
		}
		if want, got := table.AppendExtra(nil, row), named(extraOf(t, s.region.base+row)); !slices.Equal(want, got) {
			tb.Fatalf("service %s, row %d: the table's ranks are %v, the kernel has %v", s.name, row, want, got)
		}
	}
}

// A table that time won't change is let go, and made again as it was.
func TestSettledTables(t *testing.T) {
	d := open(t, pins(t), 1<<13)
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	old := []Backend{pod(1, 1, -100), pod(1, 2, -90), pod(1, 3, -80)}
	steps := []struct {
		name     string
		minute   int
		partial  bool
		backends []Backend
		settled  bool
	}{
		{"all are old", 0, false, old, true},
		{"nothing changes", 1, false, old, true},
		{"one is new", 2, true, append(slices.Clone(old), pod(1, 4, 2)), false},
		{"it is old too", 70, true, append(slices.Clone(old), pod(1, 4, 2)), true},
		{"one goes", 71, true, append(slices.Clone(old[:2]), pod(1, 4, 2)), true},
		{"none is left", 72, true, nil, true},
		{"all are back", 73, false, old, true},
	}
	for _, step := range steps {
		minute = step.minute
		want := direct(1, step.backends...)
		if err := d.Sync(t.Context(), Want{Partial: step.partial, Services: []Service{want}}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if s := d.services["1"]; s.settled != step.settled || s.settled != (s.table == nil) {
			t.Errorf("%s: the table is let go: %t", step.name, s.settled)
		}
		checkRows(t, d.Tables, want, at(minute))
		checkChains(t, d.Tables)
	}
}

// checkChains counts who names the elements of chains.
func checkChains(tb tester, t *Tables) {
	tb.Helper()
	refs := make(map[uint32]uint32)
	for _, s := range t.services {
		for row := s.region.base; row < s.region.base+s.region.rows; row++ {
			if index, ok := t.chainOf(row); ok {
				refs[index]++
			}
		}
	}
	for i, n := range t.chains.refs {
		if n != refs[uint32(i)] || n > 0 && !t.chains.taken[i] {
			tb.Fatalf("chain %d: %d rows name it, %d are counted", i, refs[uint32(i)], n)
		}
	}
	taken := 0
	for _, taking := range t.chains.taken {
		if taking {
			taken++
		}
	}
	if got := int(t.chains.used()); got != taken || len(t.chains.index) > taken {
		tb.Fatalf("%d chains are in use, %d are not free, %d are indexed", taken, got, len(t.chains.index))
	}
}

// TestChurn drives services through random histories with restarts and compares
// each row with what the pure table says.
func TestChurn(t *testing.T) {
	d := open(t, pins(t), 1<<13)
	defer d.close(t)
	minute := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			minute += rapid.SampledFrom([]int{0, 1, 10, 40, 100}).Draw(rt, "minutes")
			if rapid.IntRange(0, 8).Draw(rt, "restart") == 0 {
				d.restart(t)
			}
			d.now = func() time.Time { return at(minute) }
			var want []Service
			for i := range 3 {
				if s := drawDirect(rt, i, minute); len(s.Backends) > 0 {
					want = append(want, s)
				}
			}
			for range 2 { // the second time finds nothing to do
				if err := d.Sync(t.Context(), Want{Services: want}); err != nil {
					rt.Fatal(err)
				}
				for _, s := range want {
					checkRows(rt, d.Tables, s, at(minute))
				}
				checkChains(rt, d.Tables)
				check(rt, d.Tables)
			}
		}
	})
}

func drawDirect(rt *rapid.T, i, minute int) Service {
	nat := rapid.IntRange(0, 5).Draw(rt, "translated")
	s := direct(i)
	for b := range rapid.SampledFrom([]int{4, 4, 4, 9}).Draw(rt, "backends") { // from 5 on, there are more rows
		p := pod(i, b, minute-rapid.SampledFrom([]int{0, 1, 10, 40, 100}).Draw(rt, "age"))
		switch rapid.IntRange(0, 5).Draw(rt, "state") {
		case 0:
			continue
		case 1:
			p = p.drained(minute - rapid.SampledFrom([]int{0, 10, 100}).Draw(rt, "drained"))
		case 2:
			p.EligibleSince, p.BornAt = time.Time{}, time.Time{}
		case 3:
			p.Former = []chain.Former{{Weight: 3, Until: at(minute - 10)}}
		}
		if nat == 0 || nat == 1 && b == 0 {
			p.Tunnel = netip.Addr{}
		}
		s.Backends = append(s.Backends, p)
	}
	return s
}

// TestNoRowHalfWritten reads rows as packets do while they change. Whoever may have
// a row's flows before and after a Sync is found in between as well.
func TestNoRowHalfWritten(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	minute := 0
	d.now = func() time.Time { return at(minute) }
	sync1 := func(backends []Backend) {
		if err := d.Sync(t.Context(), Want{Services: []Service{direct(1, backends...)}}); err != nil {
			t.Fatal(err)
		}
	}
	var backends []Backend
	for i := range 8 {
		backends = append(backends, pod(1, i, -100))
	}
	sync1(backends)
	r := d.services["1"].region
	for step := range 24 {
		before := snapshot(t, d.Tables, r)
		minute += 7
		next := slices.Clone(backends)
		next[step%8] = pod(1, step%8, minute) // a Pod of the same address
		if step%3 == 0 {
			next[(step+4)%8] = next[(step+4)%8].drained(minute)
		}
		seen := observe(d.Tables, r, func() { sync1(next) })
		after := snapshot(t, d.Tables, r)
		for row, sights := range seen {
			for s := range sights {
				checkSight(t, s, before[row], after[row])
			}
		}
		backends = next
	}
}

// sight is what a packet reads for one row.
type sight struct {
	chain [1 + bpf.ChainMax]uint32
	extra [2 * bpf.RanksMax]uint32 // read up and down, for owners move while they are read
}

func (s sight) owners() []uint32 { return s.chain[1 : 1+s.chain[0]] }

func (s sight) has(owner uint32) bool {
	return slices.Contains(s.owners(), owner) || slices.Contains(s.extra[:], owner+1)
}

func look(t *Tables, row uint32) (s sight) {
	word := t.slots.get(row)
	s.chain = [1 + bpf.ChainMax]uint32{1, word}
	if isChained(word) {
		index := atomic.LoadUint32(t.ranks.chain(row))
		words := t.chains.words[int(index)*chainWords:][:chainWords]
		for i := range words {
			s.chain[i] = atomic.LoadUint32(&words[i])
		}
		if primary := word &^ bpf.SlotChained; !slices.Contains(s.owners(), primary) { // as while the row changes
			s.chain[0]++
			s.chain[s.chain[0]] = primary
		}
	}
	for i := range bpf.RanksMax {
		s.extra[i] = atomic.LoadUint32(&t.ranks.at(row)[i])
	}
	for i := range bpf.RanksMax {
		s.extra[2*bpf.RanksMax-1-i] = atomic.LoadUint32(&t.ranks.at(row)[bpf.RanksMax-1-i])
	}
	return s
}

func snapshot(tb tester, t *Tables, r region) (sights []sight) {
	tb.Helper()
	for row := range r.rows {
		sights = append(sights, look(t, r.base+row))
	}
	return sights
}

// observe collects what there is to see of the rows while f runs.
func observe(t *Tables, r region, f func()) []map[sight]bool {
	seen := make([]map[sight]bool, r.rows)
	for row := range seen {
		seen[row] = make(map[sight]bool)
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for row := uint32(0); !over.Load(); row = (row + 1) % r.rows {
			seen[row][look(t, r.base+row)] = true
		}
	})
	f()
	over.Store(true)
	wg.Wait()
	return seen
}

func checkSight(tb tester, s, before, after sight) {
	tb.Helper()
	// Who falls to the ranks stays in the chain for a moment.
	if n := 1 + after.chain[0]; s.chain != before.chain && (s.chain[0] < after.chain[0] || !slices.Equal(s.chain[1:n], after.chain[1:n])) {
		tb.Fatalf("a chain of %v was seen between %v and %v", s.owners(), before.owners(), after.owners())
	}
	for owner := range uint32(8) {
		if before.has(owner) && after.has(owner) && !s.has(owner) {
			tb.Fatalf("owner %d is not in %v, which was seen between %v and %v", owner, s, before, after)
		}
	}
}

// TestEndpoints says how backends are ranked.
func TestEndpoints(t *testing.T) {
	const sinceAlways = -1
	eligible, timeless, drains := pod(1, 1, 5), pod(1, 1, 5), pod(1, 1, 5).drained(9)
	timeless.BornAt, timeless.EligibleSince = time.Time{}, time.Time{}
	eligible.Former = []chain.Former{{Weight: 7, Until: at(6)}}
	never, wrong := eligible, eligible
	never.Weight, never.Former = 0, nil
	wrong.LostAt = at(7) // means nothing while it is eligible
	nat := func(b Backend) Backend {
		b.Tunnel = netip.Addr{}
		return b
	}
	minute := func(m int) time.Time {
		switch m {
		case 0:
			return time.Time{}
		case sinceAlways:
			return time.Unix(0, 0)
		}
		return at(m)
	}
	for _, test := range []struct {
		name                 string
		backend              Backend
		ranked               bool
		born, eligible, lost int
		former               int
	}{
		{"eligible", eligible, true, 5, 5, 0, 1},
		{"times unknown", timeless, true, 0, sinceAlways, 0, 0},
		{"draining", drains, true, 5, 0, 9, 0},
		{"without a weight", never, true, 5, 0, 0, 0},
		{"lost and found", wrong, true, 5, 5, 0, 1},
		{"translated", nat(eligible), true, 0, sinceAlways, 0, 0},
		{"translated, draining", nat(drains), false, 0, 0, 0, 0},
		{"translated, without a weight", nat(never), false, 0, 0, 0, 0},
	} {
		got := direct(1, test.backend).endpoints()
		if len(got) != 0 != test.ranked {
			t.Errorf("%s: %+v", test.name, got)
		}
		if len(got) == 0 {
			continue
		}
		want := chain.Endpoint{
			ID: test.backend.Addr, Weight: test.backend.Weight, Former: test.backend.Former[:test.former],
			BornAt: minute(test.born), EligibleSince: minute(test.eligible), LostAt: minute(test.lost),
		}
		if !sameEndpoint(got[0], want) {
			t.Errorf("%s: %+v, want %+v", test.name, got[0], want)
		}
	}
	// Beside one with a tunnel, the times of all count.
	if got := direct(1, eligible, nat(drains)).endpoints(); len(got) != 2 || got[1].LostAt != at(9) {
		t.Errorf("of both kinds: %+v", got)
	}
}
