package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	singleHopPort = 3784 // RFC 5881 section 4
	multihopPort  = 4784 // RFC 5883 section 5
	directTTL     = 255  // of a packet that no router has forwarded, RFC 5881 section 5
)

// listenKey names a listening socket.
type listenKey struct{ ipv6, multihop bool }

func (e endpoint) listenKey() listenKey { return listenKey{ipv6: e.peer.Is6(), multihop: e.multihop} }

func (k listenKey) port() int {
	if k.multihop {
		return multihopPort
	}
	return singleHopPort
}

// datagram is what came in. Addresses have no zone.
type datagram struct {
	data     []byte
	from, to netip.Addr
	ifindex  int
	ttl      int
}

// listener reads the datagrams of all sessions of one kind. Whoever needs them read may do it.
type listener struct {
	key     listenKey
	file    *os.File
	raw     syscall.RawConn
	deliver func(listenKey, datagram)
	ended   chan struct{}

	mu        sync.Mutex // held from the reading of a datagram to the end of its delivery
	data, oob []byte     // mu
}

// batch is how many datagrams are read before others get a chance to hold mu. drainLimit is more than
// a socket's receive buffer holds.
const (
	batch      = 64
	drainLimit = 4096
)

// listen opens the socket and starts to read it.
func listen(key listenKey, deliver func(listenKey, datagram)) (*listener, error) {
	fd, err := listenFD(key)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("UDP port %d is taken by another process of this host, perhaps FRR's bfdd or BIRD: "+
			"turn BFD off there or in this session (ss -lunp shows the process): %w", key.port(), err)
	case err != nil:
		return nil, fmt.Errorf("listen on UDP port %d: %w", key.port(), err)
	}
	l := &listener{
		key: key, file: os.NewFile(uintptr(fd), fmt.Sprintf("udp:%d", key.port())), deliver: deliver,
		ended: make(chan struct{}), data: make([]byte, 512), oob: make([]byte, 128),
	}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	go l.run()
	return l, nil
}

// listenFD is a non-blocking socket on all addresses of a family. It is not shared by SO_REUSEADDR:
// two daemons on the port would take each other's packets.
func listenFD(key listenKey) (int, error) {
	family, level := unix.AF_INET, unix.IPPROTO_IP
	options := []int{unix.IP_RECVTTL, unix.IP_PKTINFO}
	var addr unix.Sockaddr = &unix.SockaddrInet4{Port: key.port()}
	if key.ipv6 {
		family, level = unix.AF_INET6, unix.IPPROTO_IPV6
		options = []int{unix.IPV6_V6ONLY, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVPKTINFO}
		addr = &unix.SockaddrInet6{Port: key.port()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, option := range options {
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return -1, errors.Join(os.NewSyscallError("setsockopt", err), unix.Close(fd))
		}
	}
	if err := unix.Bind(fd, addr); err != nil {
		return -1, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return fd, nil
}

func (l *listener) run() {
	defer close(l.ended)
	// It returns when the file is closed.
	_ = l.raw.Read(func(fd uintptr) bool {
		for l.read(int(fd), batch) {
		}
		return false
	})
}

// drain delivers everything that has arrived before the call.
func (l *listener) drain() {
	_ = l.raw.Control(func(fd uintptr) { l.read(int(fd), drainLimit) })
}

// read delivers up to limit datagrams without waiting, and says whether there may be more.
func (l *listener) read(fd, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range limit {
		n, oobn, _, from, err := unix.Recvmsg(fd, l.data, l.oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false // nothing there, or an error that the next datagram will not have
		}
		d := datagram{data: l.data[:n]}
		switch from := from.(type) {
		case *unix.SockaddrInet4:
			d.from = netip.AddrFrom4(from.Addr)
		case *unix.SockaddrInet6:
			d.from = netip.AddrFrom16(from.Addr)
		}
		d.readControl(l.oob[:oobn])
		l.deliver(l.key, d)
	}
	return true
}

// readControl takes TTL, destination and interface from the control messages, see ip(7) and ipv6(7).
func (d *datagram) readControl(oob []byte) {
	for len(oob) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_TTL && len(data) >= 4,
			header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			d.ttl = int(binary.NativeEndian.Uint32(data))
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: ifindex, the local address, the header's destination.
			d.ifindex = int(binary.NativeEndian.Uint32(data))
			d.to = netip.AddrFrom4([4]byte(data[8:12]))
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			d.to = netip.AddrFrom16([16]byte(data[:16]))
			d.ifindex = int(binary.NativeEndian.Uint32(data[16:]))
		}
	}
}

// close ends reading. It must not be called with a lock that deliver takes.
func (l *listener) close() error {
	err := l.file.Close()
	<-l.ended
	return err
}
