package ipam

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type notOf string

func (n notOf) Matches(labels map[string]string) bool { return labels["tenant"] != string(n) }
func (n notOf) String() string                        { return "tenant!=" + string(n) }

// Of a namespace that is not known yet, no selector can say anything.
func TestUnknownNamespace(t *testing.T) {
	p := pool("a", "192.0.2.0/24")
	p.NamespaceSelector = notOf("evil")
	l := newLedger(t, p)
	l.put(with(ask("x/a"), func(c *Claim) { c.NamespaceLabels = nil }))
	l.want("x/a", "NoPool")
	if m := l.said["x/a"].Refused[0].Message; !strings.Contains(m, "tenant!=evil") {
		t.Error(m)
	}
	l.edit("x/a", func(c *Claim) { c.NamespaceLabels = map[string]string{} })
	l.want("x/a", "192.0.2.0")
}

// An address that moves through a network leaves nothing behind that grows for ever.
func TestRestIsBounded(t *testing.T) {
	for _, between := range []bool{false, true} { // whether others ask for the next one meanwhile
		l := newLedger(t, pool("a", "2001:db8::/64"))
		six := func(c *Claim) { c.IPv4, c.IPv6, c.First6 = false, true, true }
		c := with(ask("x/a"), six)
		c.UID, c.Version = "a", "1"
		s := l.a.spaces.byFamily[v6][0]
		for at, i := addr("2001:db8::1:0"), 0; i < 5*maxRest; i++ {
			if between {
				at, _ = s.peek(l.a.taken)
			}
			c.Requested = append(c.Requested[:0:0], at)
			for _, d := range l.a.Update(c) {
				l.a.Landed(d.Service, d.Addresses)
				c.Held = d.Addresses
			}
			if at = at.Next(); between {
				s.peek(l.a.taken)
			}
		}
		if len(s.rest) > 2*maxRest || len(s.queue) > 5*maxRest {
			t.Errorf("others ask: %v: %d addresses rest, %d queued", between, len(s.rest), len(s.queue))
		}
	}
}

// The first address of a network is that of all its routers (RFC 4291, 2.6.1), but for
// those of two addresses or one (RFC 6164).
func TestAvoidRouters(t *testing.T) {
	p := pool("a", "2001:db8::/126", "2001:db8:1::/127", "2001:db8:2::/128")
	p.AvoidBuggyIPs = true
	l := newLedger(t, p)
	six := func(c *Claim) { c.IPv4, c.IPv6, c.First6 = false, true, true }
	for i, want := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::", "2001:db8:1::1", "2001:db8:2::", "PoolExhausted"} {
		name := "x/" + string(rune('a'+i))
		l.put(with(ask(name), six))
		l.want(name, want)
	}
	if m := l.said["x/g"].Refused[0].Message; !strings.Contains(m, "6 of 7 in use, the rest are networks' first ones") {
		t.Error(m)
	}
	l.put(with(ask("x/asks", "2001:db8::"), six))
	l.want("x/asks", "2001:db8::")
	l.remove("x/asks")
	l.want("x/g", "PoolExhausted")
}

// Whatever is taken and freed, a space finds a free address as long as there is one, and
// forgets no more than it may.
func TestSpaceProperties(t *testing.T) {
	defer func(most int) { maxRest = most }(maxRest)
	rapid.Check(t, func(t *rapid.T) {
		maxRest = rapid.IntRange(1, 3).Draw(t, "maxRest")
		p := pool("a", "2001:db8::10/124", "2001:db8::20/127")
		p.AvoidBuggyIPs = rapid.Bool().Draw(t, "avoid")
		s, has := newSpace(&p, v6), map[netip.Addr]bool{}
		taken := func(a netip.Addr) bool { return has[a] }
		var all []netip.Addr
		for _, r := range p.Ranges {
			for a := r.First; r.Contains(a); a = a.Next() {
				all = append(all, a)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"turn": func(t *rapid.T) {
				a := rapid.SampledFrom(all).Draw(t, "address")
				if has[a] {
					delete(has, a)
					s.free(a)
					return
				}
				has[a] = true
				s.take(a)
			},
			"next": func(t *rapid.T) {
				a, found := s.peek(taken)
				if could := slices.ContainsFunc(all, func(a netip.Addr) bool { return !has[a] && !s.avoids(a) }); could != found {
					t.Fatalf("it finds one: %v, there is one: %v", found, could)
				}
				if found && (has[a] || s.avoids(a) || !slices.Contains(all, a)) {
					t.Fatalf("it gives %v", a)
				}
				if found && rapid.Bool().Draw(t, "taken") {
					has[a] = true
					s.take(a)
				}
			},
			"": func(t *rapid.T) {
				above := 0
				for a := range s.rest {
					if s.ahead(a) {
						above++
					}
				}
				if above != s.above || above >= 2*maxRest {
					t.Fatalf("%d above next rest, counted as %d", above, s.above)
				}
			},
		})
	})
}
