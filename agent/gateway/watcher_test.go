package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a node with two links, to 192.0.2.0/24 and 2001:db8::/64 by eth0, and to
// 198.51.100.0/24 and 2001:db8:1::/64 by eth1.
type lab struct {
	*testing.T
	node *fixture.Netns
	w    *Watcher
}

func newLab(t *testing.T) *lab {
	l := &lab{t, fixture.NewNetns(t, "node"), New(slog.New(slog.DiscardHandler))}
	tor := fixture.NewNetns(t, "tor")
	fixture.Link(t, l.node, "eth0", tor, "p0", fixture.LinkOptions{AddrsA: []string{"192.0.2.9/24", "2001:db8::9/64"}})
	fixture.Link(t, l.node, "eth1", tor, "p1", fixture.LinkOptions{AddrsA: []string{"198.51.100.9/24", "2001:db8:1::9/64"}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.node.Do(func() error { return l.w.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	fixture.Wait(t, 5*time.Second, "the first read", func() error {
		if l.reads() == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	return l
}

func (l *lab) reads() int {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.reads
}

func (l *lab) ip(command string) { l.node.Run(l, strings.Fields("ip "+command)...) }

// becomes waits for the gateways of both families, and for the signal.
func (l *lab) becomes(what, want4, want6 string) {
	l.Helper()
	text := func(list []netip.Addr) string { return strings.Trim(fmt.Sprint(list), "[]") }
	fixture.Wait(l, 10*time.Second, what, func() error {
		g := l.w.Gateways()
		if got4, got6 := text(g[bgp.IPv4]), text(g[bgp.IPv6]); got4 != want4 || got6 != want6 {
			return fmt.Errorf("gateways %q and %q, want %q and %q", got4, got6, want4, want6)
		}
		return nil
	})
	select {
	case <-l.w.Changed():
	default:
		l.Errorf("%s: not signalled", what)
	}
}

func TestWatcher(t *testing.T) {
	l := newLab(t)
	l.ip("route add default via 192.0.2.1")
	l.becomes("an IPv4 gateway", "192.0.2.1", "")
	l.ip("-6 route add default via fe80::1 dev eth1")
	l.becomes("a link-local gateway", "192.0.2.1", "fe80::1%eth1")
	l.ip("route add default via 198.51.100.1 metric 5")
	l.ip("route add default via 198.51.100.2 metric 7")
	l.ip("route del default via 192.0.2.1")
	l.becomes("the lower metric of the others", "198.51.100.1", "fe80::1%eth1")
	l.ip("route replace default metric 5 nexthop via 198.51.100.1 nexthop via 192.0.2.1")
	l.becomes("two next hops", "192.0.2.1 198.51.100.1", "fe80::1%eth1")
	l.ip("-6 route append default via 2001:db8::1 dev eth0")
	l.becomes("two IPv6 next hops", "192.0.2.1 198.51.100.1", "2001:db8::1 fe80::1%eth1")
	l.ip("link set eth1 down")
	l.becomes("a link down", "192.0.2.1", "2001:db8::1")
	l.ip("route flush exact default")
	l.ip("-6 route flush exact default")
	l.becomes("no default route", "", "")
	l.ip("-4 route add default via inet6 fe80::7 dev eth0")
	l.becomes("an IPv4 route by IPv6", "fe80::7%eth0", "")
	l.ip("route replace default dev eth0")
	l.becomes("a route without a gateway", "", "")
}

func TestGatewaysBeforeRun(t *testing.T) {
	node, tor := fixture.NewNetns(t, "node"), fixture.NewNetns(t, "tor")
	fixture.Link(t, node, "eth0", tor, "p0", fixture.LinkOptions{AddrsA: []string{"192.0.2.9/24", "2001:db8::9/64"}})
	node.Run(t, "ip", "route", "add", "default", "via", "192.0.2.1")
	node.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::1")
	var got string
	if err := node.Do(func() error {
		got = fmt.Sprint(New(slog.New(slog.DiscardHandler)).Gateways())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := "map[ipv4:[192.0.2.1] ipv6:[2001:db8::1]]"; got != want {
		t.Errorf("gateways %s, want %s", got, want)
	}
}

// Routes to elsewhere, of which a node may have many, have nothing read again.
func TestOtherRoutesCostNothing(t *testing.T) {
	l := newLab(t)
	before := l.reads()
	for i := range 100 {
		l.ip(fmt.Sprintf("route add 10.0.%d.0/24 via 192.0.2.1", i))
	}
	l.ip("route add default via 192.0.2.1")
	l.becomes("the default route", "192.0.2.1", "")
	if n := l.reads() - before; n > 2 {
		t.Errorf("read %d times for 100 other routes and one default route", n)
	}
}
