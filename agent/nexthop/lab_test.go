package nexthop

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	lbmaps "github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a node with two uplinks, each to a gateway:
//
//	node eth0 192.0.2.1/24, 2001:db8::1/64    gw0 192.0.2.254, 2001:db8::fe
//	node eth1 198.51.100.1/24, 2001:db8:1::1/64    gw1 198.51.100.254, 2001:db8:1::fe
type lab struct {
	t          *testing.T
	node       *fixture.Netns
	gw0, gw1   *fixture.Netns
	r          *Resolver
	eth0, eth1 *net.Interface
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, node: fixture.NewNetns(t, "node"), gw0: fixture.NewNetns(t, "gw0"), gw1: fixture.NewNetns(t, "gw1")}
	for _, n := range []*fixture.Netns{l.node, l.gw0, l.gw1} {
		n.Sysctl(t, "net.ipv4.conf.default.arp_notify", "1")
		n.Sysctl(t, "net.ipv6.conf.default.ndisc_notify", "1")
	}
	fixture.Link(t, l.node, "eth0", l.gw0, "lan", fixture.LinkOptions{
		AddrsA: []string{"192.0.2.1/24", "2001:db8::1/64"}, AddrsB: []string{"192.0.2.254/24", "2001:db8::fe/64"},
	})
	fixture.Link(t, l.node, "eth1", l.gw1, "lan", fixture.LinkOptions{
		AddrsA: []string{"198.51.100.1/24", "2001:db8:1::1/64"}, AddrsB: []string{"198.51.100.254/24", "2001:db8:1::fe/64"},
	})
	for _, dev := range []string{"eth0", "eth1"} { // take a gratuitous ARP at once
		l.node.Sysctl(t, "net.ipv4.neigh."+dev+".locktime", "0")
	}
	l.r = New(slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.r.provokeEvery = time.Hour // so that nothing but events brings a change
	l.eth0, l.eth1 = l.iface(l.node, "eth0"), l.iface(l.node, "eth1")
	return l
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// ip runs an ip command on the node.
func (l *lab) ip(command string) { l.on(l.node, "ip "+command) }

// ipOrSkip is for what not every kernel has, such as a kind of device that is a module.
func (l *lab) ipOrSkip(command string) {
	l.t.Helper()
	if _, err := l.node.Output(strings.Fields("ip " + command)...); err != nil {
		l.t.Skipf("this kernel can't: %v", err)
	}
}

func (l *lab) on(n *fixture.Netns, command string) {
	l.t.Helper()
	n.Run(l.t, strings.Fields(command)...)
}

func (l *lab) iface(n *fixture.Netns, name string) *net.Interface {
	l.t.Helper()
	var i *net.Interface
	err := n.Do(func() (err error) {
		i, err = net.InterfaceByName(name)
		return err
	})
	if err != nil {
		l.t.Fatalf("interface %s of %s: %v", name, n.Host, err)
	}
	return i
}

// run starts the resolver's Run in the node's namespace until the test ends.
func (l *lab) run() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.node.Do(func() error { return l.r.Run(ctx) }) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("Run ended with %v", err)
		}
	})
	fixture.Wait(l.t, 5*time.Second, "subscription", func() error {
		if l.r.Stats().Resyncs == 0 {
			return fmt.Errorf("no resync yet")
		}
		return nil
	})
}

func (l *lab) resolveAll(addrs ...netip.Addr) map[netip.Addr]lbmaps.NextHop {
	l.t.Helper()
	var hops map[netip.Addr]lbmaps.NextHop
	if err := l.node.Do(func() error {
		hops = l.r.Resolve(context.Background(), addrs)
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return hops
}

func (l *lab) resolve(addr string) lbmaps.NextHop {
	l.t.Helper()
	a := netip.MustParseAddr(addr)
	return l.resolveAll(a)[a]
}

// expect resolves addr now, and again at each Changed until it is want.
func (l *lab) expect(addr string, want lbmaps.NextHop) {
	l.t.Helper()
	if got := l.resolve(addr); got != want {
		l.becomes(addr, want)
		return
	}
	l.quiet()
}

// becomes resolves addr at each Changed until it is want, and lets earlier events run dry, so that none of
// them can stand in for one that a test makes next.
func (l *lab) becomes(addr string, want lbmaps.NextHop) {
	l.t.Helper()
	got := lbmaps.NextHop{}
	timeout := time.After(8 * time.Second)
	for {
		select {
		case <-l.r.Changed():
		case <-timeout:
			l.t.Fatalf("next hop of %s with no further change:\n got %+v\nwant %+v", addr, got, want)
		}
		if got = l.resolve(addr); got == want {
			l.quiet()
			return
		}
	}
}

// quiet returns after no event came for a while, and forgets a signal of those before.
func (l *lab) quiet() {
	l.t.Helper()
	seen, since := l.r.Stats().Events, time.Now()
	fixture.Wait(l.t, 10*time.Second, "events to run dry", func() error {
		if now := l.r.Stats().Events; now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) < 3*gather {
			return fmt.Errorf("%d events", seen)
		}
		return nil
	})
	select {
	case <-l.r.Changed():
	default:
	}
}

// via is the next hop through a device of the node to a device of a gateway.
func (l *lab) via(out *net.Interface, gw *fixture.Netns, source string) lbmaps.NextHop {
	l.t.Helper()
	return lbmaps.NextHop{
		Ifindex: uint32(out.Index),
		SrcMAC:  [6]byte(out.HardwareAddr),
		DstMAC:  [6]byte(l.iface(gw, "lan").HardwareAddr),
		MTU:     1500,
		Source:  netip.MustParseAddr(source),
	}
}

func unresolved(source string) lbmaps.NextHop {
	return lbmaps.NextHop{MTU: 1500, Source: netip.MustParseAddr(source)}
}

// neighbourIs waits for a state of the node's neighbour, as ip shows it.
func (l *lab) neighbourIs(addr, state string) {
	l.t.Helper()
	fixture.Wait(l.t, 15*time.Second, "neighbour "+addr+" to be "+state, func() error {
		if out := l.node.Run(l.t, "ip", "neigh", "show", addr); !strings.Contains(out, state) {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
}
