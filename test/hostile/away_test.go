package hostile

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// away is a row's owners, in the order in which they are asked, and a packet of a flow that one of them has.
type away struct {
	*rig
	web    maps.Service
	frame  []byte
	asked  []packet.Opened
	silent netip.Addr // a node
}

// newAway begins with that many owners.
func newAway(t *testing.T, f family, proto maps.Proto, owners int, outer6 bool) *away {
	t.Helper()
	a := &away{rig: newRig(t, func(c *bpf.Config) { c.MaxRows, c.MaxBackends = 1<<16, 256 }), web: direct("web", proto, f.vip, owners, outer6)}
	a.frame = packet.TCP(f.client, f.vip, packet.ACK, nil).Frame()
	if proto == maps.UDP {
		a.frame = packet.UDP(f.client, f.vip, nil).Frame()
	}
	a.sync()
	a.asked = append(a.asked, a.opened("encap", a.frame))
	for len(a.asked) < owners {
		a.asked = append(a.asked, a.next(a.asked[len(a.asked)-1]))
	}
	pods := map[netip.AddrPort]bool{}
	for _, o := range a.asked {
		pods[o.Pod] = true
	}
	if len(pods) != owners {
		t.Fatalf("asked %v, want each once", pods)
	}
	return a
}

// sync puts the service in, and forgets what was learned.
func (a *away) sync() {
	a.t.Helper()
	w := a.wantDirect(a.web)
	for i := range 10 {
		w.Members = append(w.Members, maps.Member{Addr: ingressNode(i, true), Backend: true}, maps.Member{Addr: ingressNode(i, false), Backend: true})
	}
	w.Dead = map[netip.Addr]bool{a.silent: true}
	a.must(a.tables.Sync(a.t.Context(), w))
	a.forgetLearned()
}

// gone takes the pod of an owner away.
func (a *away) gone(i int) {
	a.t.Helper()
	a.web.Backends = slices.DeleteFunc(slices.Clone(a.web.Backends), func(b maps.Backend) bool { return b.Addr == a.asked[i].Pod })
	a.sync()
}

// ready makes the pods of owners ready, or not.
func (a *away) ready(ready bool, owners ...int) {
	a.t.Helper()
	a.web.Backends = slices.Clone(a.web.Backends)
	for _, i := range owners {
		at := slices.IndexFunc(a.web.Backends, func(b maps.Backend) bool { return b.Addr == a.asked[i].Pod })
		b := &a.web.Backends[at]
		if b.Draining = !ready; ready {
			b.EligibleSince, b.LostAt = time.Now(), time.Time{}
		} else {
			b.EligibleSince, b.LostAt = time.Time{}, time.Now()
		}
	}
	a.sync()
}

// next is where a packet goes that comes back.
func (a *away) next(at packet.Opened) packet.Opened {
	a.t.Helper()
	return a.opened("encap_next", back(at).Frame())
}

// finds follows a packet that is away to an owner until it comes to another, that of the flow.
func (a *away) finds(owner int, at packet.Opened) packet.Opened {
	a.t.Helper()
	for turn := 0; at.Pod != a.asked[owner].Pod; turn++ {
		if turn > (1+restartsMax)*len(a.asked) || at.Hop >= hopEnd {
			a.t.Fatalf("the flow is on %s, and after %d more turns its packet goes to %s, hop %d, flags %d", a.asked[owner].Pod, turn, at.Pod, at.Hop, at.Flags)
		}
		at = a.next(at)
	}
	return at
}

// A row changes while a packet is away to one of its owners: whom the positions name is another then. The
// packet finds its flow all the same.
func TestRowChangesWhileAPacketIsAway(t *testing.T) {
	const owners, last = 5, 4
	cases := map[string]func(a *away){
		"the first becomes ready again, and another's node is silent": func(a *away) {
			a.silent = a.asked[3].Dst.Addr()
			a.ready(false, 0)
			at := a.opened("encap", a.frame)
			a.ready(true, 0)
			a.finds(0, at)
		},
		"the first is first again, as none is ready": func(a *away) {
			a.ready(false, 0)
			at := a.opened("encap", a.frame)
			a.ready(false, 1, 2, 3, 4)
			a.finds(0, at)
		},
		"one after the other goes": func(a *away) {
			at := a.asked[1]
			for i := range restartsMax {
				a.gone(i)
				at = a.finds(3, a.next(at))
			}
			a.finds(last, at)
		},
	}
	for at := range last {
		for gone := range at + 1 {
			cases[fmt.Sprintf("%d asked, %d goes", at+1, gone)] = func(a *away) {
				a.gone(gone)
				a.finds(last, a.asked[at])
			}
		}
	}
	for name, f := range families {
		for _, proto := range []maps.Proto{maps.TCP, maps.UDP} {
			outer6 := (proto == maps.UDP) != f.vip.Addr().Is6()
			for what, play := range cases {
				t.Run(fmt.Sprintf("%s %s, %s", name, proto, what), func(t *testing.T) {
					play(newAway(t, f, proto, owners, outer6))
				})
			}
		}
	}
}
