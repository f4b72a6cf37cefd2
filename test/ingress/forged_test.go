package ingress

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet"
)

// TestForgedReset has somebody who sees nothing of a connection reset it. The pod takes
// no such RST (RFC 5961), and the flow is no nearer to its end: a minute later the
// pod's next packet would leave with the pod's own address. A true RST ends it.
func TestForgedReset(t *testing.T) {
	s := newSite(t, siteOptions{mode: bpf.NodeNative, link: fixture.LinkOptions{NoOffload: true}})
	s.know(true)
	s.servers()
	everyFamily(t, func(t *testing.T, inner, outer int) {
		vip, pod := siteVIPs[inner], podAddr(0, inner)
		s.lb.owners(vip.Addr(), outer, pod)
		c := s.mustDial(t, vip, 0)
		s.mustExchange(t, c, 5000)
		client := netip.MustParseAddrPort(c.LocalAddr().String())
		delivered := counters(t, s.node)["deliver"].Packets
		s.lb.send(tcp(client, vip, packet.RST, 1, 0).IP(), 0)
		fixture.Wait(t, 5*time.Second, "the RST to be delivered", func() error {
			if counters(t, s.node)["deliver"].Packets == delivered {
				return errors.New(s.verdicts())
			}
			return nil
		})
		if !s.settled(client, pod) {
			t.Error("the flow was taken for one that ends")
		}
		s.mustExchange(t, c, 5000)
		_ = c.SetLinger(0)
		c.Close()
		fixture.Wait(t, 5*time.Second, "the flow to end", func() error {
			if s.settled(client, pod) {
				return errors.New("it is still settled")
			}
			return nil
		})
	})
}

// settled says whether the flow is where nothing is evicted.
func (s *site) settled(client, pod netip.AddrPort) bool {
	var f bpf.NodeFlow
	err := s.node.Map("node_flows").Lookup(tuple(client, pod, 6), &f)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		s.t.Fatal(err)
	}
	return err == nil
}
