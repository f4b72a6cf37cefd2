package desired_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/maps"
)

var compareStates = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()}

// pick draws from few values, so that objects collide.
func pick[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

func drawService(t *rapid.T, name string) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.CreationTimestamp = metav1.NewTime(now.Add(time.Duration(rapid.IntRange(-2, 0).Draw(t, "age")) * time.Hour))
	svc.Labels = pick(t, "labels", nil, nil, map[string]string{"tier": "edge"})
	svc.Annotations = pick(t, "annotations", nil, nil, map[string]string{desired.BGPMEDAnnotation: "7"}, map[string]string{desired.BGPPeersAnnotation: "tor1"},
		map[string]string{desired.BGPPeersAnnotation: "x", desired.BGPCommunitiesAnnotation: "no-export"})
	svc.Spec.Type = pick(t, "type", corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP)
	svc.Spec.LoadBalancerClass = pick(t, "class", nil, nil, new(desired.Class), new("example.net/lb"))
	svc.Spec.PublishNotReadyAddresses = pick(t, "publish", false, false, true)
	addresses := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "10.0.0.1", "198.51.100.1", "127.0.0.1", "x"}
	svc.Spec.ExternalIPs = rapid.SliceOfN(rapid.SampledFrom(addresses), 0, 3).Draw(t, "externalIPs")
	for _, ip := range rapid.SliceOfN(rapid.SampledFrom(addresses), 0, 1).Draw(t, "status") {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	svc.Spec.LoadBalancerSourceRanges = pick(t, "ranges", nil, nil, []string{"10.0.0.0/8"}, []string{"2001:db8::7/64", "0.0.0.0/0"}, []string{"x"})
	for range rapid.IntRange(0, 3).Draw(t, "ports") {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name:     pick(t, "port name", "", "a", "b"),
			Port:     pick[int32](t, "port", 80, 81, 0),
			Protocol: pick(t, "protocol", corev1.ProtocolTCP, corev1.ProtocolUDP, "", corev1.ProtocolSCTP),
		})
	}
	return svc
}

func drawSlice(t *rapid.T, name string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: pick(t, "of", "s0", "s1", "s2")}
	s.AddressType = pick(t, "addressType", discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	for range rapid.IntRange(0, 3).Draw(t, "ports") {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{
			Name: pick(t, "port name", nil, new(""), new("a"), new("b")),
			Port: pick(t, "port", nil, new(int32(8080)), new(int32(8081)), new(int32(0))),
		})
	}
	if rapid.Bool().Draw(t, "weighted") {
		s.Annotations = map[string]string{desired.WeightAnnotation: pick(t, "weight", "2", "3", "x")}
	}
	for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		condition := func(label string) *bool { return pick(t, label, nil, new(true), new(false)) }
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Hints:      pick(t, "hints", nil, &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}, &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "b"}}}),
			Addresses:  []string{pick(t, "address", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "192.0.2.1", "::1")},
			NodeName:   pick(t, "node", nil, new("n0"), new("n1"), new("n2")),
			TargetRef:  pick(t, "pod", nil, &corev1.ObjectReference{Kind: "Pod", Name: "p0"}, &corev1.ObjectReference{Kind: "Pod", Name: "p1"}),
			Conditions: discoveryv1.EndpointConditions{Ready: condition("ready"), Serving: condition("serving"), Terminating: condition("terminating")},
		})
	}
	return s
}

func drawSnapshot(t *rapid.T) desired.Snapshot {
	var s desired.Snapshot
	for i := range rapid.IntRange(0, 4).Draw(t, "services") {
		s.Services = append(s.Services, drawService(t, fmt.Sprintf("s%d", i)))
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "slices") {
		s.Slices = append(s.Slices, drawSlice(t, fmt.Sprintf("e%d", i)))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "nodes") {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}
		address := pick(t, "node address", "198.51.100.1", "198.51.100.2", "2001:db8:1::1", "x")
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		if rapid.Bool().Draw(t, "has a role") {
			n.Annotations = map[string]string{desired.RoleAnnotation: pick(t, "role", "lb", "backend", "backend,lb", "x")}
			n.Annotations[desired.LBAnnotation] = pick(t, "published", `{"ready": true}`, `{"tunnelPort": 1, "ready": true}`, `{"addresses": ["198.51.100.1"]}`, "{")
		}
		n.Labels = map[string]string{corev1.LabelTopologyZone: pick(t, "zone", "a", "a", "b")}
		n.Spec.Unschedulable = rapid.IntRange(0, 3).Draw(t, "cordoned") == 0
		s.Nodes = append(s.Nodes, n)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "pods") {
		s.Pods = append(s.Pods, drawPod(t, fmt.Sprintf("p%d", i)))
	}
	return s
}

func drawPod(t *rapid.T, name string) *corev1.Pod {
	moment := func(label string) metav1.Time {
		return metav1.NewTime(now.Add(-time.Duration(rapid.IntRange(0, 9).Draw(t, label)) * time.Minute))
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: moment("created")}}
	p.Annotations = map[string]string{desired.WeightAnnotation: pick(t, "weight", "1", "5", "0")}
	p.Spec.NodeName = pick(t, "node", "", "n0", "n1")
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodReady, Status: pick(t, "ready", corev1.ConditionTrue, corev1.ConditionFalse), LastTransitionTime: moment("changed"),
	}}
	if rapid.Bool().Draw(t, "deleted") {
		p.DeletionTimestamp = new(moment("deletion"))
	}
	return p
}

func drawSite(t *rapid.T) desired.Site {
	s := desired.Site{Node: pick(t, "site", "n0", "n9"), DefaultClass: rapid.IntRange(0, 4).Draw(t, "not by default") > 0}
	if s.Allocated = rapid.Bool().Draw(t, "allocated"); s.Allocated {
		s.Pools = pick(t, "pools", nil, []ipam.Pool{{Name: "p", Ranges: []ipam.Range{ipam.RangeOf(netip.MustParsePrefix("192.0.2.0/24"))}}})
	}
	s.Advertised = drawPolicy(t)
	s.Forwarding = pick(t, "forwarding", "", desired.ForwardingAuto, desired.ForwardingDSR, desired.ForwardingNAT)
	s.Answering, s.Dead, s.Sticky = map[netip.Addr]bool{}, map[netip.Addr]time.Time{}, map[netip.Addr]bool{}
	for _, a := range []string{"198.51.100.1", "198.51.100.2", "2001:db8:1::1"} {
		addr := netip.MustParseAddr(a)
		switch pick(t, "node is", "silent", "answering", "dead", "sticky") {
		case "answering":
			s.Answering[addr] = true
		case "dead":
			s.Dead[addr] = now.Add(-time.Second)
		case "sticky":
			s.Sticky[addr] = true
		}
	}
	return s
}

func drawPolicy(t *rapid.T) advertise.Policy {
	p := advertise.Policy{Peers: []string{"tor1", "tor2"}, Capacity: pick[uint64](t, "capacity", 0, 125_000_000)}
	for range rapid.IntRange(0, 2).Draw(t, "entries") {
		e := advertise.Entry{Name: "e", Peers: pick(t, "peers", nil, []string{"tor1"}), MED: pick(t, "med", nil, new(uint32(7)))}
		e.Namespaces = pick(t, "namespaces", nil, nil, []string{"default"}, []string{"other"})
		e.LinkBandwidth = advertise.Bandwidth{Auto: rapid.Bool().Draw(t, "auto")}
		if rapid.Bool().Draw(t, "selective") {
			e.ServiceSelector = chooser{labels.Set{"tier": "edge"}.AsSelector()}
		}
		e.AggregateLength4, e.AggregateLength6 = pick[uint8](t, "length", 0, 24, 30), pick[uint8](t, "length", 0, 64)
		e.AggregateOnly = rapid.Bool().Draw(t, "only")
		p.Entries = append(p.Entries, e)
	}
	return p
}

// shuffled gives the same objects with everything in another order that has no
// meaning in Kubernetes.
func shuffled(t *rapid.T, s desired.Snapshot) desired.Snapshot {
	s.Services = rapid.Permutation(s.Services).Draw(t, "services order")
	s.Slices = rapid.Permutation(s.Slices).Draw(t, "slices order")
	s.Nodes = rapid.Permutation(s.Nodes).Draw(t, "nodes order")
	s.Pods = rapid.Permutation(s.Pods).Draw(t, "pods order")
	for i, svc := range s.Services {
		s.Services[i] = svc.DeepCopy()
		s.Services[i].Spec.ExternalIPs = rapid.Permutation(svc.Spec.ExternalIPs).Draw(t, "addresses order")
	}
	for i, slice := range s.Slices {
		s.Slices[i] = slice.DeepCopy()
		s.Slices[i].Endpoints = rapid.Permutation(slice.Endpoints).Draw(t, "endpoints order")
		s.Slices[i].Ports = rapid.Permutation(slice.Ports).Draw(t, "ports order")
	}
	return s
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		site, other := drawSite(t), shuffled(t, s)
		a, b := desired.From(s, site, now), desired.From(other, site, now)
		if diff := cmp.Diff(a, b, compareStates); diff != "" {
			t.Errorf("another order of the same objects:\n%s", diff)
		}
		if diff := cmp.Diff(desired.ForNode(s, site), desired.ForNode(other, site), compareStates); diff != "" {
			t.Errorf("an ingress node, another order of the same objects:\n%s", diff)
		}
	})
}

// What is refused, for whatever reason, leaves the others as they are.
func TestRefusedServicesCostOnlyThemselves(t *testing.T) {
	refused := func(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "bad", Name: name}}
		svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"192.0.2.1"},
			Ports: []corev1.ServicePort{{Port: 80}}}
		change(&svc.Spec)
		return svc
	}
	all := []*corev1.Service{
		refused("class", func(s *corev1.ServiceSpec) { s.LoadBalancerClass = new("example.net/lb") }),
		refused("type", func(s *corev1.ServiceSpec) {
			s.Type, s.LoadBalancerClass = corev1.ServiceTypeNodePort, new(desired.Class)
		}),
		refused("headless", func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }),
		refused("no-ports", func(s *corev1.ServiceSpec) { s.Ports = nil }),
		refused("address", func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"127.0.0.1", "fe80::1", ""} }),
		refused("no-address", func(s *corev1.ServiceSpec) { s.ExternalIPs = nil }),
	}
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		alone := desired.From(s, desired.Site{Node: "n1", DefaultClass: true}, now)
		bad := 0
		for _, svc := range all {
			if rapid.Bool().Draw(t, svc.Name) {
				s.Services = append(s.Services, svc)
				bad++
			}
		}
		among := desired.From(s, desired.Site{Node: "n1", DefaultClass: true}, now)
		told := map[string]bool{}
		among.Reasons = slices.DeleteFunc(among.Reasons, func(r desired.ServiceReason) bool {
			of := strings.HasPrefix(r.Service, "bad/")
			if of {
				told[r.Service] = true
			}
			return of
		})
		if diff := cmp.Diff(alone, among, compareStates); diff != "" {
			t.Errorf("state (-alone +among refused ones):\n%s", diff)
		}
		if len(told) != bad {
			t.Errorf("reasons for %v, want for %d Services", told, bad)
		}
	})
}

// What holds of every state.
func TestStateIsConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snapshot := drawSnapshot(t)
		site := drawSite(t)
		s := desired.From(snapshot, site, now)
		explained := map[string]bool{}
		for _, r := range s.Reasons {
			explained[r.Service] = true
			if r.Reason == "" || r.Detail == "" {
				t.Errorf("reason without a name or detail: %+v", r)
			}
		}
		usable, owner := map[string]bool{}, map[maps.Frontend]string{}
		vips := map[netip.Addr]desired.VIP{}
		for _, v := range s.VIPs {
			vips[v.Addr] = v
		}
		for i, svc := range s.Services {
			if i > 0 && s.Services[i-1].Name >= svc.Name || len(svc.Frontends) == 0 {
				t.Errorf("service %s: out of order, twice, or without a frontend", svc.Name)
			}
			usable[svc.Name] = (!svc.Restricted || len(svc.Sources) > 0) && slices.ContainsFunc(svc.Backends, maps.Backend.Eligible)
			if slices.ContainsFunc(svc.Sources, func(p netip.Prefix) bool { return p.Addr().Is4() != svc.Frontends[0].VIP.Is4() || p != p.Masked() }) {
				t.Errorf("service %s of %s has sources %s", svc.Name, svc.Frontends[0], svc.Sources)
			}
			if of, _, _ := strings.Cut(svc.Name, ":"); !usable[svc.Name] && !explained[of] {
				t.Errorf("service %s takes no flow and no reason says why", svc.Name)
			}
			for _, fe := range svc.Frontends {
				if other := owner[fe]; other != "" {
					t.Errorf("frontend %s is of %s and of %s", fe, other, svc.Name)
				}
				owner[fe] = svc.Name
				if in := slices.Contains(vips[fe.VIP].Services, svc.Name); in != (usable[svc.Name] && vips[fe.VIP].Reason != desired.NotAdvertised) {
					t.Errorf("VIP %s names service %s: %v, usable: %v", fe.VIP, svc.Name, in, usable[svc.Name])
				}
			}
			for i, be := range svc.Backends {
				checkBackend(t, s, site, svc, be)
				if _, vip := vips[be.Addr.Addr()]; vip || be.Addr.Port() == 0 || be.Addr.Addr().Is4() != svc.Frontends[0].VIP.Is4() {
					t.Errorf("service %s has backend %s", svc.Name, be.Addr)
				}
				if i > 0 && svc.Backends[i-1].Addr.Compare(be.Addr) >= 0 {
					t.Errorf("service %s: backend %s is out of order or twice", svc.Name, be.Addr)
				}
			}
		}
		for _, v := range s.VIPs {
			if (v.Reason == desired.Announceable) != (len(v.Services) > 0) || v.Reason == "" {
				t.Errorf("VIP %+v", v)
			}
			checkOffers(t, v)
		}
	})
}

// checkOffers holds what is told of a VIP to its own: somebody is told, and each peer one thing.
func checkOffers(t *rapid.T, v desired.VIP) {
	if v.Suppressed && len(v.Aggregates) == 0 || v.Suppressed && len(v.Path.Offers) > 0 {
		t.Errorf("VIP %s is suppressed, with aggregates %v and offers %v", v.Addr, v.Aggregates, v.Path.Offers)
	}
	for _, a := range v.Aggregates {
		if !a.Prefix.Contains(v.Addr) || a.Prefix.IsSingleIP() || a.Prefix != a.Prefix.Masked() {
			t.Errorf("VIP %s is told as part of %s", v.Addr, a.Prefix)
		}
	}
	for _, peer := range []string{"tor1", "tor2"} {
		told := 0
		for _, a := range v.Aggregates {
			if _, is := advertise.Merge(a.Prefix, []advertise.Aggregate{a}).For(peer); is {
				told++
			}
		}
		if told > 1 {
			t.Errorf("VIP %s is told to %s as part of several: %v", v.Addr, peer, v.Aggregates)
		}
	}
}

// checkBackend holds a backend to its entry in s.Backends and to the nodes.
func checkBackend(t *rapid.T, s desired.State, site desired.Site, svc maps.Service, be maps.Backend) {
	i := slices.IndexFunc(s.Backends, func(w desired.Backend) bool { return w.Service == svc.Name && w.Addr == be.Addr })
	if i < 0 {
		t.Fatalf("service %s: nothing says how packets reach %s", svc.Name, be.Addr)
	}
	w := s.Backends[i]
	listed := slices.ContainsFunc(s.Nodes, func(n desired.IngressNode) bool { return n.Name == be.Node && n.Tunnel == be.Tunnel })
	if w.Tunnel != be.Tunnel || (w.Mode == desired.ModeDSR) != be.Tunnel.IsValid() || be.Tunnel.IsValid() && !listed || w.Reason == "" || w.Detail == "" {
		t.Errorf("service %s: backend %+v, way %+v", svc.Name, be, w)
	}
	_, dead := site.Dead[be.Tunnel]
	if dead && !be.Draining || s.Dead[be.Tunnel] && !be.Draining || be.Weight == 0 {
		t.Errorf("service %s: backend %+v on a node that does not answer: %v", svc.Name, be, dead)
	}
	if be.Draining && !be.EligibleSince.IsZero() || !be.Draining && !be.LostAt.IsZero() {
		t.Errorf("service %s: backend %+v is eligible and lost", svc.Name, be)
	}
}
