package ipam

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func sharer(i int, key string) Claim {
	return with(ask(fmt.Sprintf("x/s%04d", i)), func(c *Claim) {
		c.Namespace, c.SharingKey, c.Created = "x", key, time.Unix(int64(i), 0)
		c.Ports = []Port{{uint16(1 + i), "TCP"}}
	})
}

// What one namespace does with a key costs in proportion: who joins changes no more than
// the first few.
func TestManyShare(t *testing.T) {
	const n = 200
	a := New([]Pool{pool("a", "192.0.2.0/24")})
	decisions, last := 0, map[string]Decision{}
	for i := range n {
		for _, d := range a.Update(sharer(i, "k")) {
			decisions++
			last[d.Service] = d
		}
	}
	if decisions > 2*n {
		t.Errorf("%d Services of one key make %d decisions", n, decisions)
	}
	holders := map[string]int{}
	for _, d := range last {
		holders[d.Addresses[0].String()]++
		if len(d.SharedWith) > 5 || slices.Contains(d.SharedWith, d.Service) {
			t.Errorf("%s shares with %v", d.Service, d.SharedWith)
		}
	}
	for text, n := range holders {
		if n > 64 {
			t.Errorf("%s has %d Services", text, n)
		}
	}
	if d := last["x/s0063"]; !d.SharedMore || !slices.Equal(d.SharedWith, []string{"x/s0058", "x/s0059", "x/s0060", "x/s0061", "x/s0062"}) {
		t.Errorf("%+v", d)
	}
	decisions = 0
	for i := range n {
		decisions += len(a.Delete(fmt.Sprintf("x/s%04d", i)))
	}
	if decisions > 10*n {
		t.Errorf("that %d Services go makes %d decisions", n, decisions)
	}
}

func TestSharingIsBounded(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/32", "2001:db8::/64"))
	for i := range 64 {
		l.put(sharer(i, "k"))
		l.want(fmt.Sprintf("x/s%04d", i), "192.0.2.0")
	}
	l.put(with(sharer(64, "k"), func(c *Claim) { c.Requested = append(c.Requested, addr("192.0.2.0")) }))
	l.put(sharer(65, "k"))
	l.want("x/s0064", "AddressInUse")
	if m := l.said["x/s0064"].Refused[0].Message; !strings.Contains(m, "64 Services have 192.0.2.0") || !strings.Contains(m, "ask for another") {
		t.Error(m)
	}
	l.want("x/s0065", "PoolExhausted")
	l.edit("x/s0007", func(c *Claim) { c.Ports = []Port{{7777, "TCP"}} })
	l.want("x/s0007", "192.0.2.0")
	l.remove("x/s0009")
	l.want("x/s0064", "192.0.2.0")
	l.want("x/s0065", "PoolExhausted")
	l.remove("x/s0010")
	l.want("x/s0065", "192.0.2.0")
	// More than there may be, as an earlier version let them: they are kept.
	c := sharer(66, "k")
	c.Created, c.Held = time.Unix(1<<20, 0), append(c.Held, addr("192.0.2.0"))
	l.claims[c.Service] = c
	l.restart(pool("a", "192.0.2.0/32"))
	for service := range l.claims {
		l.want(service, "192.0.2.0")
	}
}

// A key is of its namespace: nobody joins who could not edit the Service that is there.
func TestKeyOfAnotherNamespace(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/31"))
	l.put(sharer(1, "k"))
	stranger := func(name string, requested ...string) Claim {
		return with(ask("y/"+name, requested...), func(c *Claim) { c.Namespace, c.SharingKey, c.Ports = "y", "k", []Port{{443, "TCP"}} })
	}
	l.put(stranger("a"))
	l.put(stranger("b", "192.0.2.0"))
	l.want("x/s0001", "192.0.2.0")
	l.want("y/a", "192.0.2.1")
	l.want("y/b", "AddressInUse")
	if m := l.said["y/b"].Refused[0].Message; !strings.Contains(m, "another namespace") {
		t.Error(m)
	}
	l.put(sharer(2, "k"))
	l.want("x/s0002", "192.0.2.0")
}

// An address that nobody gets unasked is one to join all the same.
func TestJoinWhoAsked(t *testing.T) {
	p := pool("a", "192.0.2.0/32")
	p.AvoidBuggyIPs = true
	l := newLedger(t, p)
	l.put(sharer(1, "k"))
	l.want("x/s0001", "PoolExhausted")
	l.put(with(sharer(2, "k"), func(c *Claim) { c.Requested = append(c.Requested, addr("192.0.2.0")) }))
	l.want("x/s0002", "192.0.2.0")
	l.want("x/s0001", "192.0.2.0")
}

// Who shares two addresses with others hears of those before it on both.
func TestSharersOfTwoFamilies(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/32", "2001:db8::/128"))
	for i := range 12 { // the even ones with the one family, the odd ones with the other
		l.put(with(sharer(i, "k"), func(c *Claim) { c.IPv4, c.IPv6 = i%2 > 0, i%2 == 0 }))
	}
	l.put(dual(sharer(12, "k"), RequireDual))
	if d := l.said["x/s0012"]; !d.SharedMore || strings.Join(d.SharedWith, " ") != "x/s0007 x/s0008 x/s0009 x/s0010 x/s0011" {
		t.Errorf("%+v", d)
	}
}

// Of those whose ports came to overlap, the oldest has the port.
func TestManyWithOnePort(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/32"))
	for i := range 10 {
		l.put(sharer(i, "k"))
	}
	for i := range 10 {
		l.edit(fmt.Sprintf("x/s%04d", i), func(c *Claim) { c.Ports = []Port{{80, "TCP"}, {81, "TCP"}} })
	}
	l.want("x/s0000", "192.0.2.0")
	l.want("x/s0009", "192.0.2.0 -PortInUse")
	if w := l.said["x/s0009"].Warnings; !strings.Contains(w[0].Message, "x/s0000 has port 80/TCP") {
		t.Error(w)
	}
}

func BenchmarkSharing(b *testing.B) {
	for b.Loop() {
		a := New([]Pool{pool("a", "192.0.2.0/24")})
		for i := range 400 {
			a.Update(sharer(i, "k"))
		}
	}
}
