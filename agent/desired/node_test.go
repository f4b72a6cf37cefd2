package desired_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/maps"
)

const ingressManifests = `
apiVersion: v1
kind: Node
metadata: {name: lb1, annotations: {penstock.dev/role: lb}}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}, {type: InternalIP, address: "2001:db8:1::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: in1, annotations: {penstock.dev/role: backend}}
status: {addresses: [{type: InternalIP, address: 10.1.0.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: plain}
status: {addresses: [{type: InternalIP, address: 10.1.0.3}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: x, labels: {kubernetes.io/service-name: of-no-service}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.2], nodeName: in1, conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.0.0.1], nodeName: in1}
- {addresses: [10.0.0.9], nodeName: plain}
- {addresses: [10.0.0.8]}
- {addresses: [10.0.0.3], targetRef: {kind: Pod, name: p}}
- {addresses: [127.0.0.1], nodeName: in1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b, namespace: x, labels: {kubernetes.io/service-name: other}}
addressType: IPv6
endpoints:
- {addresses: ["fd00::1"], nodeName: in1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: c, namespace: x, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], nodeName: in1}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: x}
spec: {nodeName: in1}
`

func TestForNode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(ingressManifests), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := manifests.Read(dir, slog.New(slog.DiscardHandler))
	if err != nil || len(s.Problems) > 0 {
		t.Fatal(err, s.Problems)
	}
	members := func(self string) []maps.Member {
		var out []maps.Member
		for _, m := range []struct{ node, addr string }{{"lb1", "10.1.0.1"}, {"in1", "10.1.0.2"}, {"lb1", "2001:db8:1::1"}} {
			out = append(out, maps.Member{Addr: netip.MustParseAddr(m.addr), Self: m.node == self, LB: m.node == "lb1", Backend: m.node == "in1"})
		}
		return out
	}
	addrs := func(texts ...string) (out []netip.Addr) {
		for _, text := range texts {
			out = append(out, netip.MustParseAddr(text))
		}
		return out
	}
	tests := []struct {
		node    string
		pods    []netip.Addr
		problem string
		lbs     int
	}{
		{"in1", addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"), "[]", 2},
		{"plain", addrs("10.0.0.9"), "[Node plain: metadata.annotations[penstock.dev/role]: the Node object of this node has not the role backend, so that LB nodes send it no tunnel packets; " +
			"give it an InternalIP and the annotation penstock.dev/role: backend]", 2},
		{"lb1", nil, "[Node lb1: metadata.annotations[penstock.dev/role]: the Node object of this node has not the role backend, so that LB nodes send it no tunnel packets; " +
			"give it an InternalIP and the annotation penstock.dev/role: backend]", 0},
		{"gone", nil, "[Node gone: metadata.annotations[penstock.dev/role]: this node has no Node object, so that LB nodes send it no tunnel packets; " +
			"give it an InternalIP and the annotation penstock.dev/role: backend]", 2},
	}
	for _, tt := range tests {
		got := desired.ForNode(s, desired.Site{Node: tt.node})
		want := desired.NodeState{Members: members(tt.node), Pods: tt.pods, Problems: got.Problems}
		if diff := cmp.Diff(want, got, compareStates); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.node, diff)
		}
		if problem := fmt.Sprint(got.Problems); problem != tt.problem || got.LBs() != tt.lbs {
			t.Errorf("%s: problems %s, %d LB addresses", tt.node, problem, got.LBs())
		}
	}
	alone := desired.ForNode(desired.Snapshot{}, desired.Site{Node: "in1"})
	if len(alone.Members) > 0 || alone.LBs() != 0 || len(alone.Problems) != 1 {
		t.Errorf("without objects: %+v", alone)
	}
}
