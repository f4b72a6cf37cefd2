package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultPort = 179
	// directTTL is the TTL of a packet that no router has forwarded, RFC 5082 section 3.
	directTTL = 255
	// ordinaryTTL is what hosts and some BFD daemons send with.
	ordinaryTTL = 64
	// networkControl is the DSCP CS6 of routing protocols, as a TOS byte (RFC 4594 section 3.1).
	networkControl = 0xc0
)

// dial opens a connection to the router at an address, which may have a zone.
func (p Peer) dial(ctx context.Context, remote netip.Addr, ownASN uint32) (*net.TCPConn, error) {
	local, err := p.localEnd(remote)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout: max(p.ConnectRetry, 2*time.Second), KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			return onSocket(c, func(fd int) error {
				if err := setKey(fd, remote, p.Password); err != nil {
					return err
				}
				return p.prepare(fd, remote, ownASN)
			})
		},
	}
	d.SetMultipathTCP(false) // it knows no MD5 signatures
	if local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: local.AsSlice(), Zone: local.Zone()}
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(remote.String(), strconv.Itoa(int(p.port()))))
	if err != nil {
		return nil, connectError(err, p.Password != "")
	}
	return conn.(*net.TCPConn), nil
}

func (p Peer) port() uint16 {
	if p.Port == 0 {
		return defaultPort
	}
	return p.Port
}

// localEnd is our address for a connection; invalid where the route is to choose.
func (p Peer) localEnd(remote netip.Addr) (netip.Addr, error) {
	if p.LocalInterface == "" {
		return p.LocalAddress, nil
	}
	addr, err := globalAddress(p.LocalInterface, familyOf(remote))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("local interface: %w", err)
	}
	return addr, nil
}

// globalAddress is the first one of a device that is neither link-local nor a loopback's of its host
// alone.
func globalAddress(device string, f Family) (netip.Addr, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("there is no device %s", device)
	}
	addrs, err := dev.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of device %s: %w", device, err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && familyOf(prefix.Addr()) == f && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("device %s has no global %s address", device, f)
}

// prepare sets what both a connection that we open and one that we accept have. Errors that only cost
// a convention are none.
func (p Peer) prepare(fd int, remote netip.Addr, ownASN uint32) error {
	level, ttl, least, tos := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL, unix.IP_TOS
	if !remote.Is4() {
		level, ttl, least, tos = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT, unix.IPV6_TCLASS
	}
	_ = unix.SetsockoptInt(fd, level, tos, networkControl)
	if p.Interface != "" {
		if err := unix.BindToDevice(fd, p.Interface); err != nil {
			return fmt.Errorf("bind to device %s: %w", p.Interface, err)
		}
	}
	hops := 0 // the kernel's default, for iBGP
	switch {
	case p.TTLSecurity:
		hops = directTTL
		if err := unix.SetsockoptInt(fd, level, least, directTTL); err != nil {
			return fmt.Errorf("require TTL %d: %w", directTTL, err)
		}
	case p.MultihopTTL != 0:
		hops = int(p.MultihopTTL)
	case p.ASN != ownASN:
		hops = 1
	}
	if hops == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, level, ttl, hops); err != nil {
		return fmt.Errorf("set TTL %d: %w", hops, err)
	}
	return nil
}

// onSocket runs do on a connection's or listener's descriptor.
func onSocket(c syscall.RawConn, do func(fd int) error) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = do(int(fd)) }), err)
}

// sendQueue is how many bytes the other end has acknowledged so far, and whether others wait for that.
func sendQueue(conn *net.TCPConn) (acked uint64, waits bool, err error) {
	c, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	err = onSocket(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			acked, waits = info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0
		}
		return err
	})
	return acked, waits, err
}

// setKey sets the TCP MD5 key (RFC 2385) of segments from and to an address, also on a socket that is
// connected or listens; an empty one removes it.
func setKey(fd int, remote netip.Addr, password string) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(sig.Key[:], password)
	if remote.Is4() {
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], remote.AsSlice()) // behind the port
	} else {
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], remote.AsSlice()) // behind port and flow label
	}
	err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	if password == "" && errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil && password == "" {
		return nil // a kernel without signatures needs none
	}
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("set the TCP MD5 key: %w: raise the sysctl net.core.optmem_max, or have fewer passive peers with a password", err)
	}
	if err != nil {
		return fmt.Errorf("set the TCP MD5 key: %w", err)
	}
	return nil
}

// connectError explains why a connection could not be opened. The addresses are known.
func connectError(err error, password bool) error {
	// The dialer's deadline comes as one of several errors, whichever clock of Go was first.
	late, ok := errors.AsType[net.Error](err)
	timeout := ok && late.Timeout()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err
	}
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		err = sys.Err
	}
	text := err.Error()
	if password && timeout {
		text += " (routers do not answer if the password differs)"
	}
	return errors.New("connect: " + text)
}
