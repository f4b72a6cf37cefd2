package lab

import (
	"fmt"
	"net/netip"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Node is an ingress node with its L7 pod: nginx on port 8080 of the node's
// address.
type Node struct {
	*fixture.Netns
	Name         string
	Addr4, Addr6 netip.Addr
	Nginx        *fixture.Nginx
}

func node4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(n), 2}) }

func node6(n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:1:%d::2", n))
}

func newNode(tb fixture.TB, l *Lab, n, mtu int) *Node {
	tb.Helper()
	node := &Node{Name: fmt.Sprintf("node%d", n), Addr4: node4(n), Addr6: node6(n)}
	node.Netns = fixture.NewNetns(tb, node.Name)
	fixture.Link(tb, l.Router, node.Name, node.Netns, "eth0", fixture.LinkOptions{
		MTU:    mtu,
		AddrsA: []string{fmt.Sprintf("10.1.%d.1/24", n), fmt.Sprintf("fd00:1:%d::1/64", n)},
		AddrsB: []string{node.Addr4.String() + "/24", node.Addr6.String() + "/64"}, NoOffload: true,
	})
	node.AddRoute(tb, "default", fmt.Sprintf("10.1.%d.1", n))
	node.AddRoute(tb, "default6", fmt.Sprintf("fd00:1:%d::1", n))
	node.Nginx = fixture.StartNginx(tb, node.Netns, node.Name, fixture.NginxOptions{
		Listen: []string{"8080", "[::]:8080"},
	})
	return node
}
