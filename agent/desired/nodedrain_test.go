package desired_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// A model that is told only of Nodes follows them: cordoned and not, in one zone or two.
func TestModelFollowsNodes(t *testing.T) {
	svc, all := offered()
	for _, slice := range all {
		for i, zone := range []string{"a", "b"} {
			slice.Endpoints[i].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		}
	}
	node := func(name, zone string, change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}, Annotations: map[string]string{desired.RoleAnnotation: "lb"},
		}}
		change(n)
		return n
	}
	plain := func(*corev1.Node) {}
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	steps := []struct {
		name     string
		nodes    []*corev1.Node
		drains   bool
		eligible int // of both families
	}{
		{"two zones", []*corev1.Node{node("lb1", "a", plain), node("lb2", "b", plain)}, false, 4},
		{"one zone", []*corev1.Node{node("lb1", "b", plain), node("lb2", "b", plain)}, false, 2},
		{"cordoned", []*corev1.Node{node("lb1", "b", cordoned), node("lb2", "b", plain)}, true, 2},
		{"both cordoned", []*corev1.Node{node("lb1", "b", cordoned), node("lb2", "b", cordoned)}, false, 2},
		{"uncordoned", []*corev1.Node{node("lb1", "b", plain), node("lb2", "b", cordoned)}, false, 2},
		{"a zone without endpoints", []*corev1.Node{node("lb1", "c", plain), node("lb2", "c", plain)}, false, 4},
	}
	m, site := desired.NewModel(), desired.Site{Node: "lb1", Allocated: true}
	snapshot := desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}
	m.Apply(desired.Whole(snapshot), site, now)
	for _, step := range steps {
		change := m.Apply(desired.Delta{Nodes: step.nodes, NodesChanged: true}, site, now)
		s := m.State()
		snapshot.Nodes = step.nodes
		if diff := cmp.Diff(desired.From(snapshot, site, now), s, compareStates); diff != "" {
			t.Errorf("%s (-told of all +told of nodes):\n%s", step.name, diff)
		}
		eligible := 0
		for _, svc := range s.Services {
			for _, be := range svc.Backends {
				if be.Eligible() {
					eligible++
				}
			}
		}
		// What the drain does to VIPs comes in stages, which nothing here knows of.
		plain := s.VIPs[0].Reason == desired.Announceable && s.VIPs[1].Reason == desired.Announceable
		if (s.Drain != "") != step.drains || !plain || eligible != step.eligible || !change.Fabric {
			t.Errorf("%s: drains %q, VIPs %+v, %d eligible backends, change %+v", step.name, s.Drain, s.VIPs, eligible, change)
		}
		if step.drains && len(change.VIPs) > 0 {
			t.Errorf("%s: the change names %d VIPs", step.name, len(change.VIPs))
		}
	}
}

// An LB node that drains takes its traffic back when the one that took over falls silent, of
// which no object tells.
func TestDrainEndsWhenNobodyIsLeft(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"192.0.2.1", "2001:db8::1"}, Ports: []corev1.ServicePort{{Port: 80}}}
	other, err := json.Marshal(desired.Published{Version: "1", Ready: true, Alive: now})
	if err != nil {
		t.Fatal(err)
	}
	node := func(name, address, annotation, text string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotation: text}}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		return n
	}
	lb1 := node("lb1", "10.1.0.1", desired.RoleAnnotation, "lb")
	lb1.Spec.Unschedulable = true
	s := desired.Snapshot{Services: []*corev1.Service{svc}, Nodes: []*corev1.Node{lb1, node("lb2", "10.1.0.2", desired.LBAnnotation, string(other))}}
	site := desired.Site{Node: "lb1", DefaultClass: true}
	m := desired.NewModel()
	m.Apply(desired.Whole(s), site, now)
	for _, step := range []struct {
		after  time.Duration
		drains bool
	}{{0, true}, {time.Minute, true}, {3 * time.Minute, false}} {
		m.Apply(desired.Delta{}, site, now.Add(step.after))
		if why := m.Fabric().Drain; (why != "") != step.drains {
			t.Errorf("after %s: drains %q", step.after, why)
		}
		fit, whyNot := m.Successor(now.Add(step.after))
		if (fit == "lb2") != step.drains || step.drains == strings.Contains(whyNot, "lb2: its agent has not been heard of since") {
			t.Errorf("after %s: successor %q, %s", step.after, fit, whyNot)
		}
	}
	if p := m.Fabric().Problems; len(p) == 0 || !strings.Contains(p[0].Message, "lb2: its agent has not been heard of since") {
		t.Errorf("problems %v", p)
	}
}

// While the API server is away nobody's sign of life comes, and a node that drains goes on to
// drain. Once its own comes again, and another's does not, that one has fallen silent.
func TestDrainOutlastsTheAPIServer(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"192.0.2.1", "2001:db8::1"}, Ports: []corev1.ServicePort{{Port: 80}}}
	nodes := func(own, other time.Duration) (out []*corev1.Node) {
		for name, alive := range map[string]time.Duration{"lb1": own, "lb2": other} {
			text, err := json.Marshal(desired.Published{Version: "1", Ready: true, Alive: now.Add(alive)})
			if err != nil {
				t.Fatal(err)
			}
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{desired.LBAnnotation: string(text)}}}
			n.Spec.Unschedulable = name == "lb1"
			out = append(out, n)
		}
		return out
	}
	site := desired.Site{Node: "lb1", DefaultClass: true}
	m := desired.NewModel()
	m.Apply(desired.Whole(desired.Snapshot{Services: []*corev1.Service{svc}, Nodes: nodes(0, 0)}), site, now)
	for _, step := range []struct {
		name  string
		delta desired.Delta
		after time.Duration
		want  bool // whether it drains
	}{
		{"both are alive", desired.Delta{}, time.Minute, true},
		{"the API server is away", desired.Delta{}, 3 * time.Hour, true},
		{"both are back", desired.Delta{NodesChanged: true, Nodes: nodes(3*time.Hour, 3*time.Hour)}, 3 * time.Hour, true},
		{"one is silent", desired.Delta{NodesChanged: true, Nodes: nodes(4*time.Hour, 3*time.Hour)}, 4 * time.Hour, false},
	} {
		m.Apply(step.delta, site, now.Add(step.after))
		if why := m.Fabric().Drain; (why != "") != step.want {
			t.Errorf("%s: drains %q", step.name, why)
		}
	}
}
