package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// conn is a UDP socket on the tunnel port.
type conn interface {
	receive(b []byte) (int, netip.AddrPort, error)
	// send takes from as the source, or what the route says where it is invalid.
	send(b []byte, from netip.Addr, to netip.AddrPort) error
	Close() error
}

type socket struct{ *net.UDPConn }

func (s *socket) receive(b []byte) (int, netip.AddrPort, error) { return s.ReadFromUDPAddrPort(b) }

func (s *socket) send(b []byte, from netip.Addr, to netip.AddrPort) error {
	var control []byte
	switch {
	case from.Is4():
		control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	case from.Is6():
		control = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16()})
	}
	_, _, err := s.WriteMsgUDPAddrPort(b, control, to)
	return err
}

// open opens the sockets that are missing, of the families in which there are nodes.
func (p *Prober) open(ctx context.Context, readers *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ipv6 := range []bool{false, true} {
		if p.conns[ipv6] != nil || !p.asks(ipv6) || ctx.Err() != nil {
			continue
		}
		c, err := p.listen(ipv6, p.opts.Port)
		if err != nil {
			if was := p.errs[ipv6]; was == nil || was.Error() != err.Error() {
				p.log.Error("ingress nodes cannot be probed", "err", err)
			}
			p.errs[ipv6] = err
			continue
		}
		p.conns[ipv6], p.errs[ipv6] = c, nil
		readers.Go(func() { p.read(c, ipv6) })
	}
}

func (p *Prober) asks(ipv6 bool) bool {
	for a := range p.tracks {
		if a.Is6() == ipv6 {
			return true
		}
	}
	return false
}

// lost makes the next round open another socket.
func (p *Prober) lost(c conn, ipv6 bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[ipv6] != c {
		return // closed by Run
	}
	_ = c.Close() // it is of no use either way
	p.conns[ipv6], p.errs[ipv6] = nil, fmt.Errorf("receive answers: %w", err)
}

func (p *Prober) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ipv6, c := range p.conns {
		p.conns[ipv6] = nil
		if c != nil {
			_ = c.Close() // nothing is written that could be lost
		}
	}
}

// listenUDP opens a socket on the tunnel port of all addresses of a family, whose
// packets have no UDP checksum. SO_REUSEADDR lets the agent of an upgrade begin while the
// one before it ends.
func listenUDP(ipv6 bool, port uint16) (conn, error) {
	network, options := "udp4", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}
	if ipv6 {
		network, options = "udp6", func(fd int) error { // RFC 6935 and 6936
			return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1),
				unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1))
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		ctl := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), options(int(fd)))
		})
		return errors.Join(ctl, err)
	}}
	c, err := config.ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(port)))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("UDP port %d is taken, perhaps by a tunnel device of the CNI: set tunnel.port to a free one, "+
			"the same on all nodes: %w", port, err)
	case err != nil:
		return nil, fmt.Errorf("open UDP port %d (tunnel.port): %w", port, err)
	}
	return &socket{c.(*net.UDPConn)}, nil
}
