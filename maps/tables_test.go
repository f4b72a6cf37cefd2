package maps

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
)

var timeouts = bpf.Timeouts{
	SYN: 30 * time.Second, Established: 3 * time.Hour, Closing: time.Minute, Closed: 5 * time.Second, UDP: 3 * time.Minute,
}

// data is a loaded program with its tables.
type data struct {
	*Tables
	lb *bpf.LB
}

func (d *data) close(tb fixture.TB) {
	tb.Helper()
	if err := d.Close(); err != nil {
		tb.Errorf("close tables: %v", err)
	}
	if err := d.lb.Close(); err != nil {
		tb.Errorf("close program: %v", err)
	}
}

func open(tb fixture.TB, pins string, rows uint32) data {
	tb.Helper()
	return openPorts(tb, pins, rows, bpf.PortRange{First: 1024, Last: 29999})
}

func openPorts(tb fixture.TB, pins string, rows uint32, ports bpf.PortRange) data {
	tb.Helper()
	lb, err := bpf.Load(bpf.Config{
		Pins: pins, Ports: ports, Timeouts: timeouts, ICMPRate: 1000,
		MaxFrontends: 256, MaxBackends: 64, MaxRows: rows, MaxFlows: 1024, MaxChains: maxChains, MaxSourceRanges: maxSources,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("load: %v", err)
	}
	return data{openTables(tb, lb), lb}
}

func openTables(tb fixture.TB, lb *bpf.LB) *Tables {
	tb.Helper()
	t, err := Open(lb, Options{Rows: 256, Timeouts: timeouts, Chain: chainOptions}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	return t
}

// restart opens the tables anew, with nothing but what is in them.
func (d *data) restart(tb fixture.TB) {
	tb.Helper()
	if err := d.Close(); err != nil {
		tb.Errorf("close tables: %v", err)
	}
	d.Tables = openTables(tb, d.lb)
}

func pins(tb fixture.TB) string { return filepath.Join(fixture.MountBPFFS(tb), "penstock") }

func svc(name string, vip string, backends ...string) Service {
	s := Service{Name: name, Frontends: []Frontend{{netip.MustParseAddr(vip), 80, TCP}}}
	for _, b := range backends {
		weight := uint32(1)
		if drained, ok := strings.CutSuffix(b, " draining"); ok {
			b, weight = drained, 0
		}
		s.Backends = append(s.Backends, Backend{Addr: netip.MustParseAddrPort(b), Weight: weight})
	}
	return s
}

// content is what the kernel has, as text: the service's VIPs, its backends, and
// whether each of those has rows.
func content(tb fixture.TB, t *Tables) []string {
	tb.Helper()
	services, err := t.Services()
	if err != nil {
		tb.Fatalf("services: %v", err)
	}
	lines := []string{}
	for _, s := range services {
		line := s.Name
		for _, f := range s.Frontends {
			line += " " + f.String()
		}
		for _, b := range s.Backends {
			line += fmt.Sprintf(" %s=%t", b.Addr, b.Rows > 0)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSync(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	steps := []struct {
		name    string
		want    []Service
		content []string
		errs    []string
	}{
		{"nothing", nil, []string{}, nil},
		{"two families", []Service{svc("a", "10.0.0.1", "10.1.0.1:8080", "10.1.0.2:8080"), svc("b", "fd00::1", "[fd01::1]:8080")}, []string{
			"a 10.0.0.1:80/tcp 10.1.0.1:8080=true 10.1.0.2:8080=true",
			"b [fd00::1]:80/tcp [fd01::1]:8080=true",
		}, nil},
		{"one drains", []Service{svc("a", "10.0.0.1", "10.1.0.1:8080 draining", "10.1.0.2:8080")}, []string{
			"a 10.0.0.1:80/tcp 10.1.0.1:8080=false 10.1.0.2:8080=true",
		}, nil},
		{"none is usable", []Service{svc("a", "10.0.0.1")}, []string{"a 10.0.0.1:80/tcp"}, nil},
		{"the frontend goes to another", []Service{svc("c", "10.0.0.1", "10.1.0.3:80")}, []string{
			"c 10.0.0.1:80/tcp 10.1.0.3:80=true",
		}, nil},
		{"the bad ones cost only themselves", []Service{
			svc("c", "10.0.0.1", "10.1.0.3:80"),
			svc("d", "10.0.0.1", "10.1.0.4:80"),
			svc("e", "10.0.0.2", "[fd01::1]:80"),
			svc(strings.Repeat("f", 160), "10.0.0.3"),
			svc("g", "10.0.0.4", "10.1.0.5:80", "10.1.0.5:80"),
			svc("h", "fd00::2", "[fd01::2]:80"),
		}, []string{
			"c 10.0.0.1:80/tcp 10.1.0.3:80=true",
			"h [fd00::2]:80/tcp [fd01::2]:80=true",
		}, []string{
			"service d: frontend 10.0.0.1:80/tcp belongs to service c",
			"service e: backend [fd01::1]:80 needs a port and the address family of 10.0.0.2:80/tcp",
			"the name has 160 bytes, of 1 to 159",
			"service g: backend 10.1.0.5:80 is there twice",
		}},
		{"a refused change leaves what was", []Service{svc("c", "10.0.0.1", "[fd01::1]:80")}, []string{
			"c 10.0.0.1:80/tcp 10.1.0.3:80=true",
		}, []string{"service c: backend [fd01::1]:80 needs"}},
	}
	for _, step := range steps {
		for range 2 { // the second time finds nothing to do
			err := d.Sync(t.Context(), Want{Services: step.want})
			for _, want := range step.errs {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: error %v lacks %q", step.name, err, want)
				}
			}
			if err != nil && len(step.errs) == 0 {
				t.Errorf("%s: %v", step.name, err)
			}
			if diff := cmp.Diff(step.content, content(t, d.Tables)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.name, diff)
			}
			check(t, d.Tables)
		}
	}
}

// check compares the memory with the kernel, and the kernel with itself: every
// row that a packet can reach names a backend of the frontend's own service.
func check(tb tester, t *Tables) {
	tb.Helper()
	var key bpf.FrontendKey
	var fe bpf.Frontend
	vips, frontends := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	backends := map[uint32]bpf.Backend{}
	it := t.m.frontends.Iterate()
	for it.Next(&key, &fe) {
		f := frontendOf(key)
		if isVIP(key) {
			vips[f.VIP] = true
			continue
		}
		frontends[f.VIP] = true
		if t.frontends[f] != fe.Service {
			tb.Errorf("frontend %s: the kernel has service %d, remembered is %d", f, fe.Service, t.frontends[f])
		}
		raw := t.published.get(fe.Service)
		if raw.Flags&bpf.RegionUsable == 0 {
			continue
		}
		r, ok := regionOf(raw)
		if !ok {
			tb.Fatalf("frontend %s of service %d: region %+v", f, fe.Service, raw)
		}
		for row := r.base; row < r.base+r.rows; row++ {
			for _, owner := range slices.Concat(t.owners(row), extraOf(t, row)) {
				b, ok := backends[owner]
				if !ok {
					if err := t.m.backends.Lookup(owner, &b); err != nil {
						tb.Fatalf("backend %d: %v", owner, err)
					}
					backends[owner] = b
				}
				if b.Service != fe.Service || b.Port == 0 {
					tb.Fatalf("frontend %s of service %d, row %d: backend %+v", f, fe.Service, row, b)
				}
			}
		}
	}
	if diff := cmp.Diff(frontends, vips, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		tb.Errorf("VIPs of frontends, and entries of VIPs (-frontends +vips):\n%s", diff)
	}
}

func TestAdopt(t *testing.T) {
	dir := pins(t)
	d := open(t, dir, 1<<15)
	first := Want{
		Services: []Service{
			svc("a", "10.0.0.1", "10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"),
			svc("b", "fd00::1", "[fd01::1]:80", "[fd01::2]:80 draining"),
		},
		NextHops: map[netip.Addr]NextHop{
			netip.MustParseAddr("10.1.0.1"): {Ifindex: 7, MTU: 1500, DstMAC: MAC{2, 0, 0, 0, 0, 1}, Source: netip.MustParseAddr("10.9.0.1")},
		},
	}
	if err := d.Sync(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	before, err := d.Services()
	if err != nil {
		t.Fatal(err)
	}
	rows := append([]uint32(nil), d.slots.words...)
	d.close(t)

	d = open(t, dir, 1<<15)
	defer d.close(t)
	if err := d.Sync(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	after, err := d.Services()
	if err != nil {
		t.Fatal(err)
	}
	opt := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	ports := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(before, after, opt, ports); diff != "" {
		t.Errorf("a restart changed indices or next hops (-before +after):\n%s", diff)
	}
	if !cmp.Equal(rows, d.slots.words) {
		t.Error("a restart moved rows")
	}

	// What is not wanted any more is pruned, also from before the restart.
	if err := d.Sync(t.Context(), Want{Services: first.Services[1:]}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b [fd00::1]:80/tcp [fd01::1]:80=true [fd01::2]:80=false"}, content(t, d.Tables)); diff != "" {
		t.Errorf("after pruning (-want +got):\n%s", diff)
	}
	check(t, d.Tables)
}

func TestCapacity(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	var backends []string
	for i := range 65 { // one more than there is room for
		backends = append(backends, fmt.Sprintf("10.1.0.%d:80", i+1))
	}
	err := d.Sync(t.Context(), Want{Services: []Service{svc("big", "10.0.0.1", backends...), svc("small", "10.0.0.2", "10.1.1.1:80")}})
	if err == nil || !strings.Contains(err.Error(), "raise datapath.maxBackends") {
		t.Errorf("65 backends of 64: %v", err)
	}
	// 33 to 63 backends need 8192 rows, all there are.
	if err := d.Sync(t.Context(), Want{Services: []Service{svc("small", "10.0.0.2", "10.1.1.1:80")}}); err != nil {
		t.Fatal(err)
	}
	err = d.Sync(t.Context(), Want{Services: []Service{svc("big", "10.0.0.1", backends[:60]...), svc("small", "10.0.0.2", "10.1.1.1:80")}})
	if err == nil || !strings.Contains(err.Error(), "raise datapath.maxRows") {
		t.Errorf("8192 rows of 8192-256: %v", err)
	}
	if diff := cmp.Diff([]string{"small 10.0.0.2:80/tcp 10.1.1.1:80=true"}, content(t, d.Tables)); diff != "" {
		t.Errorf("the other service (-want +got):\n%s", diff)
	}
	if err := d.Sync(t.Context(), Want{Services: []Service{svc("big", "10.0.0.1", backends[:20]...)}}); err != nil {
		t.Fatal(err)
	}
	check(t, d.Tables)
}

// TestHistory drives the tables through random histories with restarts. After
// each step the kernel holds what is wanted, whatever was before.
func TestHistory(t *testing.T) {
	d := open(t, pins(t), 1<<15)
	defer d.close(t)
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			if rapid.IntRange(0, 12).Draw(rt, "restart") == 0 {
				d.restart(t)
			}
			var want []Service
			for i := range 4 {
				if s, ok := draw(rt, i); ok {
					want = append(want, s)
				}
			}
			if err := d.Sync(t.Context(), Want{Services: want}); err != nil {
				rt.Fatal(err)
			}
			lines := []string{}
			for _, s := range want {
				line := s.Name + " " + s.Frontends[0].String()
				for _, b := range s.Backends {
					line += fmt.Sprintf(" %s=%t", b.Addr, b.Weight > 0)
				}
				lines = append(lines, line)
			}
			if diff := cmp.Diff(lines, content(t, d.Tables)); diff != "" {
				rt.Fatalf("(-want +got):\n%s", diff)
			}
			check(t, d.Tables)
			if t.Failed() {
				rt.FailNow()
			}
		}
	})
}

func draw(rt *rapid.T, i int) (Service, bool) {
	var backends []string
	for b := range 12 {
		switch rapid.IntRange(0, 3).Draw(rt, "backend") {
		case 0:
		case 1:
			backends = append(backends, fmt.Sprintf("10.1.%d.%d:80 draining", i, b))
		default:
			backends = append(backends, fmt.Sprintf("10.1.%d.%d:80", i, b))
		}
	}
	s := svc(fmt.Sprint(i), fmt.Sprintf("10.0.0.%d", i), backends...)
	return s, rapid.Bool().Draw(rt, "there")
}

// TestResizeTwice stands for a Sync that failed between a new region and its
// publication, and the next one that wants yet another size: no row is lost.
func TestResizeTwice(t *testing.T) {
	const rows = 1 << 15
	d := open(t, pins(t), rows)
	defer d.close(t)
	want := svc("a", "10.0.0.1", "10.1.0.1:80")
	if err := d.Sync(t.Context(), Want{Services: []Service{want}}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 60} {
		other := svc("a", "10.0.0.1")
		for i := range n {
			other.Backends = append(other.Backends, svc("a", "10.0.0.1", fmt.Sprintf("10.1.0.%d:80", i+1)).Backends...)
		}
		if err := d.resize(d.services["a"], other, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, services := range [][]Service{{want}, nil} {
		if err := d.Sync(t.Context(), Want{Services: services}); err != nil {
			t.Fatal(err)
		}
		check(t, d.Tables)
	}
	d.reuse()
	if _, err := d.regions.take(rows); err != nil {
		t.Errorf("nothing is wanted, and not all rows are free: %v", err)
	}
}
