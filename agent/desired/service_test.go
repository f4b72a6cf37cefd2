package desired_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/maps"
)

// brief writes what Services are to the data path, and why parts of them are not in force.
func brief(s desired.State) (out []string) {
	for _, svc := range s.Services {
		var b strings.Builder
		_, port, _ := strings.Cut(svc.Name, ":")
		fmt.Fprintf(&b, "%s", port)
		if svc.Affinity == maps.AffinityClientIP {
			b.WriteString(" by client")
		}
		if svc.Restricted {
			fmt.Fprintf(&b, " only %s", svc.Sources)
		}
		for _, fe := range svc.Frontends {
			fmt.Fprintf(&b, " %s", fe)
		}
		b.WriteString(" ->")
		for _, be := range svc.Backends {
			fmt.Fprintf(&b, " %s", be.Addr)
			if be.Draining {
				b.WriteString(" (draining)")
			}
		}
		out = append(out, b.String())
	}
	for _, r := range s.Reasons {
		out = append(out, strings.TrimSpace("! "+string(r.Reason)+" "+r.Subject))
	}
	return out
}

// offered is a Service with an address of each family and two endpoints of each on two
// nodes, as the API server and its controllers write them.
func offered() (*corev1.Service, []*discoveryv1.EndpointSlice) {
	svc := claimant(func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.5", []string{"10.96.0.5", "fd00:96::5"}
		s.Spec.ExternalTrafficPolicy, s.Spec.InternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster, new(corev1.ServiceInternalTrafficPolicyCluster)
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "192.0.2.1", IPMode: new(corev1.LoadBalancerIPModeVIP)}, {IP: "2001:db8::1", IPMode: new(corev1.LoadBalancerIPModeVIP)},
		}
	})
	slice := func(name string, kind discoveryv1.AddressType, addrs ...string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: kind,
			Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
		}
		for i, a := range addrs {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{a}, NodeName: new(fmt.Sprintf("n%d", i+1)),
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("web-%d", i+1)},
				Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			})
		}
		return s
	}
	return svc, []*discoveryv1.EndpointSlice{
		slice("web-4", discoveryv1.AddressTypeIPv4, "10.0.0.1", "10.0.0.2"), slice("web-6", discoveryv1.AddressTypeIPv6, "fd00::1", "fd00::2"),
	}
}

// TestServiceSemantics has what each field of a Service does here, with what says so.
func TestServiceSemantics(t *testing.T) {
	type service = corev1.Service
	type slices = []*discoveryv1.EndpointSlice
	of := func(change func(*service)) func(*service, slices) { return func(s *service, _ slices) { change(s) } }
	spec := func(change func(*corev1.ServiceSpec)) func(*service, slices) {
		return func(s *service, _ slices) { change(&s.Spec) }
	}
	served := []string{"http/tcp/ipv4 192.0.2.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080", "http/tcp/ipv6 [2001:db8::1]:80/tcp -> [fd00::1]:8080 [fd00::2]:8080"}
	by := func(with string) []string {
		return []string{strings.Replace(served[0], "ipv4", "ipv4 "+with, 1), strings.Replace(served[1], "ipv6", "ipv6 "+with, 1)}
	}
	tests := []struct {
		name    string
		follows string
		change  func(*service, slices)
		want    []string
	}{
		{"as it is", "the Service API", of(func(*service) {}), served},

		{"loadBalancerClass of another", "KEP-1959", spec(func(s *corev1.ServiceSpec) { s.LoadBalancerClass = new("example.net/lb") }), []string{"! OtherClass"}},
		{"no loadBalancerClass, not the default", "KEP-1959", spec(func(s *corev1.ServiceSpec) { s.LoadBalancerClass = nil }), []string{"! OtherClass"}},
		{"type ClusterIP, which the class does not outlive", "Service.spec.loadBalancerClass", spec(func(s *corev1.ServiceSpec) { s.Type, s.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil }), nil},
		{"type NodePort with our class, as no API server has it", "Service.spec.loadBalancerClass", spec(func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }), []string{"! NotLoadBalancer"}},
		{"type ExternalName", "Service.spec.type", spec(func(s *corev1.ServiceSpec) {
			s.Type, s.LoadBalancerClass, s.ExternalName = corev1.ServiceTypeExternalName, nil, "example.net"
		}), nil},
		{"headless", "Service.spec.clusterIP", spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }), []string{"! Headless"}},

		{"no node ports: none are used", "KEP-1864", spec(func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts, s.Ports[0].NodePort = new(false), 0 }), served},
		{"externalTrafficPolicy Local: endpoints of all nodes, for LB nodes run none", "Service.spec.externalTrafficPolicy",
			spec(func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }), append(append([]string{}, served...), "! ClientAddressHidden")},
		{"healthCheckNodePort: for balancers that choose nodes", "Service.spec.healthCheckNodePort",
			spec(func(s *corev1.ServiceSpec) {
				s.ExternalTrafficPolicy, s.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 32000
			}), append(append([]string{}, served...), "! ClientAddressHidden")},
		{"internalTrafficPolicy: of clients in the cluster", "KEP-2086", spec(func(s *corev1.ServiceSpec) { s.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal) }), served},
		{"sessionAffinity", "Service.spec.sessionAffinity", spec(func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }), by("by client")},
		{"sessionAffinity with a time-out, which does not count", "Service.spec.sessionAffinityConfig", spec(func(s *corev1.ServiceSpec) {
			s.SessionAffinity = corev1.ServiceAffinityClientIP
			s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(1))}}
		}), by("by client")},
		{"loadBalancerSourceRanges", "Service.spec.loadBalancerSourceRanges", spec(func(s *corev1.ServiceSpec) { s.LoadBalancerSourceRanges = []string{"10.0.0.0/8", "2001:db8:9::/48"} }),
			[]string{by("only [10.0.0.0/8]")[0], by("only [2001:db8:9::/48]")[1]}},
		{"loadBalancerSourceRanges as an annotation", "AnnotationLoadBalancerSourceRangesKey", of(annotate(corev1.AnnotationLoadBalancerSourceRangesKey, "10.0.0.0/8,::/0")),
			[]string{by("only [10.0.0.0/8]")[0], served[1]}},
		{"trafficDistribution without hints", "KEP-4444", spec(func(s *corev1.ServiceSpec) { s.TrafficDistribution = new(corev1.ServiceTrafficDistributionPreferClose) }), served},

		{"spec.loadBalancerIP: a request", "Service.spec.loadBalancerIP", spec(func(s *corev1.ServiceSpec) { s.LoadBalancerIP = "192.0.2.9" }), served},
		{"penstock.dev/ips: a request", "desired.IPsAnnotation", of(annotate(desired.IPsAnnotation, "192.0.2.9")), served},
		{"spec.externalIPs: of no pool", "CVE-2020-8554", spec(func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"203.0.113.1"} }), append(append([]string{}, served...), "! ExternalIPRefused 203.0.113.1")},
		{"status with ipMode Proxy", "KEP-1860", of(func(s *service) {
			for i := range s.Status.LoadBalancer.Ingress {
				s.Status.LoadBalancer.Ingress[i].IPMode = new(corev1.LoadBalancerIPModeProxy)
			}
		}), served},
		{"status with a host name", "Service.status.loadBalancer", of(func(s *service) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "example.net"})
		}), served},

		{"single stack", "KEP-563", of(func(s *service) {
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = new(corev1.IPFamilyPolicySingleStack), s.Spec.IPFamilies[1:]
			s.Status.LoadBalancer.Ingress = s.Status.LoadBalancer.Ingress[1:]
		}), served[1:]},
		{"an address of a family without endpoints", "KEP-563", func(_ *service, all slices) { all[1].Endpoints = nil },
			[]string{served[0], "http/tcp/ipv6 [2001:db8::1]:80/tcp ->", "! NoEndpoints port http/tcp/ipv6"}},

		{"several ports, one of them SCTP", "Service.spec.ports", func(s *service, all slices) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "sctp", Port: 80, Protocol: corev1.ProtocolSCTP}, corev1.ServicePort{Name: "quic", Port: 80, Protocol: corev1.ProtocolUDP})
			all[0].Ports = append(all[0].Ports, discoveryv1.EndpointPort{Name: new("quic"), Port: new(int32(8443)), Protocol: new(corev1.ProtocolUDP)})
		}, []string{served[0], served[1], "quic/udp/ipv4 192.0.2.1:80/udp -> 10.0.0.1:8443 10.0.0.2:8443", "quic/udp/ipv6 [2001:db8::1]:80/udp ->",
			"! PortNotFound port quic/udp/ipv6", "! UnsupportedProtocol port sctp"}},
		{"a named targetPort, which the slice has resolved", "EndpointSlice.ports", func(s *service, all slices) {
			s.Spec.Ports[0].TargetPort.StrVal, s.Spec.Ports[0].TargetPort.Type = "web", 1
			all[0].Ports[0].Port = new(int32(9090))
		}, []string{strings.ReplaceAll(served[0], "8080", "9090"), served[1]}},

		{"endpoints that nobody's selector found", "EndpointSlices without selectors", func(s *service, all slices) {
			s.Spec.Selector = nil
			for _, slice := range all {
				for i := range slice.Endpoints {
					slice.Endpoints[i] = discoveryv1.Endpoint{Addresses: slice.Endpoints[i].Addresses}
				}
			}
		}, served},
		{"endpoints that are names", "EndpointSlice.addressType", func(_ *service, all slices) {
			all[0].AddressType, all[0].Endpoints[0].Addresses = discoveryv1.AddressTypeFQDN, []string{"web.example.net"}
		}, []string{"http/tcp/ipv4 192.0.2.1:80/tcp ->", served[1], "! NoEndpoints port http/tcp/ipv4", "! UnsupportedSlice slice web-4"}},
		{"an endpoint of the other family", "EndpointSlice.addressType", func(_ *service, all slices) { all[0].Endpoints[1].Addresses = []string{"fd00::2"} },
			[]string{strings.TrimSuffix(served[0], " 10.0.0.2:8080"), served[1], "! InvalidEndpoint slice web-4"}},
		{"publishNotReadyAddresses", "Service.spec.publishNotReadyAddresses", func(s *service, all slices) {
			s.Spec.PublishNotReadyAddresses = true
			all[0].Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(false), Terminating: new(true)}
		}, served},
		{"a terminating endpoint keeps its flows", "KEP-1672", func(_ *service, all slices) {
			all[0].Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
		}, []string{strings.Replace(served[0], "10.0.0.1:8080", "10.0.0.1:8080 (draining)", 1), served[1]}},
		{"all terminate: those that serve take new flows", "KEP-1669", func(_ *service, all slices) {
			all[0].Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
			all[0].Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(true)}
		}, []string{served[0] + " (draining)", served[1], "! TerminatingOnly port http/tcp/ipv4"}},
	}
	site := desired.Site{Node: "lb1", Allocated: true}
	for _, tt := range tests {
		t.Run(tt.name+" ("+tt.follows+")", func(t *testing.T) {
			svc, all := offered()
			tt.change(svc, all)
			got := brief(desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, site, now))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			// Whatever a Service has become, it leaves nothing behind of what it was.
			before, same := offered()
			m := desired.NewModel()
			m.Apply(desired.Whole(desired.Snapshot{Services: []*corev1.Service{before}, Slices: same}), site, now)
			m.Apply(desired.Delta{Bundles: map[string]desired.Bundle{"shop/web": {Service: svc, Slices: all}}}, site, now)
			if diff := cmp.Diff(tt.want, brief(m.State())); diff != "" {
				t.Errorf("state after the edit (-want +got):\n%s", diff)
			}
		})
	}
}

// The node of an endpoint is its pod's, whatever the slice says.
func TestNodeOfEndpoint(t *testing.T) {
	svc, all := offered()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}, Spec: corev1.PodSpec{NodeName: "elsewhere"}}
	s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all, Pods: []*corev1.Pod{pod}}, desired.Site{Node: "lb1"}, now)
	if got := []string{s.Services[0].Backends[0].Node, s.Services[0].Backends[1].Node}; got[0] != "elsewhere" || got[1] != "n2" {
		t.Errorf("nodes: %s", got)
	}
}

// An address that the status of one Service gets takes it from the externalIPs of all
// others, though they were there before and are older.
func TestGrantedAddressIsTaken(t *testing.T) {
	svc := func(name string, granted bool) *corev1.Service {
		s := loadBalancer(name, "http")
		s.Spec.ExternalIPs = []string{"192.0.2.1", "2001:db8::1"}
		if granted {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}
		}
		return s
	}
	site := desired.Site{Node: "lb1", DefaultClass: true, Allocated: true, Pools: []ipam.Pool{{Name: "all", Ranges: []ipam.Range{
		ipam.RangeOf(netip.MustParsePrefix("192.0.2.0/24")), ipam.RangeOf(netip.MustParsePrefix("2001:db8::/64")),
	}}}}
	m := desired.NewModel()
	m.Apply(desired.Whole(desired.Snapshot{Services: []*corev1.Service{svc("a", false), svc("b", false)}}), site, now)
	if got := m.Tables("default/a"); len(got) != 2 || len(m.Tables("default/b")) != 0 {
		t.Fatalf("before: %+v", got)
	}
	change := m.Apply(desired.Delta{Bundles: map[string]desired.Bundle{"default/b": {Service: svc("b", true)}}}, site, now)
	if got := m.Tables("default/b"); len(got) != 2 || len(m.Tables("default/a")) != 0 || !change.Services["default/a"] || !change.VIPs[netip.MustParseAddr("192.0.2.1")] {
		t.Errorf("after: %+v, change %+v", got, change)
	}
}
