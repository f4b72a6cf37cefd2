package netns

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestTakeover gives a Service the addresses of the LB node, its router and a
// Kubernetes node. None is announced, each has its reason, and the VIPs stay.
func TestTakeover(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	want := map[string]string{
		b.Addr4.String(): "AddressIsNode", b.Addr6.String(): "AddressIsNode",
		"10.0.1.1": "AddressIsPeer", "fd00:0:1::1": "AddressIsPeer",
		l.Nodes[0].Addr4.String(): "OutsideVIPs",
	}
	text := "apiVersion: v1\nkind: Service\nmetadata: {name: greedy}\nspec:\n  type: LoadBalancer\n  ports: [{port: 179}]\n  externalIPs:\n"
	for addr := range want {
		text += fmt.Sprintf("  - %q\n", addr)
	}
	b.Write(t, "greedy.yaml", text+`---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: greedy, labels: {kubernetes.io/service-name: greedy}}
addressType: IPv4
ports: [{port: 179}]
endpoints: [{addresses: [10.1.1.77]}]
`)
	fixture.Wait(t, 10*time.Second, "the reasons", func() error {
		var s struct {
			Reasons []struct{ Service, Subject, Reason string }
		}
		out, _ := b.Penstock("status", "-o", "json") // exits with 3 where degraded
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return fmt.Errorf("%w in %q", err, out)
		}
		for addr, reason := range want {
			if !slices.ContainsFunc(s.Reasons, func(r struct{ Service, Subject, Reason string }) bool {
				return r.Service == "default/greedy" && r.Subject == addr && r.Reason == reason
			}) {
				return fmt.Errorf("%s is not %s: %+v", addr, reason, s.Reasons)
			}
		}
		return nil
	})
	for addr := range want {
		if hops, err := l.Routes(netip.MustParseAddr(addr)); err != nil || len(hops) != 0 {
			t.Errorf("the router sends %s by %v, %v", addr, hops, err)
		}
	}
	l.WaitRoutes(t, 1)
	servers(t, l, lab.VIP4, 3)
	servers(t, l, lab.VIP6, 3)
}
