package history_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/history"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

const rows = 128 // for so few pods that the table never grows

var (
	begin   = time.Date(2026, 11, 23, 12, 0, 0, 400e6, time.UTC)
	chains  = chain.Options{Retention: 24 * time.Hour, Slack: 5 * time.Second, ExtraRanks: 3, Longest: 32}
	ingress = netip.MustParseAddr("10.1.0.2")
)

// site has pods that come, go and lose readiness, on an ingress node that falls
// silent at times, and on LB nodes themselves.
type site struct {
	r      *rand.Rand
	now    time.Time
	pods   []*pod
	born   int
	silent time.Time // since when the ingress node has been; zero: it answers
	told   bool      // there are Pod objects
	plain  bool      // all that happens is what they tell
}

type pod struct {
	name       string
	addr       netip.Addr
	node       string
	weight     int
	start      time.Time
	ready      bool
	changed    time.Time // since when it has been that
	deleted    time.Time
	labelled   bool // it is an endpoint
	endOfGrace time.Time
}

func (s *site) step() {
	s.now = s.now.Add(time.Duration(300+s.r.IntN(1500)) * time.Millisecond)
	if len(s.pods) < 4 || s.r.IntN(6) == 0 && len(s.pods) < 14 {
		s.born++
		s.pods = append(s.pods, &pod{
			name: fmt.Sprint("web-", s.born), addr: netip.AddrFrom4([4]byte{10, 0, byte(s.born >> 8), byte(s.born)}),
			node: []string{"in1", "in2"}[s.r.IntN(2)], weight: 1, start: s.now, changed: s.now, labelled: s.plain || s.r.IntN(3) > 0,
		})
	}
	for _, p := range s.pods {
		switch {
		case !p.deleted.IsZero():
		case !p.ready && s.r.IntN(3) == 0, p.ready && s.r.IntN(40) == 0:
			p.ready, p.changed = !p.ready, s.now
		case s.r.IntN(60) == 0 && !s.plain:
			p.weight = 1 + s.r.IntN(3)
		case s.r.IntN(40) == 0 && len(s.pods) > 4:
			p.deleted, p.endOfGrace = s.now, s.now.Add(20*time.Second)
		case s.r.IntN(40) == 0:
			p.labelled = true
		}
	}
	s.pods = slices.DeleteFunc(s.pods, func(p *pod) bool { return !p.deleted.IsZero() && s.now.After(p.endOfGrace) })
	switch {
	case s.silent.IsZero() && s.r.IntN(30) == 0 && !s.plain:
		s.silent = s.now
	case !s.silent.IsZero() && s.r.IntN(4) == 0:
		s.silent = time.Time{}
	}
}

// seconds is a time as the API has it.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// snapshot has all that the API would say.
func (s *site) snapshot() desired.Snapshot {
	node := func(name, role, addr string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{desired.RoleAnnotation: role}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr}}},
		}
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"192.0.2.1"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: new(int32(8080))}},
	}
	out := desired.Snapshot{
		Services: []*corev1.Service{svc}, Slices: []*discoveryv1.EndpointSlice{slice},
		Nodes: []*corev1.Node{node("lb1", "lb", "10.1.0.1"), node("in1", "backend", ingress.String()), node("in2", "backend", "10.1.0.3")},
	}
	for _, p := range s.pods {
		if p.labelled {
			slice.Endpoints = append(slice.Endpoints, p.endpoint())
		}
		if object := p.object(); s.told {
			out.Pods = append(out.Pods, object)
		}
	}
	if !s.told {
		slice.Annotations = map[string]string{desired.WeightAnnotation: fmt.Sprint(1 + s.born%2)}
	}
	return out
}

func (p *pod) endpoint() discoveryv1.Endpoint {
	ending := !p.deleted.IsZero()
	return discoveryv1.Endpoint{
		Addresses: []string{p.addr.String()}, NodeName: &p.node,
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: p.name},
		Conditions: discoveryv1.EndpointConditions{Ready: new(p.ready && !ending), Serving: &p.ready, Terminating: &ending},
	}
}

func (p *pod) object() *corev1.Pod {
	status := corev1.ConditionFalse
	if p.ready {
		status = corev1.ConditionTrue
	}
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: p.name, CreationTimestamp: seconds(p.start),
			Annotations: map[string]string{desired.WeightAnnotation: fmt.Sprint(p.weight)},
		},
		Status: corev1.PodStatus{
			PodIPs:            []corev1.PodIP{{IP: p.addr.String()}},
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: seconds(p.changed)}},
			ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: seconds(p.start)}}}},
		},
	}
	if !p.deleted.IsZero() {
		out.DeletionTimestamp, out.DeletionGracePeriodSeconds = new(seconds(p.endOfGrace)), new(int64(20))
	}
	return out
}

// lb is an LB node's way from objects to chains.
type lb struct {
	h     *history.History
	table *chain.Table
}

func newLB(file string) *lb {
	return &lb{
		h:     history.Open(file, history.Options{Retention: chains.Retention, Rows: rows * 16}, slog.New(slog.DiscardHandler)),
		table: chain.New([16]byte{1}, rows, chains),
	}
}

func (n *lb) look(s *site) {
	at := desired.Site{Node: "lb1", DefaultClass: true, Sticky: n.h.Tunnels(), Answering: map[netip.Addr]bool{netip.MustParseAddr("10.1.0.3"): true}}
	if s.silent.IsZero() {
		at.Answering[ingress] = true
	} else {
		at.Dead = map[netip.Addr]time.Time{ingress: s.silent}
	}
	services := n.h.Observe(s.now, desired.From(s.snapshot(), at, s.now).Services)
	n.table.Set(s.now, endpoints(services[0]))
}

// endpoints are what the tables make of a service's backends.
func endpoints(s maps.Service) []chain.Endpoint {
	var out []chain.Endpoint
	for _, b := range s.Backends {
		e := chain.Endpoint{ID: b.Addr, Weight: b.Weight, BornAt: b.BornAt, LostAt: b.LostAt, Former: b.Former}
		if b.Eligible() {
			e.EligibleSince = b.EligibleSince
		}
		out = append(out, e)
	}
	return out
}

// From what objects say, and from what is seen where they say nothing, come chains
// that hold all flows: on a node that has seen everything, on one that is restarted
// now and then and, where nothing happens that the objects do not tell of, on one
// that has just begun.
func TestFlowsAreInTheirChains(t *testing.T) {
	for name, kind := range map[string]site{"nothing told": {}, "pods told": {told: true}, "all told": {told: true, plain: true}} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				s := kind
				s.r, s.now = rand.New(rand.NewPCG(seed, 0)), begin
				testFlows(t, &s)
			})
		}
	}
}

func testFlows(t *testing.T, s *site) {
	type flow struct {
		row uint32
		pod netip.AddrPort
	}
	file := filepath.Join(t.TempDir(), "history.json")
	old, again := newLB(""), newLB(file)
	var flows []flow
	displaced := 0
	for range 250 {
		s.step()
		if err := again.h.Save(); err != nil {
			t.Fatal(err)
		}
		if s.r.IntN(20) == 0 {
			again = newLB(file)
		}
		nodes := map[string]*lb{"old": old, "restarted": again}
		if s.plain {
			nodes["new"] = newLB("")
		}
		for _, n := range nodes {
			n.look(s)
		}
		alive := map[netip.AddrPort]bool{}
		for _, p := range s.pods {
			alive[netip.AddrPortFrom(p.addr, 8080)] = true
		}
		flows = slices.DeleteFunc(flows, func(f flow) bool { return !alive[f.pod] })
		for _, f := range flows {
			for name, n := range nodes {
				owners := n.table.AppendChain(nil, f.row)
				if len(owners) > 0 && owners[0] != f.pod {
					displaced++
				}
				if !slices.Contains(owners, f.pod) {
					t.Fatalf("%s: the %s node looks for the flows of row %d of %s on %v", s.now, name, f.row, f.pod, owners)
				}
			}
		}
		for range 8 {
			row := s.r.Uint32N(rows)
			if owner, ok := old.table.Primary(row); ok {
				flows = append(flows, flow{row, owner})
			}
		}
	}
	if displaced < 500 {
		t.Errorf("only %d packets of displaced flows", displaced)
	}
}
