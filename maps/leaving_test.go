package maps

import (
	"slices"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
)

// elements are those of backends that are not free, by whether they are leaving.
func elements(t *testing.T, tables *Tables) (stay, leave int) {
	t.Helper()
	if err := walk(tables.m.backends, func(_ uint32, raw bpf.Backend) error {
		switch {
		case raw.Nexthop.Flags&bpf.BackendLeaving != 0:
			leave++
		case raw != (bpf.Backend{}):
			stay++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return stay, leave
}

// backendsOf has each family's service with these backends.
func backendsOf(four, six []string) Want {
	return Want{Services: []Service{svc("a", "10.0.0.1", four...), svc("b", "fd00::1", six...)}}
}

// A backend that is gone is leaving when programs are waited for, and empty after that.
func TestBackendLeaves(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer d.close(t)
	sync := func(w Want) {
		t.Helper()
		if err := d.Sync(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	sync(backendsOf([]string{"10.1.0.1:80", "10.1.0.2:80"}, []string{"[fd01::1]:80", "[fd01::2]:80"}))
	var seen [][2]int
	d.quiesce = func() {
		stay, leave := elements(t, d.Tables)
		seen = append(seen, [2]int{stay, leave})
		quiesce()
	}
	sync(backendsOf([]string{"10.1.0.1:80"}, []string{"[fd01::1]:80"}))
	<-d.freed.quiet
	d.quiesce = quiesce
	if !slices.Contains(seen, [2]int{2, 2}) {
		t.Errorf("when programs were waited for, these stayed and left: %v; none of it were 2 and 2", seen)
	}
	for i, s := range seen[:len(seen)-1] { // the last is the wait before elements are used again
		if s[0]+s[1] != 4 {
			t.Errorf("wait %d: %d of 4 elements were empty already", i, 4-s[0]-s[1])
		}
	}
	if stay, leave := elements(t, d.Tables); stay != 2 || leave != 0 {
		t.Errorf("after it %d stay and %d leave, want 2 and 0", stay, leave)
	}
}

// An agent that ended while backends were leaving: who is wanted stays, with its element, and the
// others' are emptied. The same goes for elements that no key names any more.
func TestLeavingIsAdopted(t *testing.T) {
	d := open(t, pins(t), 8192)
	defer func() { d.close(t) }()
	all := backendsOf([]string{"10.1.0.1:80", "10.1.0.2:80"}, []string{"[fd01::1]:80", "[fd01::2]:80"})
	if err := d.Sync(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	was := indicesOf(d.Tables)
	for addr, index := range was {
		var raw bpf.Backend
		if err := d.m.backends.Lookup(index, &raw); err != nil {
			t.Fatal(err)
		}
		raw.Nexthop.Flags |= bpf.BackendLeaving
		if err := d.m.backends.Put(index, raw); err != nil {
			t.Fatal(err)
		}
		if addr == "10.1.0.2:80" {
			if err := d.m.backendIndices.Delete(bpf.BackendKey{Addr: raw.Addr, Port: raw.Port, Service: raw.Service}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.restart(t)
	if err := d.Sync(t.Context(), backendsOf([]string{"10.1.0.1:80"}, []string{"[fd01::1]:80"})); err != nil {
		t.Fatal(err)
	}
	now := indicesOf(d.Tables)
	for addr, index := range now {
		if was[addr] != index {
			t.Errorf("%s had element %d and has %d", addr, was[addr], index)
		}
	}
	if stay, leave := elements(t, d.Tables); stay != 2 || leave != 0 || len(now) != 2 {
		t.Errorf("%d stay and %d leave of %v, want 2 and 0", stay, leave, now)
	}
	if want := []string{"a 10.0.0.1:80/tcp 10.1.0.1:80=true", "b [fd00::1]:80/tcp [fd01::1]:80=true"}; !slices.Equal(content(t, d.Tables), want) {
		t.Errorf("the tables have %v, want %v", content(t, d.Tables), want)
	}
}

// indicesOf is which element each backend has.
func indicesOf(tables *Tables) map[string]uint32 {
	found := map[string]uint32{}
	for _, s := range tables.services {
		for addr, b := range s.backends {
			found[addr.String()] = b.index
		}
	}
	return found
}
