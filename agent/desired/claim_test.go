package desired_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// claimant is a dual-stack Service as the API server gives it, after changes.
func claimant(changes ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "u1", ResourceVersion: "7", Labels: map[string]string{"tier": "edge"},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)), Annotations: map[string]string{},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new(desired.Class),
			IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack), IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, change := range changes {
		change(svc)
	}
	return svc
}

func annotate(name, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Annotations[name] = value }
}

func TestClaim(t *testing.T) {
	base := ipam.Claim{
		Service: "shop/web", UID: "u1", Created: now.Add(-time.Hour), Namespace: "shop", Version: "7",
		NamespaceLabels: map[string]string{"team": "a"}, Labels: map[string]string{"tier": "edge"},
		IPv4: true, IPv6: true, Policy: ipam.PreferDual, Ports: []ipam.Port{{Number: 80, Protocol: "TCP"}},
	}
	type change = func(*corev1.Service)
	invalid := func(field, message string) func(*ipam.Claim) {
		return func(c *ipam.Claim) {
			c.Invalid = append(c.Invalid, ipam.Finding{Reason: ipam.InvalidRequest, Field: field, Message: message})
		}
	}
	const ips = "metadata.annotations[penstock.dev/ips]"
	tests := []struct {
		name   string // with what it follows
		change change
		want   func(*ipam.Claim)
	}{
		{"dual stack (KEP-563)", func(*corev1.Service) {}, func(*ipam.Claim) {}},
		{"IPv6 first", func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		}, func(c *ipam.Claim) { c.First6 = true }},
		{"single stack of IPv6", func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv6Protocol}, new(corev1.IPFamilyPolicySingleStack)
		}, func(c *ipam.Claim) { c.IPv4, c.First6, c.Policy = false, true, ipam.SingleStack }},
		{"required dual stack", func(s *corev1.Service) { s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack) },
			func(c *ipam.Claim) { c.Policy = ipam.RequireDual }},
		{"nothing says the families: those of the cluster addresses", func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy, s.Spec.ClusterIP, s.Spec.ClusterIPs = nil, nil, "fd00::5", []string{"fd00::5"}
		}, func(c *ipam.Claim) { c.IPv4, c.First6, c.Policy = false, true, ipam.SingleStack }},
		{"nothing at all does", func(s *corev1.Service) { s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = nil, nil },
			func(c *ipam.Claim) { c.IPv6, c.Policy = false, ipam.SingleStack }},
		{"ports that cannot be served do not count", func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 53, Protocol: "UDP"}, {Port: 53}, {Name: "again", Port: 53}, {Port: 54, Protocol: "SCTP"}, {Port: 0}}
		}, func(c *ipam.Claim) {
			c.Ports = []ipam.Port{{Number: 53, Protocol: "UDP"}, {Number: 53, Protocol: "TCP"}}
		}},
		{"none can be served", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = "SCTP" }, func(c *ipam.Claim) { c.Ports = nil }},
		{"what its status has is held, of either ipMode (KEP-1860)", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "2001:db8::9", IPMode: new(corev1.LoadBalancerIPModeProxy)},
				{Hostname: "lb.example.net"}, {IP: "192.0.2.9", IPMode: new(corev1.LoadBalancerIPModeVIP)}, {IP: "192.0.2.9"}, {IP: "fe80::1%eth0"}, {IP: "x"}}
		}, func(c *ipam.Claim) { c.Held = addrs("2001:db8::9", "192.0.2.9") }},
		{"pool and key", func(s *corev1.Service) {
			annotate(desired.PoolAnnotation, "edge ")(s)
			annotate(desired.SharingKeyAnnotation, "k")(s)
		}, func(c *ipam.Claim) { c.Pool, c.SharingKey = "edge", "k" }},

		{"spec.loadBalancerIP", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.7" }, func(c *ipam.Claim) { c.Requested, c.AskedBy = addrs("192.0.2.7"), "spec.loadBalancerIP" }},
		{"the annotation, both families", annotate(desired.IPsAnnotation, "2001:DB8::7, 192.0.2.7"), func(c *ipam.Claim) { c.Requested, c.AskedBy = addrs("192.0.2.7", "2001:db8::7"), ips }},
		{"the field and the annotation, a family each", func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "192.0.2.7"
			annotate(desired.IPsAnnotation, "2001:db8::7")(s)
		}, func(c *ipam.Claim) { c.Requested, c.AskedBy = addrs("192.0.2.7", "2001:db8::7"), ips }},
		{"blanks", annotate(desired.IPsAnnotation, " "), func(*ipam.Claim) {}},
		{"the same in both", func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "192.0.2.7"
			annotate(desired.IPsAnnotation, "192.0.2.7")(s)
		}, func(c *ipam.Claim) { c.Requested, c.AskedBy = addrs("192.0.2.7"), ips }},
		{"others in both", func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "192.0.2.8"
			annotate(desired.IPsAnnotation, "192.0.2.7")(s)
		}, invalid("spec.loadBalancerIP", `spec.loadBalancerIP asks for "192.0.2.8": metadata.annotations[penstock.dev/ips] asks for 192.0.2.7 already, and a Service gets one address of each family; remove one of them`)},
		{"two of one family", annotate(desired.IPsAnnotation, "2001:db8::7,2001:db8::8"),
			invalid(ips, ips+` asks for "2001:db8::8": `+ips+` asks for 2001:db8::7 already, and a Service gets one address of each family; remove one of them`)},
		{"garbage, and an address that is not", func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "127.0.0.1"
			annotate(desired.IPsAnnotation, "192.0.2.7 2001:db8::7,")(s)
		}, func(c *ipam.Claim) {
			invalid(ips, ips+` asks for "192.0.2.7 2001:db8::7": not an IP address; give a unicast address`)(c)
			invalid(ips, ips+` asks for "": not an IP address; give a unicast address`)(c)
			invalid("spec.loadBalancerIP", `spec.loadBalancerIP asks for "127.0.0.1": loopback address; give a unicast address`)(c)
		}},
		{"a family that it has not", func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, nil
			annotate(desired.IPsAnnotation, "2001:db8::7")(s)
		}, func(c *ipam.Claim) {
			c.IPv6, c.Policy = false, ipam.SingleStack
			invalid(ips, ips+` asks for "2001:db8::7": an ipv6 address, which spec.ipFamilies [IPv4] does not have; add the family or remove the address`)(c)
		}},
		{"a family that it has not, in the field", func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy, s.Spec.LoadBalancerIP = []corev1.IPFamily{corev1.IPv6Protocol}, nil, "192.0.2.7"
		}, func(c *ipam.Claim) {
			c.IPv4, c.First6, c.Policy = false, true, ipam.SingleStack
			invalid("spec.loadBalancerIP", `spec.loadBalancerIP asks for "192.0.2.7": an ipv4 address, which spec.ipFamilies [IPv6] does not have; add the family or remove the address`)(c)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := base
			tt.want(&want)
			got, findings, ours := desired.Claim(claimant(tt.change), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "a"}}}, false)
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); !ours || diff != "" {
				t.Errorf("ours %v, claim (-want +got):\n%s", ours, diff)
			}
			if diff := cmp.Diff(want.Invalid, findings, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// An annotation has room for 256 KiB of mistakes. What is told of them, and kept in memory
// for each Service, is little.
func TestFindingsOfAClaimAreFew(t *testing.T) {
	for name, text := range map[string]string{
		"many words": strings.Repeat("x,", 128<<10), "a long one": strings.Repeat("é", 128<<10), "a wrong family each": strings.Repeat("2001:db8::7,", 20<<10),
	} {
		svc := claimant(annotate(desired.IPsAnnotation, text), func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, nil
		})
		_, findings, _ := desired.Claim(svc, nil, false)
		size := 0
		for _, f := range findings {
			size += len(f.Message)
		}
		if len(findings) == 0 || size > 2000 {
			t.Errorf("%s: %d findings of %d bytes", name, len(findings), size)
		}
	}
}

// Nor do other annotations fill the log and the status with what somebody wrote.
func TestReasonsOfAnnotationsAreShort(t *testing.T) {
	svc := claimant(annotate(desired.ForwardingAnnotation, strings.Repeat("x", 128<<10)))
	for _, r := range desired.From(desired.Snapshot{Services: []*corev1.Service{svc}}, desired.Site{}, now).Reasons {
		if len(r.Detail) > 1000 {
			t.Errorf("%s has %d bytes", r.Reason, len(r.Detail))
		}
	}
}

// Who has a claim. The class decides (KEP-1959), and the configuration for those without.
func TestWhoClaims(t *testing.T) {
	class := func(c *string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerClass = c }
	}
	deleted := func(s *corev1.Service) { s.DeletionTimestamp = new(metav1.NewTime(now)) }
	tests := []struct {
		name               string
		svc                *corev1.Service
		ours, oursIfByDflt bool
	}{
		{"our class", claimant(), true, true},
		{"no class", claimant(class(nil)), false, true},
		{"an empty one", claimant(class(new(""))), false, true},
		{"another class", claimant(class(new("example.net/lb"))), false, false},
		{"another type", claimant(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), false, false},
		{"headless", claimant(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), false, false},
		{"being deleted, without an address", claimant(deleted), false, false},
		{"being deleted, with one", claimant(deleted, func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		}), true, true},
	}
	for _, tt := range tests {
		_, _, ours := desired.Claim(tt.svc, nil, false)
		_, _, byDefault := desired.Claim(tt.svc, nil, true)
		if ours != tt.ours || byDefault != tt.oursIfByDflt {
			t.Errorf("%s: ours %v, with defaultClass %v", tt.name, ours, byDefault)
		}
	}
}
