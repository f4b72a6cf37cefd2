package peers

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/bgp"
)

// Whatever becomes of gateways and labels: names and routers are there once, a router that is
// still a gateway keeps its name, and what is not known takes nothing away.
func TestResolveProperties(t *testing.T) {
	configured := parse(t, "name: a, address: 192.0.2.1", "name: g, gateway: ipv4", "name: h, gateway: ipv6, nodeSelector: rack=1", "name: b, address: 192.0.2.2, nodeSelector: rack=1")
	rapid.Check(t, func(t *rapid.T) {
		before := Set{}
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			n := drawNode(t, step)
			got := Resolve(configured, n, before)
			names, routers := map[string]bool{}, map[netip.Addr]bool{}
			for _, p := range got.Peers {
				if names[p.Name] || routers[p.Address] {
					t.Fatalf("twice: %s", got.words())
				}
				names[p.Name], routers[p.Address] = true, true
			}
			for _, p := range before.Peers {
				i := slices.IndexFunc(got.Peers, func(q Peer) bool { return q.Of == p.Of && q.Address == p.Address })
				if i >= 0 && got.Peers[i].Name != p.Name {
					t.Fatalf("%s was %s", got.words(), before.words())
				}
				blind := len(n.Gateways[bgp.Family("ipv4")]) == 0 && p.Of == "g" || !n.Known && p.Of == "b"
				if i < 0 && blind && !routers[p.Address] { // an entry with its address may have it now
					t.Fatalf("%s has lost %s of %s", got.words(), p.Name, before.words())
				}
			}
			slices.Reverse(n.Gateways[bgp.IPv4])
			if again := Resolve(configured, n, got); again.words() != got.words() {
				t.Fatalf("once more: %s, before %s", again.words(), got.words())
			}
			before = got
		}
	})
}

func drawNode(t *rapid.T, step int) Node {
	n := Node{Name: "lb1", Known: rapid.Bool().Draw(t, fmt.Sprint("known ", step)), Gateways: map[bgp.Family][]netip.Addr{}}
	if n.Known {
		n.Labels = map[string]string{"rack": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rack")}
	}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(1, 5), 0, 4, rapid.ID).Draw(t, "gateways") {
		n.Gateways[bgp.IPv4] = append(n.Gateways[bgp.IPv4], netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
		n.Gateways[bgp.IPv6] = append(n.Gateways[bgp.IPv6], netip.MustParseAddr(fmt.Sprintf("fe80::%d%%eth0", i)))
	}
	return n
}
