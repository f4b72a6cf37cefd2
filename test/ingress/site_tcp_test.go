package ingress

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
)

var siteVIPs = []netip.AddrPort{addr("198.51.100.1:80"), addr("[2001:db8:f::1]:80")}

// TestConnections opens connections and moves data in every mode, to pods and to one
// in the node's network, through tunnels of both families.
func TestConnections(t *testing.T) {
	for _, test := range []struct {
		mode            bpf.NodeMode
		foreign         bool
		ingress, egress bpf.Hook
	}{
		{bpf.NodeNative, false, bpf.HookXDPNative, bpf.HookTCX},
		{bpf.NodeGeneric, false, bpf.HookXDPGeneric, bpf.HookTCX},
		{bpf.NodeAuto, true, bpf.HookTCX, bpf.HookTCX},
		{bpf.NodeClsact, false, bpf.HookClsact, bpf.HookClsact},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			opts := siteOptions{mode: test.mode, link: fixture.LinkOptions{NoOffload: true, XDPPassB: test.foreign}}
			s := newSite(t, opts)
			if s.attachment.Ingress != test.ingress || s.attachment.Egress != test.egress {
				t.Fatalf("attached as %+v", s.attachment)
			}
			s.know(true)
			s.servers()
			for inner, vip := range siteVIPs {
				for outer := range 2 {
					for name, pod := range map[string]netip.AddrPort{"pod": podAddr(0, inner), "other pod": podAddr(1, inner), "host": hostPod(inner)} {
						t.Run(fmt.Sprintf("%s/v%d in v%d", name, 4+2*inner, 4+2*outer), func(t *testing.T) {
							s.lb.owners(vip.Addr(), outer, pod)
							s.connect(t, vip)
						})
					}
				}
			}
		})
	}
}

// connect makes one connection and moves data both ways.
func (s *site) connect(t *testing.T, vip netip.AddrPort) {
	t.Helper()
	c, seen, err := s.dial(vip, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if local := c.LocalAddr().String(); seen.String() != local {
		t.Errorf("the server takes %s for %s", local, seen)
	}
	if err := exchange(c, 300_000); err != nil {
		t.Fatal(err)
	}
}
