package maps

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bpf"
)

const maxSources = 1100

// only is the service for clients of these ranges, and of those that it has.
func (s Service) only(ranges ...string) Service {
	s.Restricted = true
	for _, r := range ranges {
		s.Sources = append(slices.Clip(s.Sources), netip.MustParsePrefix(r))
	}
	return s
}

// admits asks as the program does.
func admits(tb tester, t *Tables, service, client string) bool {
	tb.Helper()
	s := t.services[service]
	if t.published.get(s.id).Flags&bpf.RegionSources == 0 {
		return true
	}
	key := bpf.SourceKey{Prefixlen: bpf.SourceBits + 128, Service: s.id, Client: bpf.AddrFrom(netip.MustParseAddr(client))}
	var value bpf.Source
	err := t.m.sources.Lookup(key, &value)
	if ignoreMissing(err) != nil {
		tb.Fatalf("look up %s of service %s: %v", client, service, err)
	}
	return err == nil
}

// ranges is what readers find of each service, "open" for one that is for everybody.
func ranges(tb tester, t *Tables) map[string]string {
	tb.Helper()
	services, err := t.Services()
	if err != nil {
		tb.Fatalf("services: %v", err)
	}
	all := map[string]string{}
	for _, s := range services {
		list := []string{}
		for _, p := range s.Sources {
			list = append(list, p.String())
		}
		all[s.Name] = strings.Join(list, " ")
		if !s.Restricted {
			all[s.Name] = strings.TrimSpace("open " + all[s.Name])
		}
	}
	return all
}

func TestSources(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	four := func() Service { return svc("four", "10.0.0.1", "10.1.0.1:80") }
	six := func() Service { return svc("six", "fd00::1", "[fd01::1]:80") }
	ignored := four()
	ignored.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	steps := []struct {
		name     string
		want     []Service
		ranges   map[string]string
		in, out  []string // clients of four, or of six
		errorHas string
	}{
		{"open", []Service{four(), six()}, map[string]string{"four": "open", "six": "open"}, []string{"192.0.2.1", "fd02::1"}, nil, ""},
		{"ranges of an open one mean nothing", []Service{ignored, six()}, map[string]string{"four": "open", "six": "open"}, []string{"192.0.2.1"}, nil, ""},
		{"nobody", []Service{four().only(), six().only()}, map[string]string{"four": "", "six": ""}, nil, []string{"192.0.2.1", "fd02::1"}, ""},
		{"both families", []Service{four().only("192.0.2.0/24"), six().only("fd02::/64")}, map[string]string{"four": "192.0.2.0/24", "six": "fd02::/64"},
			[]string{"192.0.2.0", "192.0.2.255", "fd02::", "fd02::ffff:ffff:ffff:ffff"}, []string{"192.0.1.255", "192.0.3.0", "fd02:0:0:1::", "fd01:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, ""},
		{"everybody", []Service{four().only("0.0.0.0/0"), six().only("::/0")}, map[string]string{"four": "0.0.0.0/0", "six": "::/0"},
			[]string{"0.0.0.0", "255.255.255.255", "::", "::ffff:192.0.2.1", "ffff::"}, nil, ""},
		{"one address", []Service{four().only("192.0.2.7/32"), six().only("fd02::7/128")}, map[string]string{"four": "192.0.2.7/32", "six": "fd02::7/128"},
			[]string{"192.0.2.7", "fd02::7"}, []string{"192.0.2.6", "192.0.2.8", "fd02::6", "fd02::8"}, ""},
		{"overlapping, with host bits, and twice",
			[]Service{four().only("10.1.2.3/8", "10.1.0.0/16", "10.1.2.3/32", "10.0.0.0/8", "0.0.0.0/1"), six().only("fd02::1/64", "fd02::/64", "fd00::/8")},
			map[string]string{"four": "0.0.0.0/1 10.0.0.0/8 10.1.0.0/16 10.1.2.3/32", "six": "fd00::/8 fd02::/64"},
			[]string{"10.1.2.3", "10.1.9.9", "10.200.0.1", "1.1.1.1", "fd02::9", "fd77::"}, []string{"128.0.0.1", "fe00::"}, ""},
		{"the inner ones are left", []Service{four().only("10.1.2.3/32", "10.1.0.0/16"), six().only("fd02::/64")},
			map[string]string{"four": "10.1.0.0/16 10.1.2.3/32", "six": "fd02::/64"},
			[]string{"10.1.2.3", "10.1.9.9", "fd02::9"}, []string{"10.200.0.1", "1.1.1.1", "fd77::"}, ""},
		{"IPv4 written as IPv6", []Service{four().only("::ffff:10.2.0.0/112"), six()}, map[string]string{"four": "10.2.0.0/16", "six": "open"},
			[]string{"10.2.255.255", "fd77::"}, []string{"10.1.2.3", "10.3.0.0"}, ""},
		{"another family's costs itself", []Service{four().only("10.2.0.0/16"), six().only("fd02::/64", "10.0.0.0/8")}, map[string]string{"four": "10.2.0.0/16", "six": "open"},
			[]string{"10.2.0.1", "fd77::"}, []string{"10.1.2.3"}, "service six: source range 10.0.0.0/8 is not of the address family of [fd00::1]:80/tcp"},
		{"open again", []Service{four(), six()}, map[string]string{"four": "open", "six": "open"}, []string{"10.1.2.3", "fd77::"}, nil, ""},
	}
	for _, step := range steps {
		for _, again := range []bool{false, true} {
			if again { // also from what the kernel has
				d.restart(t)
			}
			err := d.Sync(t.Context(), Want{Services: step.want})
			if (err == nil) != (step.errorHas == "") || err != nil && !strings.Contains(err.Error(), step.errorHas) {
				t.Fatalf("%s: %v", step.name, err)
			}
			if diff := cmp.Diff(step.ranges, ranges(t, d.Tables)); diff != "" {
				t.Errorf("%s, after a restart: %t (-want +got):\n%s", step.name, again, diff)
			}
			for admitted, clients := range map[bool][]string{true: step.in, false: step.out} {
				for _, client := range clients {
					service := "four"
					if strings.Contains(client, ":") {
						service = "six"
					}
					if got := admits(t, d.Tables, service, client); got != admitted {
						t.Errorf("%s: %s serves %s: %t", step.name, service, client, got)
					}
				}
			}
			checkSources(t, d.Tables)
		}
	}
}

// checkSources compares the memory with the kernel.
func checkSources(tb tester, t *Tables) {
	tb.Helper()
	n := uint32(len(t.sources.gone))
	for _, s := range t.services {
		n += uint32(len(s.sources))
	}
	kernel, err := count[bpf.SourceKey](t.m.sources)
	if err != nil || n != t.sources.used || kernel != n {
		tb.Errorf("%d source ranges are remembered, %d counted, %d in the kernel: %v", n, t.sources.used, kernel, err)
	}
}

// A thousand ranges fit, and what does not fit is refused before any of it is there.
func TestSourcesFull(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	many := svc("many", "10.0.0.1", "10.1.0.1:80").only()
	for i := range 1000 {
		many = many.only(fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256))
	}
	few := svc("few", "10.0.0.2", "10.1.0.2:80").only("10.0.0.0/8")
	if err := d.Sync(t.Context(), Want{Services: []Service{few, many}}); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if client := fmt.Sprintf("172.%d.%d.77", 16+i/256, i%256); !admits(t, d.Tables, "many", client) {
			t.Errorf("%s is not served", client)
		}
	}
	if admits(t, d.Tables, "many", "172.19.232.1") {
		t.Error("a client beside a thousand ranges is served")
	}
	more := few
	for i := range 200 {
		more = more.only(fmt.Sprintf("192.168.%d.0/24", i))
	}
	err := d.Sync(t.Context(), Want{Services: []Service{more, many}})
	if err == nil || !strings.Contains(err.Error(), "service few: 200 more source ranges, and beside those of before there is room for 99 of 1100: raise datapath.maxSourceRanges") {
		t.Errorf("1201 ranges of 1100: %v", err)
	}
	if got := ranges(t, d.Tables)["few"]; got != "10.0.0.0/8" {
		t.Errorf("the service that found no room is for %s", got)
	}
	checkSources(t, d.Tables)
	if err := d.Sync(t.Context(), Want{Services: []Service{more}}); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	checkSources(t, d.Tables)
}

// A number goes to another service when nothing of the last one is left.
func TestSourcesAreNotInherited(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	used := map[uint32]string{}
	for i := range 20 {
		name := fmt.Sprint("service-", i)
		s := svc(name, "10.0.0.1", "10.1.0.1:80").only(fmt.Sprintf("172.16.%d.0/24", i))
		if err := d.Sync(t.Context(), Want{Services: []Service{s}}); err != nil {
			t.Fatal(err)
		}
		if !admits(t, d.Tables, name, fmt.Sprintf("172.16.%d.1", i)) {
			t.Errorf("%s does not serve its own client", name)
		}
		if before, again := used[d.services[name].id]; again && admits(t, d.Tables, name, "172.16."+strings.TrimPrefix(before, "service-")+".1") {
			t.Errorf("%s serves the client of %s, whose number it has", name, before)
		}
		used[d.services[name].id] = name
	}
	if len(used) == 20 {
		t.Error("no number was used again")
	}
	// Nor while something is left that could not be removed.
	id, right := d.services["service-19"].id, d.m.sources
	d.m.sources = d.m.backends // which has no such keys
	if err := d.Sync(t.Context(), Want{}); err == nil || !strings.Contains(err.Error(), "remove source range 172.16.19.0/24") {
		t.Errorf("a range can't be removed: %v", err)
	}
	d.m.sources = right
	if err := d.Sync(t.Context(), Want{Services: []Service{svc("next", "10.0.0.1", "10.1.0.1:80")}}); err != nil {
		t.Fatal(err)
	}
	if d.services["next"].id == id || !d.ids.has(id) {
		t.Errorf("number %d is used again, and ranges of the service before were there", id)
	}
	checkSources(t, d.Tables)
	// An agent that ended between a service and its ranges leaves these behind.
	stray := sourceKey(netip.MustParsePrefix("172.31.0.0/16"), 77)
	if err := d.m.sources.Put(stray, bpf.Source{}); err != nil {
		t.Fatal(err)
	}
	d.restart(t)
	checkSources(t, d.Tables)
}

// TestSourcesWhileTheyChange asks for a client who is always of some range, while the
// ranges around it come and go.
func TestSourcesWhileTheyChange(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	const client = "10.1.2.3"
	around := []string{"10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "10.1.2.2/31"}
	want := svc("a", "10.0.0.1", "10.1.0.1:80")
	if err := d.Sync(t.Context(), Want{Services: []Service{want}}); err != nil {
		t.Fatal(err)
	}
	id := d.services["a"].id
	stop, asked := make(chan struct{}), make(chan error)
	go func() {
		key := bpf.SourceKey{Prefixlen: bpf.SourceBits + 128, Service: id, Client: bpf.AddrFrom(netip.MustParseAddr(client))}
		for n := 0; ; n++ {
			select {
			case <-stop:
				asked <- nil
				return
			default:
			}
			var value bpf.Source
			began := time.Now()
			if d.published.get(id).Flags&bpf.RegionSources == 0 {
				continue
			}
			err := d.m.sources.Lookup(key, &value)
			if err != nil && time.Since(began) < grace/2 { // no program takes longer
				asked <- fmt.Errorf("question %d: %w", n, err)
				return
			}
		}
	}()
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 { // few would not meet the moment
		s := want
		if r.IntN(2) == 0 {
			r.Shuffle(len(around), func(i, j int) { around[i], around[j] = around[j], around[i] })
			s = s.only(around[:1+r.IntN(len(around))]...)
		}
		if err := d.Sync(t.Context(), Want{Services: []Service{s}}); err != nil {
			t.Fatal(err)
		}
		checkSources(t, d.Tables)
	}
	close(stop)
	if err := <-asked; err != nil {
		t.Error(err)
	}
}
