package ipam

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func network(text string) Range { return RangeOf(netip.MustParsePrefix(text)) }

// menu are the pools that the model chooses from: so few addresses that they run out.
var menu = [][]Pool{
	{{Name: "a", Ranges: []Range{network("192.0.2.0/30"), network("2001:db8::/127")}, AutoAssign: true},
		{Name: "b", Ranges: []Range{network("192.0.2.8/31"), network("2001:db8::8/127")}, Priority: 1, AutoAssign: true},
		{Name: "c", Ranges: []Range{network("192.0.2.16/32"), network("2001:db8::10/128")}}},
	// Another order, a range of another pool, fewer addresses, for one namespace.
	{{Name: "a", Ranges: []Range{network("192.0.2.0/31"), network("2001:db8::/127")}, AutoAssign: true, Priority: 2},
		{Name: "b", Ranges: []Range{network("192.0.2.2/31"), network("192.0.2.8/31")}, Priority: 1, AutoAssign: true}},
	{{Name: "b", Ranges: []Range{network("192.0.2.8/30"), network("2001:db8::8/126")}, AutoAssign: true, Namespaces: []string{"y"}},
		{Name: "c", Ranges: []Range{network("192.0.2.0/31")}, AutoAssign: true}},
	nil,
}

type model struct {
	*world
	pools []Pool
}

func (m *model) fatal(t *rapid.T) {
	if len(m.broken) > 0 {
		t.Fatal(m.broken[0])
	}
}

func drawSpec(t *rapid.T, c *Claim) {
	switch rapid.IntRange(0, 5).Draw(t, "families") {
	case 0:
		c.IPv4, c.IPv6, c.First6, c.Policy = false, true, true, SingleStack
	case 1:
		c.IPv4, c.IPv6, c.First6, c.Policy = true, true, rapid.Bool().Draw(t, "first6"), PreferDual
	case 2:
		c.IPv4, c.IPv6, c.First6, c.Policy = true, true, rapid.Bool().Draw(t, "first6"), RequireDual
	default:
		c.IPv4, c.IPv6, c.First6, c.Policy = true, false, false, SingleStack
	}
	drawRequest(t, c)
	drawSharing(t, c)
}

func drawRequest(t *rapid.T, c *Claim) {
	c.Requested, c.Pool, c.Invalid = nil, "", nil
	switch rapid.IntRange(0, 7).Draw(t, "request") {
	case 0, 1:
		c.Requested = append(c.Requested, netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.SampledFrom([]int{0, 1, 2, 8, 16, 99}).Draw(t, "v4"))}))
	case 2:
		c.Requested = append(c.Requested, netip.MustParseAddr(rapid.SampledFrom([]string{"2001:db8::", "2001:db8::8", "2001:db8::10"}).Draw(t, "v6")))
	case 3:
		c.Pool = rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "pool")
	case 4:
		c.Invalid = rapid.SampledFrom([][]Finding{nil, {{InvalidRequest, "x", "y"}}}).Draw(t, "invalid")
	}
}

func drawSharing(t *rapid.T, c *Claim) {
	c.SharingKey = rapid.SampledFrom([]string{"", "", "k", "k", "l"}).Draw(t, "key")
	drawPorts(t, c)
}

func drawPorts(t *rapid.T, c *Claim) {
	c.Ports = nil
	for _, n := range rapid.SliceOfNDistinct(rapid.Uint16Range(1, 5), 1, 2, rapid.ID[uint16]).Draw(t, "ports") {
		c.Ports = append(c.Ports, Port{n, "TCP"})
	}
}

func (m *model) existing(t *rapid.T) *object {
	names := slices.Sorted(maps.Keys(m.services))
	if len(names) == 0 {
		t.Skip("no service")
	}
	return m.services[rapid.SampledFrom(names).Draw(t, "service")]
}

func (m *model) client(t *rapid.T) *client {
	return m.clients[rapid.IntRange(0, len(m.clients)-1).Draw(t, "writer")]
}

// calm lets one writer lead without disturbance until nothing changes, and checks that
// everything is as it should be.
func (m *model) calm(t *rapid.T) {
	for _, c := range m.clients {
		if rapid.Bool().Draw(t, "killed") {
			m.reborn(c)
		}
	}
	leader := m.client(t)
	for _, c := range m.clients {
		c.finish()
	}
	must := func(what string, begin func()) {
		begin()
		leader.finish()
		m.fatal(t)
		if leader.err != nil {
			t.Fatalf("%s: %v", what, leader.err)
		}
	}
	news := func() { leader.reconcile(slices.Sorted(maps.Keys(leader.news))) }
	if leader.setPools(m.pools); true {
		leader.finish()
	}
	if leader.err != nil || leader.writer.alloc == nil || m.fence.Epoch != leader.writer.fence.Epoch || rapid.Bool().Draw(t, "anew") {
		must("Lead", leader.lead)
	}
	must("Reconcile", news)
	for rounds := 0; len(leader.news) > 0; rounds++ {
		if must("Reconcile again", news); rounds > 10 {
			t.Fatal("it never ends to write")
		}
	}
	version := m.version
	must("Reconcile all", func() { leader.reconcile(slices.Sorted(maps.Keys(m.services))) })
	if m.version != version {
		t.Fatal("it writes although nothing has changed")
	}
	m.checkCalm(t, leader.writer)
	// Another leader finds nothing to do, whatever it was told before.
	m.reborn(leader)
	leader.setPools(m.pools)
	version = m.version
	if must("Lead anew", leader.lead); m.version != version+1 {
		t.Fatal("a new leader writes although nothing has changed")
	}
}

func (m *model) reborn(c *client) {
	c.kill()
	c.news = map[string]bool{}
	c.writer = NewWriter(c, c.name, c.pools, func() time.Time { return m.clock }, slog.New(slog.DiscardHandler))
}

func TestWriterProperties(t *testing.T) {
	defer func(most int) { maxSharers = most }(maxSharers)
	maxSharers = 2
	rapid.Check(t, func(t *rapid.T) {
		m := &model{world: newWorld(), pools: menu[0]}
		for i := range rapid.IntRange(1, 3).Draw(t, "writers") {
			c := &client{w: m.world, name: fmt.Sprint("lb", i), pools: menu[0]}
			m.reborn(c)
			m.clients = append(m.clients, c)
		}
		defer func() {
			for _, c := range m.clients {
				c.kill()
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				ns := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace")
				c := Claim{Service: fmt.Sprint(ns, "/s", rapid.IntRange(0, 4).Draw(t, "name")), Namespace: ns}
				if m.services[c.Service] != nil {
					t.Skip("it exists")
				}
				drawSpec(t, &c)
				m.create(c)
			},
			"delete": func(t *rapid.T) {
				o := m.existing(t)
				m.remove(o.claim.Service)
			},
			"edit": func(t *rapid.T) {
				draw := rapid.SampledFrom([]func(*rapid.T, *Claim){drawSpec, drawRequest, drawSharing, drawPorts}).Draw(t, "what")
				m.edit(m.existing(t), func(c *Claim) { draw(t, c) })
			},
			"start": func(t *rapid.T) {
				c := m.client(t)
				if c.busy {
					t.Skip("busy")
				}
				switch what := rapid.IntRange(0, 5).Draw(t, "op"); {
				case what == 0:
					m.pools = rapid.SampledFrom(menu).Draw(t, "pools")
					c.setPools(m.pools)
				case what == 1 || c.writer.alloc == nil:
					c.lead()
				default:
					names := append(slices.Sorted(maps.Keys(c.news)), "x/gone")
					c.reconcile(rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(t, "services"))
				}
			},
			"step": func(t *rapid.T) {
				c := m.client(t)
				if !c.busy {
					t.Skip("idle")
				}
				f := rapid.SampledFrom([]fate{done, done, done, done, refused, lost, late, late, late, crash, crashed}).Draw(t, "fate")
				died := f == crash || f == crashed
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					if !c.busy {
						break
					}
					t.Log(c.name, c.call, f)
					c.step(f)
					f = done
				}
				if died {
					m.reborn(c)
				}
			},
			"land": func(t *rapid.T) {
				if len(m.delayed) == 0 {
					t.Skip("nothing is late")
				}
				i := rapid.IntRange(0, len(m.delayed)-1).Draw(t, "which")
				m.delayed[i]()
				m.delayed = slices.Delete(m.delayed, i, i+1)
			},
			"restart": func(t *rapid.T) { m.reborn(m.client(t)) },
			"calm":    m.calm,
			"":        m.fatal,
		})
		m.calm(t)
	})
}

// checkCalm checks what must hold once nothing is left to do.
func (m *model) checkCalm(t *rapid.T, w *Writer) {
	taken := map[netip.Addr][]*object{}
	for name, o := range m.services {
		o.moved = false
		d, ok := m.said[name]
		if !ok || !slices.Equal(d.Addresses, o.claim.Held) {
			t.Fatalf("%s has %v, and %+v was said", name, o.claim.Held, d)
		}
		for _, addr := range o.claim.Held {
			taken[addr] = append(taken[addr], o)
		}
	}
	for addr, list := range taken {
		for _, o := range list[1:] {
			if k := o.claim.SharingKey; k == "" || k != list[0].claim.SharingKey || o.claim.Namespace != list[0].claim.Namespace {
				t.Fatalf("%s and %s have %s and do not share", list[0].claim.Service, o.claim.Service, addr)
			}
		}
	}
	m.checkUsage(t, w, taken)
	for _, o := range m.services {
		m.checkServed(t, o, taken)
	}
}

func (m *model) checkUsage(t *rapid.T, w *Writer, taken map[netip.Addr][]*object) {
	want := map[string]uint64{}
	for addr := range taken {
		for _, p := range m.pools {
			if p.Contains(addr) {
				want[fmt.Sprint(p.Name, familyOf(addr) == v6)]++
			}
		}
	}
	for _, u := range w.Usage() {
		if got := want[fmt.Sprint(u.Pool, u.Family == "ipv6")]; got != u.Allocated {
			t.Fatalf("%+v, and %d addresses are in use", u, got)
		}
	}
}

// checkServed checks that o has all that can be had.
func (m *model) checkServed(t *rapid.T, o *object, taken map[netip.Addr][]*object) {
	c := o.claim
	if len(c.contradiction()) > 0 {
		return
	}
	could := map[family]netip.Addr{}
	for _, f := range c.families() {
		if slices.ContainsFunc(c.Held, func(a netip.Addr) bool { return familyOf(a) == f }) {
			if r, asked := c.requested(f); !asked || slices.Contains(c.Held, r) {
				continue
			}
		}
		for _, p := range m.pools {
			for _, r := range p.Ranges {
				if familyOf(r.First) != f || !Admits(p, c) {
					continue
				}
				for addr := r.First; r.Contains(addr); addr = addr.Next() {
					if m.available(o, p, addr, taken[addr]) {
						could[f] = addr
					}
				}
			}
		}
	}
	switch has := len(c.Held) > 0; {
	case c.Policy == RequireDual && !has && len(could) < 2:
	case len(could) > 0:
		t.Fatalf("%s has %v and could have %v: %+v\nsaid %+v", c.Service, c.Held, could, c, m.said[c.Service])
	}
}

func (m *model) available(o *object, p Pool, addr netip.Addr, holders []*object) bool {
	c := o.claim
	r, asked := c.requested(familyOf(addr))
	switch {
	case asked && r != addr, c.Pool != "" && c.Pool != p.Name, !asked && c.Pool == "" && !p.AutoAssign:
		return false
	}
	others := slices.DeleteFunc(slices.Clone(holders), func(h *object) bool { return h == o })
	return len(others) < maxSharers && !slices.ContainsFunc(others, func(h *object) bool { return !shares(c, h.claim) })
}
