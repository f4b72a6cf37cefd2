package api

import (
	"errors"
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

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// clusterAgent is one that has a source of objects, and allocates.
type clusterAgent struct {
	*fakeAgent
	objects map[string]*Object
	wanted  map[string][]maps.Service
	routes  []bgp.Route
	pools   PoolsStatus
}

func (c clusterAgent) Object(service string) (*Object, bool) {
	o, ok := c.objects[service]
	return o, ok
}
func (c clusterAgent) Wanted(service string) []maps.Service { return c.wanted[service] }
func (c clusterAgent) Routes() []bgp.Route                  { return c.routes }
func (c clusterAgent) Pools() PoolsStatus                   { return c.pools }

// dual is an agent with one Service of both families, in force and announced.
func dual() clusterAgent {
	a := clusterAgent{fakeAgent: &fakeAgent{status: healthy()}, objects: map[string]*Object{}, wanted: map[string][]maps.Service{}}
	a.status.Node = "lb-1"
	a.pools = PoolsStatus{Leader: "lb-1", Self: true, Pools: []ipam.Usage{{Pool: "main", Family: "ipv4", Total: 4, Allocated: 1}}}
	held := []netip.Addr{four, six}
	a.objects["a/web"] = &Object{Service: "a/web", Type: "LoadBalancer", Held: held}
	for i, family := range []string{"ipv4", "ipv6"} {
		name := "a/web:http/tcp/" + family
		at := netip.AddrPortFrom(netip.MustParseAddr([]string{"10.0.0.1", "fd00::1"}[i]), 8080)
		front := []maps.Frontend{{VIP: held[i], Port: 80, Proto: maps.TCP}}
		a.services = append(a.services, maps.ServiceStatus{Name: name, Frontends: front, Rows: 4, Backends: []maps.BackendStatus{{Addr: at, Rows: 4, Mode: maps.NAT}}})
		a.wanted["a/web"] = append(a.wanted["a/web"], maps.Service{Name: name, Frontends: front, Backends: []maps.Backend{{Addr: at, Weight: 3}}})
		a.status.Services = append(a.status.Services, ServiceStatus{Name: name, Frontends: front, InKernel: true})
		prefix := netip.PrefixFrom(held[i], held[i].BitLen())
		a.status.VIPs = append(a.status.VIPs, VIPStatus{VIP: held[i], Prefix: prefix, Announced: true, Reason: desired.Announceable, Services: []string{name}})
		a.routes = append(a.routes, bgp.Route{Prefix: prefix, Since: time.Unix(100, 0), Peers: []bgp.RoutePeer{{Peer: "tor-1", NextHop: four}}})
	}
	return a
}

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*clusterAgent)
		force Force
	}{
		{"all", func(*clusterAgent) {}, InForce},
		{"a remark", func(a *clusterAgent) {
			a.status.Reasons = []desired.ServiceReason{{Service: "a/web", Reason: desired.ClientAddressHidden}}
		}, InForce},
		{"a port of a protocol that is not served", func(a *clusterAgent) {
			a.status.Reasons = []desired.ServiceReason{{Service: "a/web", Subject: "port sctp", Reason: desired.UnsupportedProtocol}}
		}, PartlyForce},
		{"an external address that is refused", func(a *clusterAgent) {
			a.status.Reasons = []desired.ServiceReason{{Service: "a/web", Subject: "203.0.113.1", Reason: desired.ExternalIPRefused}}
		}, PartlyForce},
		{"another Service's trouble", func(a *clusterAgent) {
			a.status.Reasons = []desired.ServiceReason{{Service: "a/webb", Reason: desired.NoAddress}}
		}, InForce},
		{"a table without backend", func(a *clusterAgent) { a.services[1].Rows = 0 }, PartlyForce},
		{"a VIP without router", func(a *clusterAgent) { a.status.VIPs[0].Announced = false }, PartlyForce},
		{"a table on its way", func(a *clusterAgent) { a.services = a.services[:1] }, PartlyForce},
		{"an address without a path", func(a *clusterAgent) { a.status.VIPs = a.status.VIPs[:1] }, PartlyForce},
		{"no router has any", func(a *clusterAgent) { a.status.VIPs[0].Announced, a.status.VIPs[1].Announced = false, false }, NotInForce},
		{"no table is usable", func(a *clusterAgent) { a.services[0].Rows, a.services[1].Rows = 0, 0 }, NotInForce},
		{"no address", func(a *clusterAgent) {
			*a = clusterAgent{fakeAgent: &fakeAgent{}, objects: map[string]*Object{"a/web": {Type: "LoadBalancer"}}}
		}, NotInForce},
		{"type", func(a *clusterAgent) {
			*a = clusterAgent{fakeAgent: &fakeAgent{}, objects: map[string]*Object{"a/web": {Type: "NodePort"}}}
		}, NotServed},
		{"class", func(a *clusterAgent) {
			*a = clusterAgent{fakeAgent: &fakeAgent{}}
			a.status.Reasons = []desired.ServiceReason{{Service: "a/web", Reason: desired.OtherClass}}
		}, NotServed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := dual()
			tt.spoil(&a)
			e, found, err := Explain(a, "a/web")
			if err != nil || !found || e.Force != tt.force {
				t.Errorf("%q, %v, %v, want %q", e.Force, found, err, tt.force)
			}
			for _, r := range e.Reasons {
				if r.Service != "a/web" {
					t.Errorf("reason of another Service: %+v", r)
				}
			}
		})
	}
}

func TestExplanationNamesRouters(t *testing.T) {
	e, _, err := Explain(dual(), "a/web")
	if err != nil || len(e.VIPs) != 2 {
		t.Fatalf("%+v, %v", e.VIPs, err)
	}
	for _, v := range e.VIPs {
		if !v.Since.Equal(time.Unix(100, 0)) || len(v.Peers) != 1 || v.Peers[0].Peer != "tor-1" {
			t.Errorf("%+v", v)
		}
	}
}

func TestExplanationOfAnAddressThatIsRefused(t *testing.T) {
	a := dual()
	a.status.VIPs = a.status.VIPs[1:]
	for subject, want := range map[string]desired.Reason{
		four.String(): desired.OutsideVIPs, four.String() + ":80/tcp": desired.OutsideVIPs, four.String() + "0": "", "port http/tcp/ipv4": "", "": "",
	} {
		a.status.Reasons = []desired.ServiceReason{{Service: "a/web", Subject: subject, Reason: desired.OutsideVIPs, Detail: "allowed are others"}}
		e, _, err := Explain(a, "a/web")
		if err != nil || len(e.VIPs) != 2 || e.VIPs[0].VIP != four || e.VIPs[0].Announced || e.VIPs[0].Reason != want {
			t.Errorf("%q: %+v, %v", subject, e.VIPs, err)
		}
	}
}

func TestExplanationOfATableOnItsWay(t *testing.T) {
	a := dual()
	a.services = a.services[:1]
	a.services[0].Restricted = true
	a.wanted["a/web"][1].Restricted, a.wanted["a/web"][1].Sources = true, []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	e, _, err := Explain(a, "a/web")
	if err != nil || len(e.Tables) != 2 {
		t.Fatalf("%+v, %v", e.Tables, err)
	}
	// What is in force counts, where something is.
	if in, coming := e.Tables[0], e.Tables[1]; !in.Restricted || len(in.Sources) != 0 || !coming.Restricted || len(coming.Sources) != 1 || coming.Backends[0].State != BackendPending {
		t.Errorf("%+v\n%+v", in, coming)
	}
}

func TestStatesOfBackends(t *testing.T) {
	at := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80) }
	a := dual()
	const name = "a/web:http/tcp/ipv4"
	a.services[0].Backends = []maps.BackendStatus{{Addr: at(1), Rows: 4}, {Addr: at(2)}, {Addr: at(3)}, {Addr: at(4), Rows: 1}}
	a.wanted["a/web"][0].Backends = []maps.Backend{
		{Addr: at(1), Weight: 1}, {Addr: at(2), Weight: 1, Draining: true}, {Addr: at(4), Weight: 1, Draining: true}, {Addr: at(5), Weight: 7, Tunnel: four}}
	a.status.Backends = []desired.Backend{
		{Service: name, Addr: at(5), Node: "n5", Mode: desired.ModeDSR, Reason: desired.Answering},
		{Service: name, Addr: at(6), Mode: desired.ModeNone, Reason: desired.NodeUnknown}}
	a.objects["a/web"].Endpoints = []Endpoint{{Addr: at(5).Addr(), Pod: "a/p5"}}
	e, _, err := Explain(a, "a/web")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]BackendState{}
	for _, b := range e.Tables[0].Backends {
		got[b.Addr.Addr().String()] = b.State
		if b.Addr == at(5) && (b.Weight != 7 || b.Node != "n5" || b.Endpoint == nil || b.Endpoint.Pod != "a/p5" || b.Mode != maps.DSR) {
			t.Errorf("a pending one: %+v", b)
		}
	}
	want := map[string]BackendState{
		"10.0.0.1": BackendReady, "10.0.0.2": BackendDraining, "10.0.0.3": BackendLeaving,
		"10.0.0.4": BackendDraining, "10.0.0.5": BackendPending, "10.0.0.6": BackendUnreached,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if len(a.services[0].Backends) != 4 {
		t.Error("what the tables said was written to")
	}
}

func TestBackendsOfNodesThatCountAsAlive(t *testing.T) {
	a := dual()
	end := netip.MustParseAddr("10.3.1.2")
	a.status.Backends = []desired.Backend{{Service: "a/web:http/tcp/ipv4", Addr: a.services[0].Backends[0].Addr, Node: "in1", Mode: desired.ModeDSR, Tunnel: end, Reason: desired.Answering}}
	for _, tt := range []struct {
		open  bool
		state probe.State
		want  desired.Reason
	}{{true, probe.Dead, FailOpen}, {true, probe.Alive, desired.Answering}, {false, probe.Dead, desired.Answering}} {
		n := IngressNode{}
		n.Addr, n.State, n.Reason = end, tt.state, "has not answered 85 probes"
		a.status.Tunnels = &TunnelStatus{Open: tt.open, Nodes: []IngressNode{n}}
		e, _, err := Explain(a, "a/web")
		if err != nil || e.Tables[0].Backends[0].Reason != tt.want {
			t.Errorf("%+v: %+v, %v", tt, e.Tables, err)
		}
	}
	if a.status.Backends[0].Reason != desired.Answering {
		t.Error("what the agent said was written to")
	}
}

func TestExplainOverTheSocket(t *testing.T) {
	a := dual()
	a.status.Reasons = []desired.ServiceReason{{Service: "b/other", Reason: desired.NoAddress}}
	socket, _ := serve(t, a)
	c, ctx := NewClient(socket), t.Context()
	want, _, err := Explain(a, "a/web")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Explain(ctx, "a", "web")
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()); err != nil || d != "" {
		t.Errorf("%v: want -, got +\n%s", err, d)
	}
	_, err = c.Explain(ctx, "a", "wbe")
	if missing, ok := errors.AsType[*NotFound](err); !ok || !slices.Equal(missing.Near, []string{"a/web"}) || missing.Service != "a/wbe" {
		t.Errorf("a near name: %v", err)
	}
	if _, err := c.Explain(ctx, "../../v1", "status"); err == nil {
		t.Error("a name led elsewhere")
	}
	if names, err := c.Names(ctx); err != nil || !slices.Equal(names, []string{"a/web", "b/other"}) {
		t.Errorf("names %v, %v", names, err)
	}
	if pools, err := c.Pools(ctx); err != nil || !pools.Self || len(pools.Pools) != 1 {
		t.Errorf("pools %+v, %v", pools, err)
	}
	plain, _ := serve(t, testAgent())
	a.pools = PoolsStatus{Leader: "lb-2"}
	follower, _ := serve(t, a)
	if pools, err := NewClient(follower).Pools(ctx); err != nil || pools.Pools == nil {
		t.Errorf("pools of another leader: %+v, %v", pools, err)
	}
	if pools, err := NewClient(plain).Pools(ctx); err != nil || pools.Error == "" || pools.Pools == nil {
		t.Errorf("pools of an agent that allocates none: %+v, %v", pools, err)
	}
	if e, err := NewClient(plain).Explain(ctx, "default", "web"); err != nil || e.Object != nil || len(e.Tables) != 2 {
		t.Errorf("an agent without objects: %+v, %v", e, err)
	}
}

// picker is an agent whose tables cannot be read as a whole.
type picker struct{ clusterAgent }

func (p picker) Services() ([]maps.ServiceStatus, error) { return nil, errors.New("all were read") }
func (p picker) ServicesOf(names ...string) (out []maps.ServiceStatus, err error) {
	for _, s := range Select(InKernel(p.services), names) {
		out = append(out, s.ServiceStatus)
	}
	return out, nil
}

func TestOnlyWhatIsNamedIsRead(t *testing.T) {
	socket, _ := serve(t, picker{dual()})
	c, ctx := NewClient(socket), t.Context()
	if e, err := c.Explain(ctx, "a", "web"); err != nil || e.Force != InForce || len(e.Tables) != 2 {
		t.Errorf("%+v, %v", e, err)
	}
	if s, err := c.Services(ctx, "a/web:http/tcp/ipv6"); err != nil || len(s) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if b, err := c.Backends(ctx, "a/web"); err != nil || len(b) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := c.Explain(ctx, "a", "wbe"); err == nil || !strings.Contains(err.Error(), "a/web") {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestNear(t *testing.T) {
	names := []string{"default/web", "default/web6", "shop/web", "shop/checkout", "x/y"}
	for service, want := range map[string][]string{
		"default/wbe":   {"default/web", "default/web6"},
		"prod/web":      {"default/web", "shop/web", "default/web6"},
		"shop/chekcout": {"shop/checkout"},
		"shop/check":    {"shop/checkout"},
		"z/nothing":     {},
		"":              {},
	} {
		if d := cmp.Diff(want, Near(service, names)); d != "" {
			t.Errorf("%q: want -, got +\n%s", service, d)
		}
	}
	if got := Near(strings.Repeat("b", 128), []string{strings.Repeat("b", 127)}); len(got) > 0 {
		t.Errorf("no name is as long as that: %q", got)
	}
}

func TestNewObject(t *testing.T) {
	class, policy, name, zone, no := "penstock.dev/xdp", corev1.IPFamilyPolicyPreferDualStack, "n1", "z1", false
	seconds := int32(600)
	at := metav1.NewTime(time.Unix(100, 0))
	b := desired.Bundle{
		Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u", CreationTimestamp: at, DeletionTimestamp: &at,
				Annotations: map[string]string{"penstock.dev/pool": "main", "penstock.dev/pol": "main", "penstock.dev/weight": "5", "penstock.dev/forwarding": "foo", "secret.example/token": "x", "service.beta.kubernetes.io/load-balancer-source-ranges": "::/0"}},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, IPFamilyPolicy: &policy, LoadBalancerIP: "192.0.2.1",
				IPFamilies: []corev1.IPFamily{"IPv6", "IPv4"}, ExternalIPs: []string{"192.0.2.2"}, LoadBalancerSourceRanges: []string{"10.0.0.0/8"},
				Ports:           []corev1.ServicePort{{Port: 80}, {Name: "dns", Port: 53, Protocol: "UDP"}},
				SessionAffinity: "ClientIP", SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}},
				ExternalTrafficPolicy: "Local"},
			Status: corev1.ServiceStatus{
				LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "x"}}},
				Conditions:   []metav1.Condition{{Type: "other"}, {Type: desired.AllocatedCondition, Status: "False", Reason: "NoPool", Message: "m", LastTransitionTime: at}}},
		},
		Slices: []*discoveryv1.EndpointSlice{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web-1"}, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.2"}, NodeName: &name, Zone: &zone, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"}},
			{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &no}},
			{Addresses: []string{"example.com"}}, {},
		}}},
	}
	want := &Object{
		Service: "a/web", UID: "u", Created: at.Time, Deleted: at.Time, Type: "LoadBalancer", Class: class, FamilyPolicy: "PreferDualStack",
		Families: []string{"IPv6", "IPv4"}, Ports: []string{"80/TCP", "dns 53/UDP"}, TrafficPolicy: "Local", Affinity: "ClientIP", AffinitySecond: 600,
		SourceRanges: []string{"10.0.0.0/8"}, ExternalIPs: []string{"192.0.2.2"}, Requested: "192.0.2.1", Held: []netip.Addr{four},
		Annotations: map[string]string{"penstock.dev/pool": "main", "service.beta.kubernetes.io/load-balancer-source-ranges": "::/0"},
		Ignored:     map[string]string{"penstock.dev/pol": "main", "penstock.dev/weight": "5", "penstock.dev/forwarding": "foo"},
		Condition:   &Condition{"False", "NoPool", "m", at.Time},
		Endpoints: []Endpoint{
			{Addr: netip.MustParseAddr("10.0.0.1"), Slice: "web-1"},
			{Addr: netip.MustParseAddr("10.0.0.2"), Slice: "web-1", Pod: "a/p", Node: "n1", Zone: "z1", Ready: true, Serving: true},
		},
	}
	if d := cmp.Diff(want, NewObject(b), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if o := NewObject(desired.Bundle{}); o != nil {
		t.Errorf("an object of nothing: %+v", o)
	}
}

func TestNodes(t *testing.T) {
	node := func(name string, annotations map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	}
	got := Nodes([]*corev1.Node{
		node("plain", nil),
		node("two", map[string]string{desired.LBAnnotation: `{"version":"v2","tunnelPort":6082,"ready":true}`, desired.BackendAnnotation: "{"}),
		node("hand", map[string]string{desired.RoleAnnotation: "lb, backend"}),
	})
	cordoned := node("c", map[string]string{desired.RoleAnnotation: "lb, backend"})
	cordoned.Spec.Unschedulable = true
	if c := Nodes([]*corev1.Node{cordoned}); c[0].Drained != "" || c[1].Drained != "it is cordoned" {
		t.Errorf("a cordoned one: %+v", c)
	}
	for i, want := range []struct {
		name, role         string
		published, problem bool
	}{{"hand", "backend", false, false}, {"hand", "lb", false, false}, {"two", "backend", false, true}, {"two", "lb", true, false}} {
		n := got[i]
		if n.Name != want.name || n.Role != want.role || (n.Published != nil) != want.published || (n.Problem != "") != want.problem {
			t.Errorf("%d: %+v, want %+v", i, n, want)
		}
	}
	if len(got) != 4 || got[3].Published.TunnelPort != 6082 {
		t.Errorf("%+v", got)
	}
}
