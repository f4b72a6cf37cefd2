package nexthop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lbmaps "github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/fixture"
)

// What is there before the subscription makes no event.
func TestKnownBeforeRun(t *testing.T) {
	l := newLab(t)
	mac := l.iface(l.gw0, "lan").HardwareAddr
	l.ip(fmt.Sprintf("neigh replace 192.0.2.200 lladdr %s nud permanent dev eth0", mac))
	l.run()
	l.expect("192.0.2.200", l.via(l.eth0, l.gw0, "192.0.2.1"))
}

func TestRouteChange(t *testing.T) {
	l := newLab(t)
	l.run()
	l.ip("route add default via 192.0.2.254")
	l.ip("route add default via 2001:db8::fe")
	l.expect("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("route replace default via 198.51.100.254")
	l.becomes("10.0.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
	l.ip("route add 10.0.0.0/24 via 192.0.2.254")
	l.becomes("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("route del 10.0.0.0/24")
	l.becomes("10.0.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
	l.ip("route del default")
	l.becomes("10.0.0.1", lbmaps.NextHop{})

	l.expect("fd00::1", l.via(l.eth0, l.gw0, "2001:db8::1"))
	l.ip("route replace default via 2001:db8:1::fe")
	l.becomes("fd00::1", l.via(l.eth1, l.gw1, "2001:db8:1::1"))
}

// The route is the same, a rule leads elsewhere.
func TestRuleChange(t *testing.T) {
	l := newLab(t)
	l.run()
	l.ip("route add default via 192.0.2.254")
	l.ip("route add default via 198.51.100.254 table 7")
	l.expect("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("rule add to 10.0.0.0/8 table 7")
	l.becomes("10.0.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
}

func TestNexthopObjectChange(t *testing.T) {
	l := newLab(t)
	l.run()
	l.node.Sysctl(t, "net.ipv4.nexthop_compat_mode", "0")
	l.ip("nexthop add id 1 via 192.0.2.254 dev eth0")
	l.ip("route add 10.0.0.0/8 nhid 1")
	l.expect("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("nexthop replace id 1 via 198.51.100.254 dev eth1")
	l.becomes("10.0.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
}

func TestGatewayMAC(t *testing.T) {
	for addr, source := range map[string]string{"10.0.0.1": "192.0.2.1", "fd00::1": "2001:db8::1"} {
		t.Run(addr, func(t *testing.T) {
			l := newLab(t)
			l.run()
			l.ip("route add default via 192.0.2.254")
			l.ip("route add default via 2001:db8::fe")
			l.expect(addr, l.via(l.eth0, l.gw0, source))
			l.on(l.gw0, "ip link set lan address 02:00:00:00:00:99")
			want := l.via(l.eth0, l.gw0, source)
			if want.DstMAC != [6]byte{2, 0, 0, 0, 0, 0x99} {
				t.Fatalf("gateway's MAC did not change: %x", want.DstMAC)
			}
			l.becomes(addr, want)
		})
	}
}

// A neighbour that the kernel gave up is asked for again until it is there.
func TestNeighbourComesLate(t *testing.T) {
	for addr, source := range map[string]string{"192.0.2.77": "192.0.2.1", "2001:db8::77": "2001:db8::1"} {
		t.Run(addr, func(t *testing.T) {
			l := newLab(t)
			l.r.provokeEvery = time.Second
			l.run()
			l.expect(addr, unresolved(source))
			l.neighbourIs(addr, "FAILED")
			l.gw0.Sysctl(t, "net.ipv4.conf.lan.arp_notify", "0")
			l.gw0.Sysctl(t, "net.ipv6.conf.lan.ndisc_notify", "0")
			l.gw0.AddAddr(t, "lan", addr+"/32")
			l.becomes(addr, l.via(l.eth0, l.gw0, source))
		})
	}
}

func TestNeighbourGone(t *testing.T) {
	l := newLab(t)
	l.run()
	l.expect("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.on(l.gw0, "ip addr del 192.0.2.254/24 dev lan")
	l.ip("neigh replace 192.0.2.254 nud failed dev eth0")
	l.becomes("192.0.2.254", unresolved("192.0.2.1"))
}

// A stale neighbour is confirmed although no packet of the kernel's own goes there.
func TestStaleNeighbourIsConfirmed(t *testing.T) {
	l := newLab(t)
	l.node.Sysctl(t, "net.ipv4.neigh.eth0.delay_first_probe_time", "1")
	l.r.provokeEvery = 100 * time.Millisecond
	l.run()
	l.expect("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
	mac := l.iface(l.gw0, "lan").HardwareAddr
	l.ip(fmt.Sprintf("neigh replace 192.0.2.254 lladdr %s nud stale dev eth0", mac))
	l.neighbourIs("192.0.2.254", "REACHABLE")
}

func TestLinkDownAndUp(t *testing.T) {
	l := newLab(t)
	l.run()
	l.expect("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.on(l.gw0, "ip link set lan down")
	l.becomes("192.0.2.254", unresolved("192.0.2.1"))
	l.on(l.gw0, "ip link set lan up")
	l.becomes("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("link set eth0 down")
	l.becomes("192.0.2.254", lbmaps.NextHop{})
	l.ip("link set eth0 up")
	l.becomes("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
}

// A neighbour that could not be asked for without a carrier is asked for when there is one.
func TestLinkUpAfterStart(t *testing.T) {
	l := newLab(t)
	l.on(l.gw0, "ip link set lan down")
	l.run()
	l.expect("192.0.2.254", unresolved("192.0.2.1"))
	fixture.Wait(t, 15*time.Second, "the kernel to give up", func() error {
		if out := l.node.Run(t, "ip", "neigh", "show", "192.0.2.254"); strings.Contains(out, "INCOMPLETE") {
			return errors.New(out)
		}
		return nil
	})
	l.on(l.gw0, "ip link set lan up")
	l.becomes("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
}

// The other device's route takes over when the link of the better one goes, and gives back.
func TestLinkDownWithAlternative(t *testing.T) {
	l := newLab(t)
	l.run()
	l.node.Sysctl(t, "net.ipv4.conf.all.ignore_routes_with_linkdown", "1")
	l.ip("route add 10.0.0.0/8 via 192.0.2.254 metric 1")
	l.ip("route add 10.0.0.0/8 via 198.51.100.254 metric 2")
	l.expect("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.on(l.gw0, "ip link set lan down")
	l.becomes("10.0.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
	l.on(l.gw0, "ip link set lan up")
	l.becomes("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
}

func TestSourceChange(t *testing.T) {
	l := newLab(t)
	l.run()
	l.ip("addr add 192.0.2.2/24 dev eth0")
	l.ip("route add 10.0.0.0/8 via 192.0.2.254")
	l.expect("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.node.Sysctl(t, "net.ipv4.conf.all.promote_secondaries", "1")
	l.ip("addr del 192.0.2.1/24 dev eth0") // no event for the route, whose source it was
	l.becomes("10.0.0.1", l.via(l.eth0, l.gw0, "192.0.2.2"))
}

func TestMTUChange(t *testing.T) {
	l := newLab(t)
	l.run()
	want := l.via(l.eth0, l.gw0, "2001:db8::1")
	l.expect("2001:db8::fe", want)
	l.ip("link set eth0 mtu 1400")
	want.MTU = 1400
	l.becomes("2001:db8::fe", want)
}

// Many pods behind one gateway cost lookups for a route that covers them, and none for its MAC.
func TestWorkInProportion(t *testing.T) {
	const pods = 5000
	l := newLab(t)
	l.ip("route add default via 192.0.2.254") // before it is watched: news of it would be work, too
	l.run()
	addrs := make([]netip.Addr, pods)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	settled := func(want lbmaps.NextHop, sample int) {
		t.Helper()
		fixture.Wait(t, 10*time.Second, "all next hops", func() error {
			if got := l.resolveAll(addrs...)[addrs[sample]]; got != want {
				return fmt.Errorf("got %+v, want %+v", got, want)
			}
			return nil
		})
	}
	start := time.Now()
	settled(l.via(l.eth0, l.gw0, "192.0.2.1"), pods-1)
	before := l.r.Stats()
	t.Logf("first Resolve of %d pods: %s", pods, time.Since(start))
	if before.Provocations != 1 {
		t.Errorf("one gateway provoked %d times", before.Provocations)
	}

	l.on(l.gw0, "ip link set lan address 02:00:00:00:00:99")
	settled(l.via(l.eth0, l.gw0, "192.0.2.1"), pods-1)
	if got := l.r.Stats().RouteLookups - before.RouteLookups; got != 0 {
		t.Errorf("gateway's new MAC cost %d route lookups", got)
	}

	l.ip("route add 10.0.1.0/28 via 198.51.100.254")
	settled(l.via(l.eth1, l.gw1, "198.51.100.1"), 256)
	if got := l.r.Stats().RouteLookups - before.RouteLookups; got != 16 {
		t.Errorf("a route to 16 pods cost %d route lookups", got)
	}
}

func TestNoSignalWithoutChange(t *testing.T) {
	l := newLab(t)
	l.run()
	l.expect("192.0.2.254", l.via(l.eth0, l.gw0, "192.0.2.1"))
	l.ip("route add 10.0.0.0/8 via 192.0.2.254")
	l.ip("route add 192.0.2.254/32 dev eth0")
	l.ip("neigh replace 192.0.2.200 lladdr 02:00:00:00:00:03 dev eth0")
	fixture.Wait(t, 5*time.Second, "the events to be evaluated", func() error {
		if s := l.r.Stats(); s.RouteLookups < 2 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	select {
	case <-l.r.Changed():
		t.Error("signal, although no watched next hop changed")
	case <-time.After(2 * gather):
	}
}

// Events that overflow the socket's buffer are made up for by a full read.
func TestOverflow(t *testing.T) {
	l := newLab(t)
	l.run()
	l.ip("route add default via 192.0.2.254")
	l.expect("10.255.0.1", l.via(l.eth0, l.gw0, "192.0.2.1"))

	var batch strings.Builder
	for i := range 1 << 15 {
		fmt.Fprintf(&batch, "route add 10.%d.%d.0/25 via 192.0.2.254\n", i>>8, i&255)
	}
	batch.WriteString("route replace default via 198.51.100.254\n")
	file := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l.r.mu.Lock() // Run stands still
	_, err := l.node.Output("ip", "-batch", file)
	l.r.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	l.becomes("10.255.0.1", l.via(l.eth1, l.gw1, "198.51.100.1"))
	fixture.Wait(t, 5*time.Second, "a second subscription", func() error {
		l.r.mu.Lock()
		defer l.r.mu.Unlock()
		if l.r.stats.Resyncs < 2 || !l.r.following {
			return fmt.Errorf("following %v, %+v", l.r.following, l.r.stats)
		}
		return nil
	})
}
