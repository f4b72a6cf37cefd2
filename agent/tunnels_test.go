package agent

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

var (
	lb1, ing1, ing2 = netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.3.1.2"), netip.MustParseAddr("10.3.2.2")
	pod1            = netip.MustParseAddr("10.1.0.1")
)

// tunneled is objects with the endpoint on the ingress node ing-1, of several.
func tunneled(nodes ...netip.Addr) desired.Snapshot {
	s := objects("web", "192.0.2.1", true)
	name := "ing-1"
	s.Slices[0].Endpoints[0].NodeName = &name
	s.Nodes = []*corev1.Node{nodeObject("lb-1", "lb", lb1)}
	for i, a := range nodes {
		s.Nodes = append(s.Nodes, nodeObject("ing-"+string(rune('1'+i)), "backend", a))
	}
	return s
}

func nodeObject(name, role string, addr netip.Addr) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{desired.RoleAnnotation: role}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr.String()}}},
	}
}

// lastWant is what the tables were given last, and how often they were.
func (l *lab) lastWant() (maps.Want, int) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wants[len(l.wants)-1], len(l.wants)
}

// tunnel is the only backend's.
func (l *lab) tunnel() netip.Addr {
	want, _ := l.lastWant()
	return want.Services[0].Backends[0].Tunnel
}

// answer makes nodes answer from now on, or, with a time, not any more since then.
func (l *lab) answer(since time.Time, nodes ...netip.Addr) {
	l.mu.Lock()
	if l.answers == nil {
		l.answers = map[netip.Addr]time.Time{}
	}
	for _, n := range nodes {
		l.answers[n] = since
	}
	l.mu.Unlock()
}

func TestIngressNodesAreAskedFirst(t *testing.T) {
	run(t, "and answer", func(t *testing.T, l *lab) {
		l.snapshot = tunneled(ing1)
		l.own[lb1] = "eth0"
		l.answer(time.Time{}, ing1)
		l.start()
		want, n := l.lastWant()
		if n != 1 || l.tunnel() != ing1 {
			t.Fatalf("%d times written, at last with tunnel %s", n, l.tunnel())
		}
		members := []maps.Member{{Addr: lb1, Self: true, LB: true}, {Addr: ing1, Backend: true}}
		if d := cmp.Diff(members, want.Members, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("members: want -, got +\n%s", d)
		}
		if hop := want.NextHops[ing1]; hop.Source != lb1 || hop.Ifindex == 0 {
			t.Errorf("the way to the ingress node is %+v", hop)
		}
		if _, known := want.NextHops[pod1]; !known {
			t.Error("no way to the pod itself, which flows from before may need")
		}
		if asked := l.asked[ing1]; asked.Name != "ing-1" || asked.Source != lb1 {
			t.Errorf("asked %+v", asked)
		}
		if s := l.agent.Status(); s.Role != "lb" || len(s.Tunnels.Nodes) != 1 || s.Backends[0].Mode != desired.ModeDSR {
			t.Errorf("tunnels %+v, backends %+v", s.Tunnels, s.Backends)
		}
		l.stop()
	})
	run(t, "and do not, for now", func(t *testing.T, l *lab) {
		l.snapshot = tunneled(ing1)
		l.start()
		if len(l.announced()) > 0 {
			t.Error("announced before the node had time to answer")
		}
		time.Sleep(verdictsIn)
		if l.tunnel().IsValid() {
			t.Error("a node that never answered has a tunnel")
		}
		l.answer(time.Time{}, ing1)
		l.nodesChanged <- struct{}{}
		if l.tunnel() != ing1 {
			t.Error("it answers, and has no tunnel")
		}
		l.stop()
	})
	run(t, "another one comes", func(t *testing.T, l *lab) {
		l.snapshot = tunneled(ing1)
		l.answer(time.Time{}, ing1, ing2)
		l.start()
		_, before := l.lastWant()
		next := tunneled(ing1, ing2)
		name := "ing-2"
		next.Slices[0].Endpoints[0].NodeName = &name
		l.change(next)
		_, after := l.lastWant()
		if after != before+2 {
			t.Fatalf("written %d times, want twice", after-before)
		}
		first := l.wants[before]
		if len(first.Members) != 3 || !first.Partial || len(first.Services) > 0 {
			t.Errorf("first the members alone: %+v, services %+v", first.Members, first.Services)
		}
		if l.tunnel() != ing2 {
			t.Errorf("then the tunnel %s", l.tunnel())
		}
		l.stop()
	})
}

func TestIngressNodesThatWereUsed(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		l.snapshot = tunneled(ing1, ing2)
		l.used = map[netip.Addr]bool{ing2: true}
		l.answer(time.Time{}, ing1)
		l.start()
		if l.asked[ing1].Used || !l.asked[ing2].Used {
			t.Errorf("asked %+v", l.asked)
		}
		l.stop()
	})
}

func TestDeadIngressNode(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		l.snapshot = tunneled(ing1, ing2)
		ready, name := true, "ing-2"
		second := l.snapshot.Slices[0].Endpoints[0]
		second.Addresses, second.NodeName, second.Conditions.Ready = []string{"10.1.0.2"}, &name, &ready
		l.snapshot.Slices[0].Endpoints = append(l.snapshot.Slices[0].Endpoints, second)
		l.answer(time.Time{}, ing1, ing2)
		l.start()
		l.answer(time.Now(), ing1)
		l.nodesChanged <- struct{}{}
		want, _ := l.lastWant()
		if b := want.Services[0].Backends; !want.Dead[ing1] || !b[0].Draining || b[0].Tunnel != ing1 || b[1].Draining {
			t.Errorf("dead %v, backends %+v", want.Dead, b)
		}
		l.answer(time.Time{}, ing1)
		l.nodesChanged <- struct{}{}
		if want, _ := l.lastWant(); want.Dead[ing1] || want.Services[0].Backends[0].Draining {
			t.Errorf("it answers again: dead %v", want.Dead)
		}
		l.stop()
	})
}

// TestRepliesOfTunnelsAreNotSeen has the backend behind a device without a program, which
// is nothing to a backend that answers by itself.
func TestRepliesOfTunnelsAreNotSeen(t *testing.T) {
	for name, tt := range map[string]struct {
		answers   bool
		announced int
	}{"tunnel": {true, 1}, "translated": {false, 0}} {
		run(t, name, func(t *testing.T, l *lab) {
			l.snapshot = tunneled(ing1)
			l.ifindex["eth9"] = 9
			l.hops = map[netip.Addr]maps.NextHop{pod1: {Ifindex: 9}, ing1: {Ifindex: 9}}
			l.answer(time.Time{})
			if tt.answers {
				l.answer(time.Time{}, ing1)
			}
			l.start()
			if got := l.announced(); len(got) != tt.announced {
				t.Errorf("announced %v", got)
			}
			if s := l.agent.Status(); len(s.Datapath.Bypassed) > 0 == tt.answers {
				t.Errorf("bypassed %+v", s.Datapath.Bypassed)
			}
			l.stop()
		})
	}
}

func TestTimeAloneMakesAPass(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		l.nextChange = time.Now().Add(7 * time.Second)
		l.start()
		_, before := l.lastWant()
		time.Sleep(6 * time.Second)
		if _, n := l.lastWant(); n != before {
			t.Errorf("written %d times before the time", n-before)
		}
		l.mu.Lock()
		l.nextChange = time.Time{}
		l.mu.Unlock()
		time.Sleep(2 * time.Second)
		if _, n := l.lastWant(); n != before+1 {
			t.Errorf("written %d times after it", n-before)
		}
		l.stop()
	})
}

func TestPathMTU(t *testing.T) {
	for _, tt := range []struct {
		mtu  uint16
		want string
	}{
		{0, ""},
		{9000, ""},
		{1560, ""},
		{1559, "clients' of more than 1511 (IPv4) or 1499 (IPv6)"},
		{1500, "the path to ing-1 carries packets of 1500 bytes: clients' of more than 1452 (IPv4) or 1440 (IPv6)"},
	} {
		run(t, "", func(t *testing.T, l *lab) {
			l.snapshot = tunneled(ing1)
			l.answer(time.Time{}, ing1)
			l.hops = map[netip.Addr]maps.NextHop{ing1: {Ifindex: 2, MTU: tt.mtu}}
			l.start()
			text := ""
			for _, w := range l.agent.Status().Warnings {
				if strings.Contains(w, "the path to") {
					text += w
				}
			}
			if !strings.Contains(text, tt.want) || tt.want == "" && text != "" {
				t.Errorf("MTU %d: warned %q, want %q", tt.mtu, text, tt.want)
			}
			l.stop()
		})
	}
}
