package ingress

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/test/fixture"
)

// lbNode carries what the client sends to VIPs into tunnels. It has a chain of owners
// for each VIP, as the real one has: a packet that comes back goes to the next owner,
// and at last to the first one with ACCEPT.
type lbNode struct {
	t       testing.TB
	tun     *os.File
	sockets [2]*net.UDPConn // by the tunnel's family

	mu      sync.Mutex
	vips    map[netip.Addr]*vip
	bounces int
}

// vip is where the packets for one go.
type vip struct {
	outer  int // family of the tunnel, 0 for IPv4
	owners []netip.AddrPort
	accept bool // at once, as for UDP
}

func startLB(t testing.TB, host *fixture.Netns) *lbNode {
	t.Helper()
	lb := &lbNode{t: t, vips: make(map[netip.Addr]*vip)}
	err := host.Do(func() (err error) {
		if lb.tun, err = openTUN("vip0"); err != nil {
			return err
		}
		for family := range 2 {
			if lb.sockets[family], err = tunnelSocket(family); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	host.Run(t, "ip", "link", "set", "vip0", "up", "mtu", "1500")
	for _, c := range clients {
		prefix := "/32"
		if ip(c).Is6() {
			prefix = "/128"
		}
		host.AddAddr(t, "vip0", c+prefix)
	}
	// The kernel takes an IPv6 address for its own a moment after it was added.
	fixture.Wait(t, 5*time.Second, "the client's address", func() error {
		out, err := host.Output("ip", "-6", "route", "get", clients[1])
		if err == nil && !strings.HasPrefix(out, "local") {
			err = errors.New(out)
		}
		return err
	})
	for family, prefix := range []string{"198.51.100.0/24", "2001:db8:f::/64"} {
		host.Run(t, "ip", "route", "add", prefix, "dev", "vip0", "src", clients[family])
	}
	var running sync.WaitGroup
	running.Go(lb.forward)
	for family := range lb.sockets {
		running.Go(func() { lb.takeBack(family) })
	}
	t.Cleanup(func() {
		lb.tun.Close()
		for _, s := range lb.sockets {
			s.Close()
		}
		running.Wait()
	})
	return lb
}

// openTUN makes a device whose packets are read from the file, see linux/if_tun.h.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], name)
	req.flags = unix.IFF_TUN | unix.IFF_NO_PI
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("make TUN device %s: %w", name, errno)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// sockoption is one of a socket's, to be set to 1.
type sockoption struct{ level, name int }

var (
	reuseAddr = sockoption{unix.SOL_SOCKET, unix.SO_REUSEADDR}
	// linux/udp.h: UDP_NO_CHECK6_TX and _RX.
	noChecksum = [2][]sockoption{{{unix.SOL_SOCKET, unix.SO_NO_CHECK}}, {{unix.IPPROTO_UDP, 101}, {unix.IPPROTO_UDP, 102}}}
)

func setOptions(c syscall.RawConn, options ...sockoption) (err error) {
	for _, o := range options {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), o.level, o.name, 1) }); e != nil || err != nil {
			return errors.Join(e, err)
		}
	}
	return nil
}

// tunnelSocket is bound to the tunnel port and has no use for the UDP checksum.
func tunnelSocket(family int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return setOptions(c, noChecksum[family]...) }}
	c, err := lc.ListenPacket(context.Background(), [2]string{"udp4", "udp6"}[family],
		netip.AddrPortFrom(ip(lbAddrs[family]), tunnelPort).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// owners sets where a VIP's packets go.
func (lb *lbNode) owners(addr netip.Addr, outer int, owners ...netip.AddrPort) *vip {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	v := &vip{outer: outer, owners: owners}
	lb.vips[addr] = v
	return v
}

func (lb *lbNode) bounced() int {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	return lb.bounces
}

func destination(packet []byte) netip.Addr {
	at, n := 16, 4
	if packet[0]>>4 == 6 {
		at, n = 24, 16
	}
	a, _ := netip.AddrFromSlice(packet[at : at+n])
	return a
}

func (lb *lbNode) forward() {
	buf := make([]byte, 1<<16)
	for {
		n, err := lb.tun.Read(buf)
		if err != nil {
			return
		}
		lb.send(buf[:n], 0)
	}
}

// send asks the owner at position hop, or the first to accept where there is no more.
func (lb *lbNode) send(packet []byte, hop int) {
	lb.mu.Lock()
	v := lb.vips[destination(packet)]
	lb.mu.Unlock()
	if v == nil || len(v.owners) == 0 {
		return
	}
	o := to(v.owners[0], uint8(hop), accept)
	if hop < len(v.owners) && !v.accept {
		o = to(v.owners[hop], uint8(hop), 0)
	}
	lb.write(v.outer, o, packet)
}

// write sends one tunnel packet. That it may be lost is UDP's nature.
func (lb *lbNode) write(outer int, o option, packet []byte) {
	_, _ = lb.sockets[outer].WriteToUDPAddrPort(append(o.bytes(), packet...), netip.AddrPortFrom(ip(nodeAddr[outer]), tunnelPort))
}

func (lb *lbNode) takeBack(family int) {
	buf := make([]byte, 1<<16)
	for {
		n, err := lb.sockets[family].Read(buf)
		if err != nil {
			return
		}
		header := 8 + 4*int(buf[0]&0x3f)
		if binary.BigEndian.Uint16(buf[8:]) != 0xff50 || buf[header-1] != bounce {
			lb.t.Errorf("the ingress node sent % x", buf[:n])
			continue
		}
		lb.mu.Lock()
		lb.bounces++
		lb.mu.Unlock()
		lb.send(buf[header:n], int(buf[header-2])+1)
	}
}
