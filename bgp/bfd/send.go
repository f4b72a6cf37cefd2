package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// Source ports of RFC 5881 section 4.
	firstSourcePort = 49152
	lastSourcePort  = 65535
	portAttempts    = 100

	classSelector6 = 6 << 5 // network control, RFC 2474 section 4.2.2.2
)

// sender is the sending socket of a session, connected to its peer.
type sender struct {
	fd      int
	local   netip.Addr // without zone
	ifindex int        // 0 if the session is not bound to an interface
	ports   *sourcePorts
	port    int
}

// sourcePorts are the ports that sessions send from, each its own (RFC 5881 section 4).
type sourcePorts struct {
	mu   sync.Mutex
	used map[int]bool
}

// take reserves a random port, so that sessions and their former lives differ.
func (p *sourcePorts) take() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		port := firstSourcePort + rand.IntN(lastSourcePort-firstSourcePort+1)
		if !p.used[port] {
			p.used[port] = true
			return port
		}
	}
}

func (p *sourcePorts) giveBack(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

func openSender(e endpoint, ports *sourcePorts) (*sender, error) {
	s := &sender{ports: ports}
	if e.device != "" {
		i, err := net.InterfaceByName(e.device)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", e.device, err)
		}
		s.ifindex = i.Index
	}
	family := unix.AF_INET
	if e.peer.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s.fd = fd
	if err := s.setUp(e); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sender) setUp(e endpoint) error {
	level, ttl, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if e.peer.Is6() {
		level, ttl, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	if err := errors.Join(unix.SetsockoptInt(s.fd, level, ttl, directTTL), unix.SetsockoptInt(s.fd, level, class, classSelector6)); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if e.device != "" {
		// Without privileges since Linux 5.7, for a socket that is not bound to a device yet.
		if err := unix.BindToDevice(s.fd, e.device); err != nil {
			return fmt.Errorf("bind to interface %s: %w", e.device, err)
		}
	}
	if err := s.bind(e); err != nil {
		return err
	}
	if err := unix.Connect(s.fd, s.sockaddr(e.peer, e.listenKey().port())); err != nil {
		return fmt.Errorf("no way to %s: %w", e.peer, err)
	}
	return s.readLocal()
}

func (s *sender) bind(e endpoint) error {
	local := e.local
	switch {
	case local.IsValid():
	case e.peer.Is6():
		local = netip.IPv6Unspecified()
	default:
		local = netip.IPv4Unspecified()
	}
	var err error
	for range portAttempts { // other processes have ports too
		s.giveBackPort()
		s.port = s.ports.take()
		if err = unix.Bind(s.fd, s.sockaddr(local, s.port)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("bind to local address %s: %w", local, err)
	}
	return nil
}

func (s *sender) sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	if a.IsLinkLocalUnicast() {
		sa.ZoneId = uint32(s.ifindex)
	}
	return sa
}

func (s *sender) readLocal() error {
	sa, err := unix.Getsockname(s.fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		s.local = netip.AddrFrom16(sa.Addr)
	}
	if err == nil && s.local.IsUnspecified() {
		// IPv4 takes every destination for a neighbour on an interface without a route to it.
		return fmt.Errorf("no way to the peer: %w: the interface has no address", unix.ENETUNREACH)
	}
	return os.NewSyscallError("getsockname", err)
}

// send never waits. An error that an earlier packet caused, such as a port unreachable message, is
// reported in place of sending, and so the packet is tried again.
func (s *sender) send(b []byte) error {
	err := unix.Send(s.fd, b, unix.MSG_DONTWAIT)
	if err == nil {
		return nil
	}
	if again := unix.Send(s.fd, b, unix.MSG_DONTWAIT); again != nil {
		return again
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return errRefused
	}
	return nil
}

// errRefused is not about the packet that was just sent.
var errRefused = errors.New("the peer answers that nothing listens on its BFD port")

// noWay says whether the kernel knows that it cannot reach the peer.
func noWay(err error) bool {
	for _, errno := range []unix.Errno{unix.ENETUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, unix.EINVAL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (s *sender) giveBackPort() {
	if s.port != 0 {
		s.ports.giveBack(s.port)
	}
}

func (s *sender) close() error {
	s.giveBackPort()
	return unix.Close(s.fd)
}
