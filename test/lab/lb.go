package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// routeTimeout bounds the way from a manifest to the router's FIB, BGP session
// included: GoBGP idles up to 7 s after a session is lost.
const routeTimeout = 30 * time.Second

// LB is an LB node with its agent.
type LB struct {
	Host
	Addr4, Addr6 netip.Addr
}

func lb4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n), 2}) }

func lb6(n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:0:%d::2", n))
}

func newLB(tb fixture.TB, l *Lab, n int, binary string, opts Options) *LB {
	tb.Helper()
	b := &LB{Host: newHost(tb, fmt.Sprintf("lb%d", n), binary), Addr4: lb4(n), Addr6: lb6(n)}
	fixture.Link(tb, l.Router, b.Name, b.Netns, "eth0", fixture.LinkOptions{
		AddrsA: []string{fmt.Sprintf("10.0.%d.1/24", n), fmt.Sprintf("fd00:0:%d::1/64", n)},
		AddrsB: []string{b.Addr4.String() + "/24", b.Addr6.String() + "/64"}, NoOffload: true, XDPPassA: true,
	})
	b.AddRoute(tb, "default", fmt.Sprintf("10.0.%d.1", n))
	b.AddRoute(tb, "default6", fmt.Sprintf("fd00:0:%d::1", n))
	config := opts.Config
	if opts.Kubernetes {
		config = pools + "\n" + config
	}
	b.configure(tb, fmt.Sprintf(`node: %s
vips: [198.51.100.0/24, "2001:db8:100::/64"]
%s
datapath: {interfaces: %s, mode: %s, bpffs: '%s', seed: lab}
bgp:
  asn: %d
  routerID: %s
  peers:
  - {name: tor4, address: 10.0.%d.1, asn: %d, holdTime: 3s, keepaliveTime: 1s}
  - {name: tor6, address: "fd00:0:%d::1", asn: %d, holdTime: 3s, keepaliveTime: 1s}
metrics: {address: "127.0.0.1:9470"}
api: {socket: '%s'}
drainTimeout: 5s
%s`, b.Name, b.source(opts), cmp.Or(opts.Interfaces, "[eth0]"), cmp.Or(opts.Mode, "auto"), b.Pins(),
		LBASN, b.Addr4, n, RouterASN, n, RouterASN, b.Socket(), config))
	return b
}
