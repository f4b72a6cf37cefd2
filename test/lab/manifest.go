package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Endpoint is one address in an EndpointSlice with its conditions.
type Endpoint struct {
	Addr               netip.Addr
	Ready, Terminating bool
}

// Service is a LoadBalancer Service with its endpoints, on both VIPs.
type Service struct {
	Name      string
	Port      uint16 // of the VIP
	Target    uint16 // of the endpoints
	Protocol  string // TCP or UDP
	Affinity  string // None or ClientIP
	Endpoints []Endpoint
}

// Web is the Service of the L7 tier. Endpoints are those of the nodes given.
func Web(nodes ...*Node) Service {
	s := Service{Name: "web", Port: 80, Target: 8080, Protocol: "TCP"}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, Endpoint{Addr: n.Addr4, Ready: true}, Endpoint{Addr: n.Addr6, Ready: true})
	}
	return s
}

// Apply gives every LB node's agent the service, in a file of its own.
func (l *Lab) Apply(tb fixture.TB, s Service) {
	tb.Helper()
	for _, b := range l.LBs {
		b.Write(tb, s.Name+".yaml", s.YAML())
	}
}

// YAML is the Service and its EndpointSlices as Kubernetes would have them.
func (s Service) YAML() string {
	affinity := s.Affinity
	if affinity == "" {
		affinity = "None"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec:
  type: LoadBalancer
  loadBalancerClass: penstock.dev/xdp
  ipFamilyPolicy: RequireDualStack
  sessionAffinity: %s
  ports: [{name: main, port: %d, protocol: %s, targetPort: %d}]
status:
  loadBalancer:
    ingress: [{ip: %s}, {ip: "%s"}]
`, s.Name, affinity, s.Port, s.Protocol, s.Target, VIP4, VIP6)
	for _, family := range []string{"IPv4", "IPv6"} {
		fmt.Fprintf(&b, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %s-%s
  namespace: default
  labels: {kubernetes.io/service-name: %s}
addressType: %s
ports: [{name: main, port: %d, protocol: %s}]
endpoints:
`, s.Name, strings.ToLower(family), s.Name, family, s.Target, s.Protocol)
		for _, e := range s.Endpoints {
			if e.Addr.Is4() == (family == "IPv4") {
				fmt.Fprintf(&b, "- addresses: [\"%s\"]\n  conditions: {ready: %t, serving: %t, terminating: %t}\n",
					e.Addr, e.Ready, e.Ready || e.Terminating, e.Terminating)
			}
		}
	}
	return b.String()
}
