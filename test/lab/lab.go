package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock-lb/penstock/test/fixture"
)

// The addresses that every lab has.
var (
	VIP4 = netip.MustParseAddr("198.51.100.10")
	VIP6 = netip.MustParseAddr("2001:db8:100::10")

	Client4 = netip.MustParseAddr("192.0.2.2")
	Client6 = netip.MustParseAddr("2001:db8:1::2")
)

// The autonomous systems.
const (
	RouterASN = 64512
	LBASN     = 64513
)

// Options say how large the site is.
type Options struct {
	LBs, Nodes int
	NodeMTU    int    // between the router and the nodes, default 1500
	Interfaces string // of the LB nodes, default "[eth0]"
	Mode       string // of XDP, default auto
	Config     string // more lines of each agent's configuration
	Penstock   string // the binary, default: built from this tree
	RouterConf string // more lines of FRR's "router bgp" section

	Ingress       int    // ingress nodes with an agent, see [Ingress]
	IngressConfig string // more lines of their agents' configuration
	Underlay6     bool   // tunnels are IPv6, by an annotation of the Nodes

	Kubernetes bool // agents have an API server for source, see [Host.InCluster]
}

// Lab is the site. LBs and Nodes count from 0, their names from 1.
type Lab struct {
	Client, Router *fixture.Netns
	FRR            *fixture.FRR
	LBs            []*LB
	Nodes          []*Node
	Ingress        []*Ingress

	opts Options
}

// Hosts are the machines with an agent.
func (l *Lab) Hosts() []*Host {
	var all []*Host
	for _, b := range l.LBs {
		all = append(all, &b.Host)
	}
	for _, g := range l.Ingress {
		all = append(all, &g.Host)
	}
	return all
}

// New builds the site. No agent runs yet and no endpoint is ready.
func New(tb fixture.TB, opts Options) *Lab {
	tb.Helper()
	l := &Lab{Client: fixture.NewNetns(tb, "client"), Router: fixture.NewNetns(tb, "router"), opts: opts}
	l.Router.Forward(tb)
	fixture.Link(tb, l.Router, "client", l.Client, "eth0", fixture.LinkOptions{
		AddrsA: []string{"192.0.2.1/24", "2001:db8:1::1/64"}, AddrsB: []string{"192.0.2.2/24", "2001:db8:1::2/64"},
		NoOffload: true,
	})
	l.Client.AddRoute(tb, "default", "192.0.2.1")
	l.Client.AddRoute(tb, "default6", "2001:db8:1::1")
	binary := opts.Penstock
	if binary == "" {
		binary = Build(tb)
	}
	for i := range opts.LBs {
		l.LBs = append(l.LBs, newLB(tb, l, i+1, binary, opts))
	}
	for i := range opts.Nodes {
		l.Nodes = append(l.Nodes, newNode(tb, l, i+1, opts.NodeMTU))
	}
	for i := range opts.Ingress {
		l.Ingress = append(l.Ingress, newIngress(tb, l, i+1, binary, opts))
	}
	l.FRR = fixture.StartFRR(tb, l.Router, routerConf(opts))
	return l
}

func routerConf(opts Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 10.255.255.1\n no bgp ebgp-requires-policy\n"+
		" no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax\n", RouterASN)
	for i := range opts.LBs {
		for _, addr := range []netip.Addr{lb4(i + 1), lb6(i + 1)} {
			fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %s timers 1 3\n neighbor %s timers connect 2\n",
				addr, LBASN, addr, addr)
		}
	}
	b.WriteString(opts.RouterConf)
	for family, addr := range map[string]func(int) netip.Addr{"ipv4": lb4, "ipv6": lb6} {
		fmt.Fprintf(&b, " address-family %s unicast\n  maximum-paths 8\n", family)
		for i := range opts.LBs {
			fmt.Fprintf(&b, "  neighbor %s activate\n  neighbor %s prefix-list vips in\n  neighbor %s prefix-list none out\n",
				addr(i+1), addr(i+1), addr(i+1))
		}
		b.WriteString(" exit-address-family\n")
	}
	b.WriteString("exit\n" +
		"ip prefix-list vips permit 198.51.100.0/24 le 32\nip prefix-list none deny any\n" +
		"ipv6 prefix-list vips permit 2001:db8:100::/64 le 128\nipv6 prefix-list none deny any\n")
	return b.String()
}

// Routes returns the next hops that the router's FIB has for a VIP.
func (l *Lab) Routes(vip netip.Addr) ([]netip.Addr, error) {
	family := "-4"
	if vip.Is6() {
		family = "-6"
	}
	out, err := l.Router.Output("ip", family, "route", "show", netip.PrefixFrom(vip, vip.BitLen()).String())
	if err != nil {
		return nil, err
	}
	var hops []netip.Addr
	words := strings.Fields(out)
	for i, w := range words[:max(0, len(words)-1)] {
		if addr, err := netip.ParseAddr(words[i+1]); w == "via" && err == nil {
			hops = append(hops, addr)
		}
	}
	return hops, nil
}

// WaitRoutes waits until the router has n ways to both VIPs.
func (l *Lab) WaitRoutes(tb fixture.TB, n int) {
	tb.Helper()
	for _, vip := range []netip.Addr{VIP4, VIP6} {
		fixture.Wait(tb, routeTimeout, fmt.Sprintf("%d routes to %s", n, vip), func() error {
			hops, err := l.Routes(vip)
			if err == nil && len(hops) != n {
				err = fmt.Errorf("the router has %v", hops)
			}
			return err
		})
	}
}
