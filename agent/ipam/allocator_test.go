package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// ledger is an Allocator whose decisions are all written at once.
type ledger struct {
	*testing.T
	a       *Allocator
	claims  map[string]Claim
	said    map[string]Decision
	told    []string // Services with a decision since the last step
	clock   time.Time
	version int
}

func newLedger(t *testing.T, pools ...Pool) *ledger {
	l := &ledger{T: t, a: New(pools), claims: map[string]Claim{}, said: map[string]Decision{}, clock: time.Unix(0, 0)}
	l.a.Adopt(nil, nil)
	return l
}

func (l *ledger) write(decisions []Decision) {
	for len(decisions) > 0 {
		d := decisions[0]
		decisions = decisions[1:]
		c := l.claims[d.Service]
		if d.Changed != !slices.Equal(c.Held, d.Addresses) {
			l.Errorf("%s: changed %v, but it held %v: %+v", d.Service, d.Changed, c.Held, d)
		}
		c.Held = d.Addresses
		l.claims[d.Service], l.said[d.Service] = c, d
		l.told = append(l.told, d.Service)
		decisions = append(decisions, l.a.Landed(d.Service, d.Addresses)...)
	}
}

func (l *ledger) put(c Claim) {
	l.told = nil
	if was, known := l.claims[c.Service]; known {
		c.UID, c.Created, c.Held = was.UID, was.Created, was.Held
	} else {
		l.clock = l.clock.Add(time.Second)
		c.Created = l.clock
	}
	l.version++
	c.Version = fmt.Sprint(l.version)
	l.claims[c.Service] = c
	l.write(l.a.Update(c))
}

func (l *ledger) edit(service string, change func(*Claim)) {
	c := l.claims[service]
	change(&c)
	l.put(c)
}

func (l *ledger) remove(service string) {
	l.told = nil
	delete(l.claims, service)
	delete(l.said, service)
	l.write(l.a.Delete(service))
}

func (l *ledger) pools(pools ...Pool) {
	l.told = nil
	l.write(l.a.SetPools(pools))
}

// restart forgets everything but what Services hold.
func (l *ledger) restart(pools ...Pool) {
	l.told = nil
	l.a = New(pools)
	var all []Claim
	for _, c := range l.claims {
		all = append(all, c)
	}
	l.write(l.a.Adopt(all, nil))
}

// want checks a decision, written as "192.0.2.1 2001:db8::1 Reason -Warning".
func (l *ledger) want(service, want string) {
	l.Helper()
	d := l.said[service]
	var words []string
	for _, a := range d.Addresses {
		words = append(words, a.String())
	}
	for _, f := range d.Refused {
		words = append(words, string(f.Reason))
	}
	for _, f := range d.Warnings {
		words = append(words, "-"+string(f.Reason))
	}
	if got := strings.Join(words, " "); got != want {
		l.Errorf("%s: %s, want %s\n%+v", service, got, want, d)
	}
}

func dual(c Claim, p Policy) Claim { c.IPv4, c.IPv6, c.Policy = true, true, p; return c }

func pool(name string, ranges ...string) Pool {
	p := Pool{Name: name, AutoAssign: true}
	for _, r := range ranges {
		p.Ranges = append(p.Ranges, network(r))
	}
	return p
}

func with(c Claim, change func(*Claim)) Claim { change(&c); return c }

func TestFamilies(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/24", "2001:db8::/64"))
	l.put(ask("x/4"))
	l.put(with(ask("x/6"), func(c *Claim) { c.IPv4, c.IPv6, c.First6 = false, true, true }))
	l.put(dual(ask("x/46"), PreferDual))
	l.put(with(dual(ask("x/64"), RequireDual), func(c *Claim) { c.First6 = true }))
	l.put(dual(ask("x/first"), SingleStack))
	l.put(with(ask("x/alone"), func(c *Claim) { c.Policy = PreferDual })) // a cluster of one family
	l.put(with(ask("x/odd"), func(c *Claim) { c.Policy = RequireDual }))
	l.put(with(ask("x/none"), func(c *Claim) { c.IPv4 = false }))
	l.want("x/4", "192.0.2.0")
	l.want("x/6", "2001:db8::")
	l.want("x/46", "192.0.2.1 2001:db8::1")
	l.want("x/64", "2001:db8::2 192.0.2.2")
	l.want("x/first", "192.0.2.3")
	l.want("x/alone", "192.0.2.4")
	l.want("x/odd", "InvalidRequest")
	l.want("x/none", "InvalidRequest")
	// What stays, stays.
	l.edit("x/46", func(c *Claim) { c.IPv6, c.Policy = false, SingleStack })
	l.want("x/46", "192.0.2.1")
	l.edit("x/4", func(c *Claim) { *c = dual(*c, RequireDual) })
	l.want("x/4", "192.0.2.0 2001:db8::3")
	l.edit("x/64", func(c *Claim) { c.First6 = false })
	l.want("x/64", "192.0.2.2 2001:db8::2")
}

func TestOneFamilyMissing(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/24"))
	l.put(dual(ask("x/prefers"), PreferDual))
	l.put(dual(ask("x/requires"), RequireDual))
	l.put(ask("x/grows"))
	l.want("x/prefers", "192.0.2.0 -FamilyMissing")
	l.want("x/requires", "NoPool")
	l.edit("x/grows", func(c *Claim) { *c = dual(*c, RequireDual) })
	l.want("x/grows", "192.0.2.1 NoPool") // clients use the one it has
	l.pools(pool("a", "192.0.2.0/24"), pool("b", "2001:db8::/127"))
	l.want("x/prefers", "192.0.2.0 2001:db8::")
	l.want("x/requires", "192.0.2.2 2001:db8::1")
	l.want("x/grows", "192.0.2.1 PoolExhausted")
	l.remove("x/prefers")
	l.want("x/grows", "192.0.2.1 2001:db8::")
}

func TestRequests(t *testing.T) {
	named := pool("named", "198.51.100.0/30", "2001:db8:1::/126")
	named.AutoAssign = false
	of := pool("of-x", "203.0.113.0/24")
	of.Namespaces, of.Priority = []string{"x"}, -1
	l := newLedger(t, pool("a", "192.0.2.0/30", "2001:db8::/64"), named, of)
	l.put(ask("y/a"))
	l.want("y/a", "192.0.2.0")
	l.put(ask("x/a"))
	l.want("x/a", "203.0.113.0")
	l.put(ask("y/named", "198.51.100.2"))
	l.want("y/named", "198.51.100.2")
	l.put(with(ask("y/pool"), func(c *Claim) { c.Pool = "named" }))
	l.want("y/pool", "198.51.100.0")
	l.put(dual(ask("y/both", "198.51.100.1", "2001:db8:1::1"), RequireDual))
	l.want("y/both", "198.51.100.1 2001:db8:1::1")
	l.put(dual(ask("y/half", "198.51.100.3"), PreferDual))
	l.want("y/half", "198.51.100.3 2001:db8::")
	l.put(dual(ask("y/half2", "198.51.100.3"), PreferDual))
	l.want("y/half2", "2001:db8::1 AddressInUse")
	l.put(dual(ask("y/half3", "198.51.100.3"), RequireDual))
	l.want("y/half3", "AddressInUse")
	for _, tt := range []struct {
		name, want, message string
		change              func(*Claim)
	}{
		{"used", "AddressInUse", "Service y/a has 192.0.2.0", func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.0")} }},
		{"outside", "AddressOutsidePool", "no pool (pools of-x, a, named)", func(c *Claim) { c.Requested = []netip.Addr{addr("10.0.0.1")} }},
		{"forbidden", "AddressOutsidePool", "pool of-x, which is for namespace x", func(c *Claim) { c.Requested = []netip.Addr{addr("203.0.113.9")} }},
		{"family", "InvalidRequest", "2001:db8::9", func(c *Claim) { c.Requested = []netip.Addr{addr("2001:db8::9")} }},
		{"two", "InvalidRequest", "pool a", func(c *Claim) { c.Requested, c.Pool = []netip.Addr{addr("192.0.2.3")}, "named" }},
		{"no pool", "NoPool", "no pool b (pools of-x, a, named)", func(c *Claim) { c.Pool = "b" }},
		{"not ours", "NoPool", "pool of-x is for namespace x", func(c *Claim) { c.Pool = "of-x" }},
		{"full", "PoolExhausted", "pool named (4 of 4 in use)", func(c *Claim) { c.Pool = "named" }},
		{"invalid", "InvalidRequest", "garbage", func(c *Claim) { c.Invalid = []Finding{{InvalidRequest, "f", "garbage"}} }},
	} {
		l.put(with(ask("y/"+tt.name), tt.change))
		l.want("y/"+tt.name, tt.want)
		if got := l.said["y/"+tt.name].Refused; len(got) > 0 && !strings.Contains(got[0].Message, tt.message) {
			t.Errorf("%s: %s", tt.name, got[0].Message)
		}
	}
}

// A request that changes moves the address, once it can be met.
func TestRequestChanges(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/30"), pool("b", "198.51.100.0/31"))
	l.put(ask("x/a"))
	l.put(ask("x/b"))
	l.edit("x/a", func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.1")} })
	l.want("x/a", "192.0.2.0 AddressInUse")
	l.remove("x/b")
	l.want("x/a", "192.0.2.1")
	l.edit("x/a", func(c *Claim) { c.Requested = nil })
	l.want("x/a", "192.0.2.1")
	l.edit("x/a", func(c *Claim) { c.Pool = "b" })
	l.want("x/a", "198.51.100.0")
	l.edit("x/a", func(c *Claim) { c.Pool = "" })
	l.want("x/a", "198.51.100.0")
	l.edit("x/a", func(c *Claim) { c.Invalid = []Finding{{InvalidRequest, "f", "garbage"}} })
	l.want("x/a", "198.51.100.0 InvalidRequest")
	// The pool is full: it moves when there is room.
	l.edit("x/a", func(c *Claim) { c.Invalid, c.Pool = nil, "a" })
	l.want("x/a", "192.0.2.2")
	l.put(ask("x/c", "198.51.100.0"))
	l.put(ask("x/d", "198.51.100.1"))
	l.edit("x/a", func(c *Claim) { c.Pool = "b" })
	l.want("x/a", "192.0.2.2 PoolExhausted")
	l.remove("x/d")
	l.want("x/a", "198.51.100.1")
}

func TestSharing(t *testing.T) {
	key := func(k string, ports ...uint16) func(*Claim) {
		return func(c *Claim) {
			c.SharingKey, c.Ports = k, nil
			for _, p := range ports {
				c.Ports = append(c.Ports, Port{p, "TCP"})
			}
		}
	}
	l := newLedger(t, pool("a", "192.0.2.0/31", "2001:db8::/127"))
	l.put(with(dual(ask("x/a"), PreferDual), key("k", 80)))
	l.put(with(dual(ask("x/b"), PreferDual), key("k", 443)))
	l.want("x/b", "192.0.2.0 2001:db8::") // with x/a, as its ports allow
	if got := l.said["x/a"].SharedWith; !slices.Equal(got, []string{"x/b"}) || !slices.Contains(l.told, "x/a") {
		t.Errorf("x/a shares with %v; told %v", got, l.told)
	}
	l.put(with(ask("x/c"), key("k", 80)))
	l.want("x/c", "192.0.2.1")
	l.put(with(ask("x/d", "192.0.2.0"), key("k", 443)))
	l.want("x/d", "PortInUse")
	l.put(with(ask("x/e", "192.0.2.0"), key("", 9)))
	l.want("x/e", "AddressInUse")
	l.put(with(ask("x/f", "192.0.2.0"), key("other", 9)))
	l.want("x/f", "AddressInUse")
	l.put(with(ask("x/g"), key("k", 80, 443)))
	l.want("x/g", "PoolExhausted") // 80 is taken on both
	// Ports that come to overlap take nothing away; the younger one is warned.
	l.edit("x/b", key("k", 80, 443))
	l.want("x/b", "192.0.2.0 2001:db8:: -PortInUse -PortInUse")
	l.want("x/a", "192.0.2.0 2001:db8::")
	l.restart(pool("a", "192.0.2.0/31", "2001:db8::/127"))
	l.want("x/b", "192.0.2.0 2001:db8:: -PortInUse -PortInUse")
	l.edit("x/b", key("k", 444))
	l.want("x/b", "192.0.2.0 2001:db8::")
	l.want("x/d", "192.0.2.0") // 443 is free now
	// Who changes its key leaves.
	l.edit("x/a", key("mine", 80))
	l.want("x/a", "2001:db8::1 -AddressInUse -FamilyMissing")
	l.want("x/b", "192.0.2.0 2001:db8::")
}

// A place on an address of one's key is found when the key comes, too.
func TestWaitForKey(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/32"))
	l.put(ask("x/a"))
	l.put(with(ask("x/b"), func(c *Claim) { c.SharingKey, c.Ports = "k", []Port{{443, "TCP"}} }))
	l.want("x/b", "PoolExhausted")
	l.edit("x/a", func(c *Claim) { c.SharingKey = "k" })
	l.want("x/b", "192.0.2.0")
}

// An address that was never written is joined again only if the ports still allow it. What
// may still be written stays taken all the same.
func TestNeverWritten(t *testing.T) {
	a := New([]Pool{pool("a", "192.0.2.0/31")})
	a.Adopt(nil, nil)
	sharer := func(service, version string, port uint16, held ...string) Claim {
		c := ask(service)
		c.SharingKey, c.Version, c.Ports = "k", version, []Port{{port, "TCP"}}
		for _, h := range held {
			c.Held = append(c.Held, addr(h))
		}
		return c
	}
	a.Update(sharer("x/a", "1", 80, "192.0.2.0"))
	d := a.Update(sharer("x/b", "1", 81))[0]
	a.Flying(Intent{Service: "x/b", Addresses: d.Addresses, Version: "1"})
	if !slices.Equal(d.Addresses, []netip.Addr{addr("192.0.2.0")}) {
		t.Fatalf("%+v", d)
	}
	a.Update(sharer("x/a", "2", 81, "192.0.2.0"))
	// At the same version, its write may yet be done.
	if d := a.Update(sharer("x/b", "1", 81))[0]; d.Addresses[0] != addr("192.0.2.1") {
		t.Errorf("with its ports taken it gets %+v", d)
	}
	a.Delete("x/a")
	if d := a.Update(ask("x/c"))[0]; len(d.Addresses) > 0 {
		t.Errorf("while a write may be done, another one gets %v", d.Addresses)
	}
	all := a.Update(sharer("x/b", "2", 81))
	if i := slices.IndexFunc(all, func(d Decision) bool { return d.Service == "x/c" }); i < 0 || !slices.Equal(all[i].Addresses, []netip.Addr{addr("192.0.2.0")}) {
		t.Errorf("after it: %+v", all)
	}
}

// Pools that shrink, go or are put in another order take nothing away.
func TestPoolsChange(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/30"))
	l.put(ask("x/a"))
	l.put(with(ask("x/b"), func(c *Claim) { c.Pool = "a" }))
	only := pool("a", "192.0.2.0/30")
	only.Namespaces = []string{"y"}
	first := pool("0", "198.51.100.0/30")
	first.Priority = -1
	for _, step := range []struct {
		pools    []Pool
		a, b     string
		restarts bool
	}{
		{[]Pool{pool("a", "192.0.2.1/32")}, "192.0.2.0 -PoolShrunk", "192.0.2.1", true},
		{nil, "192.0.2.0 -PoolShrunk", "192.0.2.1 -PoolShrunk", true},
		{[]Pool{only}, "192.0.2.0 -PoolShrunk", "192.0.2.1 -PoolShrunk", true},
		{[]Pool{pool("other", "192.0.2.0/24")}, "192.0.2.0", "192.0.2.1 -PoolShrunk", true},
		{[]Pool{pool("other", "192.0.2.0/24"), pool("a", "10.0.0.0/24")}, "192.0.2.0", "192.0.2.1 -PoolShrunk", true},
		{[]Pool{first, pool("a", "192.0.2.0/30")}, "192.0.2.0", "192.0.2.1", true},
	} {
		l.pools(step.pools...)
		l.want("x/a", step.a)
		l.want("x/b", step.b)
		l.restart(step.pools...)
		l.want("x/a", step.a)
		l.want("x/b", step.b)
	}
	l.put(ask("x/c"))
	l.want("x/c", "198.51.100.0")
}

func TestAdoptConflict(t *testing.T) {
	l := newLedger(t)
	hold := func(service string, change func(*Claim), held ...string) {
		c := with(ask(service), change)
		l.clock = l.clock.Add(time.Second)
		c.Created = l.clock
		for _, h := range held {
			c.Held = append(c.Held, addr(h))
		}
		l.claims[service] = c
	}
	none := func(*Claim) {}
	hold("x/z", none, "192.0.2.7")
	hold("x/a", none, "192.0.2.7")
	hold("x/b", func(c *Claim) { c.Requested = []netip.Addr{addr("192.0.2.7")} }, "192.0.2.7")
	hold("x/c", none, "10.0.0.1", "192.0.2.8", "2001:db8::1") // too many, and a family that it has not
	hold("x/d", none)
	hold("x/e", func(c *Claim) { c.SharingKey = "k" }, "192.0.2.9")
	hold("x/f", func(c *Claim) { c.SharingKey = "k" }, "192.0.2.9")
	l.restart(pool("a", "192.0.2.0/28"))
	l.want("x/z", "192.0.2.7")
	l.want("x/a", "192.0.2.0 -AddressInUse")
	l.want("x/b", "AddressInUse")
	l.want("x/c", "10.0.0.1 -PoolShrunk")
	l.want("x/d", "192.0.2.1")
	l.want("x/e", "192.0.2.9")
	l.want("x/f", "192.0.2.9 -PortInUse")
	// One that comes later, with an address, keeps it if it can.
	hold("x/g", none, "192.0.2.5")
	l.put(l.claims["x/g"])
	l.want("x/g", "192.0.2.5")
	hold("x/h", none, "192.0.2.5")
	l.put(l.claims["x/h"])
	l.want("x/h", "192.0.2.2 -AddressInUse")
	// Somebody wipes a status, or puts another address there: it is written again.
	l.edit("x/g", func(c *Claim) {})
	c := l.claims["x/g"]
	c.Held = nil
	l.claims["x/g"] = c
	l.put(c)
	l.want("x/g", "192.0.2.5")
}

// The lowest address first, freed ones last, the oldest waiting one first.
func TestOrder(t *testing.T) {
	l := newLedger(t, pool("a", "192.0.2.0/30"))
	for i := range 3 {
		l.put(ask(fmt.Sprint("x/", i)))
		l.want(fmt.Sprint("x/", i), fmt.Sprint("192.0.2.", i))
	}
	l.remove("x/1")
	l.remove("x/0")
	l.put(ask("x/3"))
	l.want("x/3", "192.0.2.3")
	l.put(ask("x/4"))
	l.want("x/4", "192.0.2.1")
	l.put(ask("x/5"))
	l.want("x/5", "192.0.2.0")
	l.put(ask("x/z"))
	l.put(ask("x/y", "192.0.2.2"))
	l.put(ask("x/x"))
	l.remove("x/2")
	l.want("x/z", "192.0.2.2")
	l.want("x/y", "AddressInUse")
	if f := l.said["x/y"].Refused; !strings.Contains(f[0].Message, "x/z") {
		t.Errorf("x/y is told of %s", f[0].Message)
	}
	l.remove("x/4")
	l.want("x/x", "192.0.2.1")
	l.remove("x/z")
	l.want("x/y", "192.0.2.2")
}

func TestAvoidBuggyIPs(t *testing.T) {
	p := pool("a", "192.0.2.254/31", "192.0.3.0/31", "2001:db8::ff00/127")
	p.AvoidBuggyIPs = true
	l := newLedger(t, p)
	l.put(ask("x/a"))
	l.put(ask("x/b"))
	l.put(ask("x/c"))
	l.put(ask("x/d", "192.0.3.0"))
	l.put(with(ask("x/6"), func(c *Claim) { c.IPv4, c.IPv6, c.First6 = false, true, true }))
	l.want("x/a", "192.0.2.254")
	l.want("x/b", "192.0.3.1")
	l.want("x/c", "PoolExhausted")
	l.want("x/d", "192.0.3.0")
	l.want("x/6", "2001:db8::ff00")
	l.remove("x/d")
	l.want("x/c", "PoolExhausted")
	if m := l.said["x/c"].Refused[0].Message; !strings.Contains(m, "pool a (3 of 4 in use, the rest end in .0 or .255)") && !strings.Contains(m, "(2 of 4") {
		t.Error(m)
	}
	l.remove("x/a")
	l.want("x/c", "192.0.2.254")
}

func TestAdoptTwice(t *testing.T) {
	a := New([]Pool{pool("a", "192.0.2.0/31")})
	c := with(ask("x/a"), func(c *Claim) { c.Held = []netip.Addr{addr("192.0.2.0")} })
	a.Adopt([]Claim{c, c}, nil)
	a.Delete("x/a")
	if u := a.Usage()[0]; u.Allocated != 0 {
		t.Errorf("%+v", u)
	}
}

func TestUsage(t *testing.T) {
	l := newLedger(t, pool("b", "::/0", "192.0.2.1/32"), pool("a", "192.0.2.8/29", "198.51.100.0/24"))
	l.put(dual(ask("x/a"), PreferDual))
	want := []Usage{{"a", "ipv4", 264, 1}, {"b", "ipv4", 1, 0}, {"b", "ipv6", ^uint64(0), 1}}
	if got := l.a.Usage(); !slices.Equal(got, want) {
		t.Errorf("usage %+v", got)
	}
}

func TestRange(t *testing.T) {
	for _, tt := range []struct{ first, last, text string }{
		{"192.0.2.0", "192.0.2.255", "192.0.2.0/24"}, {"192.0.2.1", "192.0.2.1", "192.0.2.1/32"}, {"192.0.2.1", "192.0.2.2", "192.0.2.1-192.0.2.2"},
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"}, {"2001:db8::", "2001:db8::ffff", "2001:db8::/112"}, {"2001:db8::", "2001:db8::fffe", "2001:db8::-2001:db8::fffe"},
	} {
		r := Range{addr(tt.first), addr(tt.last)}
		if got := r.String(); got != tt.text {
			t.Errorf("%s-%s is written %s", tt.first, tt.last, got)
		}
		if p, err := netip.ParsePrefix(tt.text); err == nil && RangeOf(p) != r {
			t.Errorf("%s is %v", tt.text, RangeOf(p))
		}
	}
}
