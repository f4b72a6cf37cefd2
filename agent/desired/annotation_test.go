package desired_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// Whatever stands in the annotation for source ranges, nobody is let in whom it does not
// name: a table is for everybody only where a range of all is among them.
func FuzzSourceRanges(f *testing.F) {
	for _, text := range []string{"", " ", "10.0.0.0/8", "0.0.0.0/0,10.0.0.0/8", " 10.0.0.0/8 , 2001:db8::/32", "::/0", "x", ",", "::ffff:0.0.0.0/96", "10.0.0.1/0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		svc, all := offered()
		svc.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] = text
		s := desired.From(desired.Snapshot{Services: []*corev1.Service{svc}, Slices: all}, desired.Site{Node: "lb1", Allocated: true}, now)
		everybody := map[bool]bool{} // by whether it is IPv4
		for word := range strings.SplitSeq(text, ",") {
			if p, err := netip.ParsePrefix(strings.TrimSpace(word)); err == nil && p.Bits() == 0 {
				everybody[p.Addr().Is4()] = true
			}
		}
		for _, table := range s.Services {
			is4 := table.Frontends[0].VIP.Is4()
			if !table.Restricted && strings.TrimSpace(text) != "" && !everybody[is4] {
				t.Errorf("%q opens %s to everybody", text, table.Name)
			}
			for _, p := range table.Sources {
				if p != p.Masked() || p.Addr().Is4() != is4 || p.Addr().Is4In6() {
					t.Errorf("%q limits %s to %s", text, table.Name, p)
				}
			}
		}
		if len(s.Services) == 0 && len(s.Reasons) == 0 {
			t.Errorf("%q: nothing is served, and no reason says why", text)
		}
	})
}

// Whatever an agent has published, it makes a role only if it can be read, and a problem
// else.
func FuzzPublished(f *testing.F) {
	for _, text := range []string{"", "{}", `{"tunnelPort": 6082, "ready": true}`, `{"tunnelPort": 70000}`, `{"addresses": ["10.1.0.9", "fe80::1%eth0"]}`, "null", "[]", `{"addresses": [""]}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "in1", Annotations: map[string]string{desired.BackendAnnotation: text}}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}
		s := desired.ForNode(desired.Snapshot{Nodes: []*corev1.Node{n}}, desired.Site{Node: "in1", TunnelPort: 6082})
		var p desired.Published
		readable := strings.HasPrefix(strings.TrimSpace(text), "{") && json.Unmarshal([]byte(text), &p) == nil
		if is := len(s.Members) > 0; is != readable || !is && len(s.Problems) == 0 {
			t.Errorf("%q makes %+v, problems %s", text, s.Members, s.Problems)
		}
		for _, m := range s.Members {
			if !m.Addr.IsValid() || m.Addr.Zone() != "" || m.Addr.Is4In6() {
				t.Errorf("%q makes a member of %s", text, m.Addr)
			}
		}
	})
}
