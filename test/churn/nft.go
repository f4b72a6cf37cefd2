package churn

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-lb/penstock/test/lab"
)

// nftBalancer is the control: LB nodes that translate by a hash of the client's
// address and port, alike on all of them, and keep flows in conntrack. Replies come
// back by the node that sent the request, as their destination is its address.
type nftBalancer struct{ *Site }

func (b *nftBalancer) start(lb int) {
	b.load(lb)
	b.routes()
}

// die changes the router's routes at the same moment, which no BGP can.
func (b *nftBalancer) die(lb int) {
	b.LBs[lb].Run(b.tb, "ip", "link", "set", "eth0", "down")
	b.routes()
}

func (b *nftBalancer) follow() {
	for _, lb := range b.lbsUp() {
		b.load(lb)
	}
}

func (b *nftBalancer) await() {}

func (b *nftBalancer) routes() {
	b.tb.Helper()
	for _, vip := range []netip.Addr{lab.VIP4, lab.VIP6} {
		argv := []string{"ip", "route", "replace", vip.String()}
		for _, i := range b.lbsUp() {
			via := b.LBs[i].Addr4
			if vip.Is6() {
				via = b.LBs[i].Addr6
			}
			argv = append(argv, "nexthop", "via", via.String())
		}
		b.Router.Run(b.tb, argv...)
	}
}

// load replaces a node's rules in one transaction. Flows that are translated stay so.
func (b *nftBalancer) load(lb int) {
	b.tb.Helper()
	file := filepath.Join(b.LBs[lb].Dir, "rules.nft")
	if err := os.WriteFile(file, []byte(b.rules()), 0o644); err != nil {
		b.tb.Fatalf("%v", err)
	}
	b.LBs[lb].Run(b.tb, "nft", "-f", file)
}

func (b *nftBalancer) rules() string {
	var r strings.Builder
	for _, family := range []struct {
		name string
		vip  netip.Addr
		of   func(*lab.Pod) netip.Addr
	}{
		{"ip", lab.VIP4, func(p *lab.Pod) netip.Addr { return p.Addr4 }},
		{"ip6", lab.VIP6, func(p *lab.Pod) netip.Addr { return p.Addr6 }},
	} {
		table := "table " + family.name + " control"
		fmt.Fprintf(&r, "%s\ndelete %s\n%s {\n chain before {\n  type nat hook prerouting priority dstnat;\n", table, table, table)
		if entries := b.entries(family.of); len(entries) > 0 {
			for _, proto := range []string{"tcp", "udp"} {
				fmt.Fprintf(&r, "  %s daddr %s %s dport %d dnat to jhash %s saddr . %s sport mod %d seed 0x70656e73 map { %s }\n",
					family.name, family.vip, proto, vipPort, family.name, proto, len(entries), strings.Join(entries, ", "))
			}
		}
		r.WriteString(" }\n chain after {\n  type nat hook postrouting priority srcnat;\n  ct status dnat masquerade\n }\n}\n")
	}
	return r.String()
}

// entries has every ready pod as often as its weight says.
func (b *nftBalancer) entries(of func(*lab.Pod) netip.Addr) []string {
	var out []string
	for _, p := range b.living() {
		for range max(1, p.Weight) {
			if p.Ready {
				out = append(out, fmt.Sprintf("%d : %s . %d", len(out), of(p), podPort))
			}
		}
	}
	return out
}
