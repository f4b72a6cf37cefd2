package ingress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
)

// site is a client with an LB node in one namespace, an ingress node, and its pods.
//
//	client, lb -- eth0 node pod0 -- eth0 pod0
//	                        pod1 -- eth0 pod1
//
// The last pod shares the node's network.
type site struct {
	t                testing.TB
	lbHost, nodeHost *fixture.Netns
	podHosts         []*fixture.Netns
	node             *bpf.Node
	lb               *lbNode
	attachment       bpf.NodeAttachment
}

// The addresses of a site; those of the nodes are the casts'.
var (
	clients  = []string{"192.0.2.1", "2001:db8:a::1"}
	lbAddrs  = []string{"10.0.0.1", "2001:db8:1::1"}
	nodeAddr = []string{"10.0.0.2", "2001:db8:1::2"}
)

const podPort = 8080

// podAddr is the address of pod i in a family, 0 for IPv4.
func podAddr(i, family int) netip.AddrPort {
	return netip.AddrPortFrom(ip([]string{fmt.Sprintf("10.1.%d.1", i), fmt.Sprintf("2001:db8:2:%d::1", i)}[family]), podPort)
}

// hostPod is the address of the pod in the node's network.
func hostPod(family int) netip.AddrPort { return netip.AddrPortFrom(ip(nodeAddr[family]), podPort) }

type siteOptions struct {
	mode    bpf.NodeMode
	link    fixture.LinkOptions // between LB node and ingress node
	foreign func(s *site)       // before our programs are attached
}

func newSite(t testing.TB, opts siteOptions) *site {
	t.Helper()
	s := &site{t: t, lbHost: fixture.NewNetns(t, "lb"), nodeHost: fixture.NewNetns(t, "node")}
	s.nodeHost.Forward(t)
	opts.link.AddrsA = []string{lbAddrs[0] + "/24", lbAddrs[1] + "/64"}
	opts.link.AddrsB = []string{nodeAddr[0] + "/24", nodeAddr[1] + "/64"}
	opts.link.XDPPassA = true // for what XDP sends back
	fixture.Link(t, s.lbHost, "eth0", s.nodeHost, "eth0", opts.link)
	for i, gateway := range lbAddrs {
		s.nodeHost.AddRoute(t, []string{"default", "default6"}[i], gateway)
	}
	for i := range 2 {
		s.addPod(i)
	}
	s.node = load(t, s.nodeHost)
	for i := range lbAddrs {
		s.put("members", bpf.AddrFrom(ip(lbAddrs[i])), bpf.Member{Flags: bpf.MemberLB})
		s.put("members", bpf.AddrFrom(ip(nodeAddr[i])), bpf.Member{Flags: bpf.MemberSelf})
		s.put("pods", bpf.AddrFrom(ip(nodeAddr[i])), bpf.Pod{Netns: bpf.PodNetnsOwn})
	}
	s.put("node_settings", uint32(0), bpf.Settings{Mtu: 1500})
	if opts.foreign != nil {
		opts.foreign(s)
	}
	s.attach(opts.mode)
	s.lb = startLB(t, s.lbHost)
	return s
}

func (s *site) put(name string, key, value any) {
	s.t.Helper()
	if err := s.node.Map(name).Put(key, value); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
}

func (s *site) attach(mode bpf.NodeMode) {
	s.t.Helper()
	if err := s.nodeHost.Do(func() (err error) {
		s.attachment, err = s.node.Attach("eth0", mode)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = s.nodeHost.Do(func() error { return s.node.Detach("eth0") })
	})
}

// addPod makes a pod behind a veth of its own.
func (s *site) addPod(i int) {
	s.t.Helper()
	name := fmt.Sprintf("pod%d", i)
	host := fixture.NewNetns(s.t, name)
	a4, a6 := podAddr(i, 0).Addr(), podAddr(i, 1).Addr()
	fixture.Link(s.t, s.nodeHost, name, host, "eth0", fixture.LinkOptions{
		AddrsA: []string{a4.Next().String() + "/24", a6.Next().String() + "/64"},
		AddrsB: []string{a4.String() + "/24", a6.String() + "/64"}})
	host.AddRoute(s.t, "default", a4.Next().String())
	host.AddRoute(s.t, "default6", a6.Next().String())
	s.podHosts = append(s.podHosts, host)
}

// know tells the data path of the pods, with the IDs of their namespaces.
func (s *site) know(netns bool) {
	s.t.Helper()
	for i := range s.podHosts {
		id := int32(bpf.PodNetnsUnknown)
		if netns {
			id = s.netnsID(fmt.Sprintf("pod%d", i))
		}
		for family := range 2 {
			s.put("pods", bpf.AddrFrom(podAddr(i, family).Addr()), bpf.Pod{Netns: id})
		}
	}
}

// netnsID is that of the namespace at the other end of a veth.
func (s *site) netnsID(device string) (id int32) {
	s.t.Helper()
	if err := s.nodeHost.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err == nil {
			id = int32(dev.Attrs().NetNsID)
		}
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// serve starts an echo server over TCP, which tells the client's address first.
func serve(t testing.TB, host *fixture.Netns, at netip.AddrPort) {
	t.Helper()
	var l net.Listener
	if err := host.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ended, func() { c.Close() })
			running.Go(func() {
				defer c.Close()
				fmt.Fprintf(c, "%s\n", c.RemoteAddr())
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		end()
		running.Wait()
	})
}

// servers starts one on every pod, and one on the node.
func (s *site) servers() {
	for family := range 2 {
		for i, host := range s.podHosts {
			serve(s.t, host, podAddr(i, family))
		}
		serve(s.t, s.nodeHost, hostPod(family))
	}
}

// dial opens a connection from the client and returns it with what the server takes
// for the client's address.
func (s *site) dial(vip netip.AddrPort, local uint16) (*net.TCPConn, netip.AddrPort, error) {
	from := clients[0]
	if vip.Addr().Is6() {
		from = clients[1]
	}
	var c net.Conn
	err := s.lbHost.Do(func() (err error) {
		d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from), Port: int(local)},
			Control: func(_, _ string, c syscall.RawConn) error { return setOptions(c, reuseAddr) }}
		d.SetMultipathTCP(false)
		c, err = d.Dial("tcp", vip.String())
		return err
	})
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	line := make([]byte, 0, 64)
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := c.Read(b); err != nil {
			return nil, netip.AddrPort{}, err
		}
		if b[0] == '\n' {
			break
		}
	}
	seen, err := netip.ParseAddrPort(string(line))
	return c.(*net.TCPConn), seen, err
}

// exchange sends n bytes and wants them back.
func exchange(c net.Conn, n int) error {
	sent := make([]byte, n)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	wrote := make(chan error, 1)
	go func() { _, err := c.Write(sent); wrote <- err }()
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(sent) {
		return fmt.Errorf("%d bytes came back changed", n)
	}
	return <-wrote
}
