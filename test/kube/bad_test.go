package kube

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/lab"
)

// bad are Services that ask for what can't be, each with what kubectl describe must tell of it.
// The API server takes them all.
var bad = []struct{ name, yaml, tells string }{
	{"outside", annotated("outside", "penstock.dev/ips", "203.0.113.1"), "AddressOutsidePool"},
	{"garbage", annotated("garbage", "penstock.dev/ips", "one, two"), "InvalidRequest"},
	{"family", annotated("family", "penstock.dev/ips", "198.51.100.60,198.51.100.61"), "InvalidRequest"},
	{"taken", annotated("taken", "penstock.dev/ips", "198.51.100.10"), "default/web"},
	{"pool", annotated("pool", "penstock.dev/pool", "nowhere"), "nowhere"},
	{"forwarding", annotated("forwarding", "penstock.dev/forwarding", "carrier pigeon"), "carrier pigeon"},
	{"external", webYAML("external", "  externalIPs: [203.0.113.7]\n"), "203.0.113.7"},
	{"node", webYAML("node", "  externalIPs: [10.0.1.2]\n"), "10.0.1.2"},
	{"router", webYAML("router", "  externalIPs: [10.0.1.1]\n"), "10.0.1.1"},
	{"ranges", webYAML("ranges", "  loadBalancerSourceRanges: [203.0.113.0/24]\n"), "NobodyAdmitted"},
	{"sctp", strings.Replace(webYAML("sctp"), "ports: [{name: http, port: 80, ", "ports: [{name: http, port: 80, protocol: SCTP, ", 1), "SCTP"},
	{"many", strings.Replace(webYAML("many"), "ports: [{name: http, port: 80, targetPort: http}]", "ports: ["+manyPorts(5000)+"]", 1), ""},
}

func annotated(name, key, value string) string {
	return strings.Replace(webYAML(name), "  namespace: default\n",
		fmt.Sprintf("  namespace: default\n  annotations: {%s: %q}\n", key, value), 1)
}

func manyPorts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{name: p%d, port: %d, targetPort: http}, ", i, i+1000)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// TestBadServices has Services that can't be served beside one that is being used: each says why,
// and nothing of the other one is disturbed.
func TestBadServices(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	var all, names []string
	for _, b := range bad {
		all, names = append(all, strings.Replace(b.yaml, "app: "+b.name, "app: web", 1)), append(names, b.name)
	}
	s.apply(strings.Join(all, "\n---\n"))
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			s.wait("a word on "+b.name, func() error {
				out := s.api.Kubectl(t, "", "describe", "service", b.name)
				_, events, _ := strings.Cut(out, "Events:")
				conditions := fmt.Sprintf("%+v", s.service(b.name).Status.Conditions)
				if !strings.Contains(events+conditions, b.tells) {
					return fmt.Errorf("no %q in%s\nnor in %s", b.tells, events, conditions)
				}
				return nil
			})
		})
	}
	s.more(load, 200)
	s.api.Kubectl(t, "", append([]string{"delete", "service"}, names...)...)
	for _, name := range names {
		s.waitTables(name)
	}
	s.same("web", vips)
	s.waitRoutes(vips, 2)
	load.Check()
	events, err := s.api.Client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d Events of %d Services", len(events.Items), len(bad)+1)
}
