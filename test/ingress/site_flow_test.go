package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/packet"
)

// everyFamily runs a test for both families of the packet and of the tunnel.
func everyFamily(t *testing.T, test func(t *testing.T, inner, outer int)) {
	for inner := range 2 {
		for outer := range 2 {
			t.Run(fmt.Sprintf("v%d in v%d", 4+2*inner, 4+2*outer), func(t *testing.T) { test(t, inner, outer) })
		}
	}
}

func (s *site) mustDial(t *testing.T, vip netip.AddrPort, local uint16) *net.TCPConn {
	t.Helper()
	c, _, err := s.dial(vip, local)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) mustExchange(t *testing.T, c net.Conn, n int) {
	t.Helper()
	if err := exchange(c, n); err != nil {
		t.Fatalf("%v; verdicts:\n%s", err, s.verdicts())
	}
}

// verdicts lists the counters that are not 0.
func (s *site) verdicts() string {
	var b bytes.Buffer
	for name, c := range counters(s.t, s.node) {
		if c.Packets > 0 {
			fmt.Fprintf(&b, "%s %d\n", name, c.Packets)
		}
	}
	return b.String()
}

// clear empties the tables of flows, as an agent does that starts with new ones.
func (s *site) clear() {
	r := rig{t: s.t, node: s.node}
	for _, name := range []string{"node_flows", "young_flows", "collisions"} {
		r.empty(name)
	}
}

// TestDisplaced moves the VIP's row to another pod: connections go on where they are,
// and new ones go there.
func TestDisplaced(t *testing.T) {
	s := newSite(t, siteOptions{mode: bpf.NodeNative, link: fixture.LinkOptions{NoOffload: true}})
	s.know(true)
	s.servers()
	everyFamily(t, func(t *testing.T, inner, outer int) {
		vip := siteVIPs[inner]
		old, new := podAddr(0, inner), podAddr(1, inner)
		s.lb.owners(vip.Addr(), outer, old)
		c := s.mustDial(t, vip, 0)
		before := s.lb.bounced()
		s.mustExchange(t, c, 1000)
		if s.lb.bounced() != before {
			t.Error("packets of a flow that is where it belongs came back")
		}
		s.lb.owners(vip.Addr(), outer, new, old)
		s.mustExchange(t, c, 100_000)
		if s.lb.bounced() == before {
			t.Error("no packet came back from the pod that has not the connection")
		}
		s.mustExchange(t, s.mustDial(t, vip, 0), 1000)
	})
}

// TestWitness loses the tables of flows in the middle of connections.
func TestWitness(t *testing.T) {
	for _, mode := range []bpf.NodeMode{bpf.NodeNative, bpf.NodeTC} {
		s := newSite(t, siteOptions{mode: mode, link: fixture.LinkOptions{NoOffload: true}})
		s.servers()
		everyFamily(t, func(t *testing.T, inner, outer int) {
			vip := siteVIPs[inner]
			for _, pod := range []netip.AddrPort{podAddr(0, inner), hostPod(inner)} {
				vip = netip.AddrPortFrom(vip.Addr().Next(), 80) // late ACKs of others must not come here
				s.know(true)
				s.lb.owners(vip.Addr(), outer, pod)
				c := s.mustDial(t, vip, 0)
				before, witnessed := s.lb.bounced(), events(t, s.node, bpf.EventWitness)
				s.clear()
				s.mustExchange(t, c, 50_000)
				if n := s.lb.bounced() - before; n != 0 {
					t.Errorf("%s: %d packets came back although the pod has the connection", pod, n)
				}
				if events(t, s.node, bpf.EventWitness) == witnessed {
					t.Errorf("%s: no socket was asked", pod)
				}
			}
			// Where the sockets can't be asked, the packet makes its round, and is taken.
			s.know(false)
			vip = netip.AddrPortFrom(vip.Addr().Next(), 80)
			s.lb.owners(vip.Addr(), outer, podAddr(0, inner))
			c := s.mustDial(t, vip, 0)
			before := s.lb.bounced()
			s.clear()
			s.mustExchange(t, c, 50_000)
			if s.lb.bounced() == before {
				t.Error("nothing came back although nobody knew the flow")
			}
		})
	}
}

// TestTwoVIPs opens connections from one client port through two VIPs to one pod.
func TestTwoVIPs(t *testing.T) {
	s := newSite(t, siteOptions{mode: bpf.NodeNative, link: fixture.LinkOptions{NoOffload: true}})
	s.know(true)
	s.servers()
	everyFamily(t, func(t *testing.T, inner, outer int) {
		first := siteVIPs[inner]
		second := netip.AddrPortFrom(first.Addr().Next(), 80)
		for _, vip := range []netip.AddrPort{first, second} {
			s.lb.owners(vip.Addr(), outer, podAddr(0, inner))
		}
		local := uint16(30000 + 10*inner + outer)
		one, two := s.mustDial(t, first, local), s.mustDial(t, second, local)
		for range 3 {
			s.mustExchange(t, one, 20_000)
			s.mustExchange(t, two, 30_000)
		}
		if one.RemoteAddr().String() != first.String() || two.RemoteAddr().String() != second.String() {
			t.Error("the connections are not to the VIPs that they were made to")
		}
	})
	// A connection to the pod itself holds the tuple too.
	direct := podAddr(0, 0)
	s.lbHost.AddRoute(t, direct.Addr().String()+"/32", nodeAddr[0])
	s.lb.owners(siteVIPs[0].Addr(), 0, direct)
	one := s.mustDial(t, direct, 31000)
	two := s.mustDial(t, siteVIPs[0], 31000)
	for range 3 {
		s.mustExchange(t, one, 20_000)
		s.mustExchange(t, two, 30_000)
	}
}

// TestForeignSocket has a connection straight to the pod where a packet to the VIP comes
// with the same client port, of a connection that the pod never had: its socket is no
// witness, and is not disturbed.
func TestForeignSocket(t *testing.T) {
	s := newSite(t, siteOptions{mode: bpf.NodeNative, link: fixture.LinkOptions{NoOffload: true}})
	s.know(true)
	s.servers()
	for inner, vip := range siteVIPs {
		pod := podAddr(0, inner)
		s.lbHost.AddRoute(t, pod.Addr().String(), nodeAddr[inner])
		s.lb.owners(vip.Addr(), inner, pod)
		const local = 33000
		c := s.mustDial(t, pod, local)
		s.mustExchange(t, c, 5000)
		before, witnessed := s.lb.bounced(), events(t, s.node, bpf.EventWitness)
		s.lb.send(tcp(netip.AddrPortFrom(ip(clients[inner]), local), vip, packet.ACK, 1, 1).IP(), 0)
		fixture.Wait(t, 5*time.Second, "the packet to come back", func() error {
			if s.lb.bounced() == before {
				return errors.New(s.verdicts())
			}
			return nil
		})
		s.mustExchange(t, c, 50_000)
		if events(t, s.node, bpf.EventWitness) != witnessed {
			t.Errorf("%s: another connection's socket was a witness", pod)
		}
	}
}

// TestReuse closes a connection from either side and uses its tuple again at once.
func TestReuse(t *testing.T) {
	s := newSite(t, siteOptions{mode: bpf.NodeNative, link: fixture.LinkOptions{NoOffload: true}})
	s.know(true)
	s.servers()
	everyFamily(t, func(t *testing.T, inner, outer int) {
		vip := siteVIPs[inner]
		s.lb.owners(vip.Addr(), outer, podAddr(0, inner))
		for i := range 4 {
			c := s.mustDial(t, vip, uint16(32000+10*inner+outer))
			s.mustExchange(t, c, 5000)
			_ = c.SetLinger(0) // RST, so that the client may have the port again
			if i%2 == 1 {
				s.clear()
			}
			c.Close()
		}
	})
}

// TestUDPAndUnreachable asks over UDP, also a port that nobody listens on.
func TestUDPAndUnreachable(t *testing.T) {
	for _, mode := range []bpf.NodeMode{bpf.NodeNative, bpf.NodeTC} {
		s := newSite(t, siteOptions{mode: mode, link: fixture.LinkOptions{NoOffload: true}})
		s.know(true)
		s.lbHost.Run(t, "ip", "link", "set", "vip0", "mtu", "1400") // what the real LB node tells clients
		for family := range 2 {
			fixture.StartUDPEcho(t, s.podHosts[0], "pod0", podAddr(0, family))
		}
		everyFamily(t, func(t *testing.T, inner, outer int) {
			vip := siteVIPs[inner]
			s.lb.owners(vip.Addr(), outer, podAddr(0, inner)).accept = true
			c := s.udp(t, vip)
			for _, size := range []int{10, 1300, 4000} { // the last in fragments
				if got, err := ask(c, size); err != nil || got != fmt.Sprintf("pod0 %s", c.LocalAddr()) {
					t.Errorf("%d bytes: %q, %v; verdicts:\n%s", size, got, err, s.verdicts())
				}
			}
			s.lb.owners(vip.Addr(), outer, port(podAddr(0, inner), 9)).accept = true
			if _, err := ask(s.udp(t, vip), 10); err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a port that nobody listens on: %v; verdicts:\n%s", err, s.verdicts())
			}
		})
	}
}

func (s *site) udp(t *testing.T, vip netip.AddrPort) (c net.Conn) {
	t.Helper()
	err := s.lbHost.Do(func() (err error) {
		c, err = net.Dial("udp", vip.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

// ask sends size bytes and returns who answered, and to whom, if the answer has them.
func ask(c net.Conn, size int) (string, error) {
	sent := bytes.Repeat([]byte("x"), size)
	if _, err := c.Write(sent); err != nil {
		return "", err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	who, ok := bytes.CutSuffix(buf[:n], sent)
	if !ok {
		return "", fmt.Errorf("%d bytes came back changed", n)
	}
	return string(bytes.TrimSpace(who)), nil
}
