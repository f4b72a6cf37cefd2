package lab

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Ingress is an ingress node with an agent of role backend, which takes packets out
// of the tunnel for pods in namespaces of their own.
type Ingress struct {
	Host
	Addr4, Addr6 netip.Addr
	number, pods int
}

// newIngress makes ingress node n. The router knows the way to its pods, as from a
// CNI that speaks BGP.
func newIngress(tb fixture.TB, l *Lab, n int, binary string, opts Options) *Ingress {
	tb.Helper()
	g := &Ingress{
		Host: newHost(tb, fmt.Sprintf("ingress%d", n), binary), number: n,
		Addr4: netip.AddrFrom4([4]byte{10, 3, byte(n), 2}), Addr6: netip.MustParseAddr(fmt.Sprintf("fd00:3:%d::2", n)),
	}
	// The router's end has a program, as what the node sends back to an LB node leaves by XDP.
	fixture.Link(tb, l.Router, g.Name, g.Netns, "eth0", fixture.LinkOptions{
		MTU:    opts.NodeMTU,
		AddrsA: []string{fmt.Sprintf("10.3.%d.1/24", n), fmt.Sprintf("fd00:3:%d::1/64", n)},
		AddrsB: []string{g.Addr4.String() + "/24", g.Addr6.String() + "/64"}, NoOffload: true, XDPPassA: true,
	})
	g.AddRoute(tb, "default", fmt.Sprintf("10.3.%d.1", n))
	g.AddRoute(tb, "default6", fmt.Sprintf("fd00:3:%d::1", n))
	l.Router.AddRoute(tb, fmt.Sprintf("10.2.%d.0/24", n), g.Addr4.String())
	l.Router.AddRoute(tb, fmt.Sprintf("fd00:2:%d::/64", n), g.Addr6.String())
	g.configure(tb, fmt.Sprintf(`node: %s
role: backend
%s
datapath: {interfaces: [eth0], mode: %s, bpffs: '%s'}
metrics: {address: "127.0.0.1:9470"}
api: {socket: '%s'}
%s`, g.Name, g.source(opts), cmp.Or(opts.Mode, "auto"), g.Pins(), g.Socket(), opts.IngressConfig))
	return g
}

// The host's end of every pod's link, as some CNIs have it.
const (
	gateway4 = "169.254.1.1"
	gateway6 = "fe80::1"
)

// Pod is a machine of its own behind a veth of its ingress node. The fields below
// Ready are what the API says of it.
type Pod struct {
	*fixture.Netns
	Name         string
	Node         *Ingress
	Addr4, Addr6 netip.Addr
	Lifecycle
}

// NewPod makes a pod's namespace. It is not in the manifests yet.
func (g *Ingress) NewPod(tb fixture.TB, name string) *Pod {
	tb.Helper()
	g.pods++
	p := &Pod{
		Name: name, Node: g, Netns: fixture.NewNetns(tb, name),
		Addr4: netip.AddrFrom4([4]byte{10, 2, byte(g.number), byte(g.pods)}),
		Addr6: netip.MustParseAddr(fmt.Sprintf("fd00:2:%d::%x", g.number, g.pods)),
	}
	device := fmt.Sprintf("pod%d", g.pods)
	fixture.Link(tb, g.Netns, device, p.Netns, "eth0", fixture.LinkOptions{
		AddrsA: []string{gateway4 + "/32", gateway6 + "/64"},
		AddrsB: []string{p.Addr4.String() + "/32", p.Addr6.String() + "/128"},
	})
	g.Run(tb, "ip", "route", "add", p.Addr4.String(), "dev", device)
	g.Run(tb, "ip", "-6", "route", "add", p.Addr6.String(), "dev", device)
	p.Run(tb, "ip", "route", "add", "default", "via", gateway4, "dev", "eth0", "onlink")
	p.Run(tb, "ip", "-6", "route", "add", "default", "via", gateway6, "dev", "eth0")
	return p
}
