package netns

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestProbe gives a Service endpoints that the LB node has no way to. Its VIPs are in the tables,
// and are not announced before the program forwards to them.
func TestProbe(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	far := map[string]netip.Addr{"203.0.113.0/24": netip.MustParseAddr("198.51.100.77"), "2001:db8:dead::/64": netip.MustParseAddr("2001:db8:100::77")}
	for network := range far {
		b.Run(t, "ip", "route", "add", "blackhole", network)
	}
	b.Write(t, "far.yaml", `apiVersion: v1
kind: Service
metadata: {name: far}
spec:
  type: LoadBalancer
  ports: [{port: 80, targetPort: 80}]
  externalIPs: [198.51.100.77, "2001:db8:100::77"]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: far-4, labels: {kubernetes.io/service-name: far}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [203.0.113.7]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: far-6, labels: {kubernetes.io/service-name: far}}
addressType: IPv6
ports: [{port: 80}]
endpoints: [{addresses: ["2001:db8:dead::7"]}]
`)
	want := map[netip.Addr]string{lab.VIP4: "", lab.VIP6: ""}
	for _, vip := range far {
		want[vip] = "ProbeFailed"
	}
	waitStatus(t, b, "a refusal by the program", func(s said) error { return s.is(want) })
	for _, vip := range far {
		if hops, err := l.Routes(vip); err != nil || len(hops) != 0 {
			t.Errorf("the router sends %s by %v, %v", vip, hops, err)
		}
	}
	for network := range far {
		b.Run(t, "ip", "route", "del", "blackhole", network)
	}
	for _, vip := range far {
		want[vip] = ""
	}
	waitStatus(t, b, "all VIPs", func(s said) error { return s.is(want) })
	servers(t, l, lab.VIP4, 3)
	servers(t, l, lab.VIP6, 3)
}
