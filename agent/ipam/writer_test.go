package ipam

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// pair is two writers over an API server, each stopped before every call.
func pair(t *testing.T, pools ...Pool) (*world, *client, *client) {
	w := newWorld()
	for _, name := range []string{"lb1", "lb2"} {
		c := &client{w: w, name: name, pools: pools, news: map[string]bool{}}
		c.writer = NewWriter(c, name, pools, func() time.Time { return w.clock }, slog.New(slog.DiscardHandler))
		w.clients = append(w.clients, c)
		t.Cleanup(c.kill)
	}
	t.Cleanup(func() {
		for _, b := range w.broken {
			t.Error(b)
		}
	})
	return w, w.clients[0], w.clients[1]
}

func ask(service string, requested ...string) Claim {
	ns, _, _ := strings.Cut(service, "/")
	c := Claim{Service: service, Namespace: ns, IPv4: true, AskedBy: "spec.loadBalancerIP", Ports: []Port{{80, "TCP"}}}
	for _, r := range requested {
		c.Requested = append(c.Requested, addr(r))
	}
	return c
}

// until lets calls be done up to one that begins like this.
func (c *client) until(t *testing.T, call string) {
	t.Helper()
	for !strings.HasPrefix(c.call, call) {
		if !c.busy {
			t.Fatalf("it is over (%v) without %s", c.err, call)
		}
		c.step(done)
	}
}

func (w *world) held(t *testing.T, service string, want ...string) {
	t.Helper()
	var texts []string
	for _, a := range w.services[service].claim.Held {
		texts = append(texts, a.String())
	}
	if !slices.Equal(texts, want) {
		t.Errorf("%s has %v, want %v", service, texts, want)
	}
}

var small = Pool{Name: "a", Ranges: []Range{network("192.0.2.0/31")}, AutoAssign: true}

// The former leader's write arrives late, when another Service asks for the address.
func TestLateWriteOfFormerLeader(t *testing.T) {
	w, one, two := pair(t, small)
	w.create(ask("x/a", "192.0.2.1"))
	w.edit(w.services["x/a"], func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.99")} })
	one.lead()
	one.finish()
	w.create(ask("x/b"))
	one.reconcile([]string{"x/b"})
	one.until(t, "PutStatus x/b")
	one.step(late)
	one.finish()
	// The older Service wants what is on its way to the younger one.
	w.edit(w.services["x/a"], func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.0")} })
	two.lead()
	two.until(t, "PutStatus x/b")
	w.delayed[0]()
	two.finish()
	w.held(t, "x/b", "192.0.2.0")
	w.held(t, "x/a")
	if two.err != nil {
		t.Error(two.err)
	}
	// The former leader comes to itself.
	one.reconcile([]string{"x/a", "x/b"})
	one.finish()
	w.edit(w.services["x/a"], func(c *Claim) { c.Requested = nil })
	one.reconcile([]string{"x/a"})
	one.finish()
	if !errors.Is(one.err, ErrFenced) {
		t.Errorf("the former leader: %v", one.err)
	}
	two.reconcile([]string{"x/a"})
	two.finish()
	w.held(t, "x/a", "192.0.2.1")
}

// The former leader wakes up before it has announced anything.
func TestPausedBeforeTheFence(t *testing.T) {
	w, one, two := pair(t, small)
	one.lead()
	one.finish()
	w.create(ask("x/a"))
	w.create(ask("x/b"))
	one.reconcile([]string{"x/b"})
	one.until(t, "PutFence")
	two.lead()
	two.finish()
	one.finish()
	if !errors.Is(one.err, ErrFenced) {
		t.Errorf("the former leader: %v", one.err)
	}
	w.held(t, "x/a", "192.0.2.0")
	w.held(t, "x/b", "192.0.2.1")
	one.reconcile([]string{"x/a"})
	if one.finish(); !errors.Is(one.err, ErrFenced) {
		t.Errorf("once more: %v", one.err)
	}
}

// The answer to the write of the fence is lost, and the same leader goes on.
func TestLostAnswerOfTheFence(t *testing.T) {
	for _, f := range []fate{lost, late, refused} {
		w, one, _ := pair(t, small)
		one.lead()
		one.finish()
		w.create(ask("x/a"))
		one.reconcile([]string{"x/a"})
		one.until(t, "PutFence")
		one.step(f)
		one.finish()
		if one.err == nil || errors.Is(one.err, ErrFenced) {
			t.Errorf("%d: %v", f, one.err)
		}
		w.held(t, "x/a")
		one.reconcile([]string{"x/a"})
		one.finish()
		w.held(t, "x/a", "192.0.2.0")
		for _, land := range w.delayed {
			land()
		}
		w.create(ask("x/b"))
		one.reconcile([]string{"x/b"})
		one.finish()
		w.held(t, "x/b", "192.0.2.1")
	}
}

// An address is another's only after its former owner's status was written.
func TestMoveFreesAfterTheWrite(t *testing.T) {
	w, one, _ := pair(t, small)
	w.create(ask("x/z"))
	w.create(ask("x/b"))
	one.lead()
	one.finish()
	w.create(ask("x/a")) // waits
	one.reconcile([]string{"x/a"})
	one.finish()
	w.held(t, "x/a")
	w.edit(w.services["x/z"], func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.1")} })
	one.reconcile([]string{"x/z"}) // waits too, and is older
	one.finish()
	w.held(t, "x/z", "192.0.2.0")
	w.remove("x/b")
	one.reconcile([]string{"x/b"})
	one.until(t, "PutStatus x/z")
	one.step(refused)
	one.finish()
	w.held(t, "x/a")
	one.reconcile([]string{"x/z"})
	one.finish()
	w.held(t, "x/z", "192.0.2.1")
	w.held(t, "x/a", "192.0.2.0")
}

// Many Services cost few writes of the fence, and one that cannot be written costs itself.
func TestBatches(t *testing.T) {
	w, one, _ := pair(t, Pool{Name: "a", Ranges: []Range{network("10.0.0.0/16"), network("2001:db8::/64")}, AutoAssign: true})
	one.lead()
	one.finish()
	var names []string
	for i := range 1000 {
		c := ask(fmt.Sprintf("x/s%04d", i))
		c.IPv6, c.Policy = true, PreferDual
		w.create(c)
		names = append(names, c.Service)
	}
	var fences int
	var fate fate
	for one.reconcile(names); one.busy; one.step(fate) {
		if fate = done; strings.HasPrefix(one.call, "PutFence") {
			fences++
			if n := len(w.fence.Intents); n > maxBatch+1 {
				t.Errorf("%d intents", n)
			}
		} else if strings.HasPrefix(one.call, "PutStatus x/s0500@") {
			fate = refused
		}
	}
	if fences != 4 {
		t.Errorf("%d writes of the fence", fences)
	}
	failed, ok := errors.AsType[*ServiceError](one.err)
	if !ok || failed.Service != "x/s0500" || !errors.Is(one.err, errNoAnswer) {
		t.Errorf("error %v", one.err)
	}
	for _, name := range names {
		if got := len(w.services[name].claim.Held); (got == 2) != (name != "x/s0500") {
			t.Fatalf("%s has %d addresses", name, got)
		}
	}
	one.reconcile([]string{"x/s0500"})
	one.finish()
	w.held(t, "x/s0500", "10.0.1.244", "2001:db8::1f4")
	if u := one.writer.Usage(); u[0].Allocated != 1000 || u[0].Total != 65536 || u[1].Allocated != 1000 || u[1].Total != ^uint64(0) {
		t.Errorf("usage %+v", u)
	}
}

// While one begins to lead, the other one goes on writing until it is fenced.
func TestLeadReadsAfterTheFence(t *testing.T) {
	w, one, two := pair(t, small)
	one.lead()
	one.finish()
	w.create(ask("x/t")) // older, and not known to the first one
	w.create(ask("x/a"))
	two.lead()
	two.until(t, "PutFence")
	one.reconcile([]string{"x/a"})
	one.finish()
	w.create(ask("x/b"))
	one.reconcile([]string{"x/b"}) // takes the first intent off the fence
	one.finish()
	two.finish()
	w.held(t, "x/a", "192.0.2.0")
	w.held(t, "x/b", "192.0.2.1")
	w.held(t, "x/t")
	if got := w.said["x/t"].Refused; len(got) != 1 || got[0].Reason != PoolExhausted {
		t.Errorf("x/t: %+v", got)
	}
}

// What may still be written stays on the fence while others are announced.
func TestOpenWritesStayAnnounced(t *testing.T) {
	w, one, two := pair(t, Pool{Name: "a", Ranges: []Range{network("192.0.2.0/30")}, AutoAssign: true})
	w.create(ask("x/a", "192.0.2.99"))
	one.lead()
	one.finish()
	w.create(ask("x/z"))
	one.reconcile([]string{"x/z"})
	one.until(t, "PutStatus x/z")
	one.step(late)
	one.finish()
	w.create(ask("x/b"))
	one.reconcile([]string{"x/b"})
	one.finish()
	w.held(t, "x/b", "192.0.2.1")
	w.edit(w.services["x/a"], func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.0")} })
	two.lead()
	two.until(t, "PutStatus x/z")
	w.delayed[0]()
	two.finish()
	w.held(t, "x/a")
	w.held(t, "x/z", "192.0.2.0")
}

// What one Service frees in a batch is announced before another one of that batch gets it.
func TestFreedWithinABatch(t *testing.T) {
	w, one, _ := pair(t, Pool{Name: "a", Ranges: []Range{network("192.0.2.0/31"), network("2001:db8::/128")}, AutoAssign: true})
	w.create(ask("x/a"))
	w.create(ask("x/b"))
	w.create(ask("x/c"))
	one.lead()
	one.finish()
	w.held(t, "x/c")
	w.edit(w.services["x/a"], func(c *Claim) { c.IPv4, c.IPv6, c.First6 = false, true, true })
	w.edit(w.services["x/c"], func(c *Claim) { c.Ports = nil })
	one.reconcile([]string{"x/a", "x/c"})
	one.finish()
	w.held(t, "x/a", "2001:db8::")
	w.held(t, "x/c", "192.0.2.0")
}
