package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listeners are where passive peers connect to. They are open only while there is such a peer.
type listeners struct {
	log *slog.Logger

	mu   sync.Mutex
	open map[netip.AddrPort]*listener

	// relays are by the router's address, zone included. Listeners read them without mu, under which
	// their end is waited for.
	relays atomic.Pointer[map[netip.Addr]*relay]
}

// acceptAgain is between two attempts to take a connection, of which the first has failed.
const acceptAgain = 100 * time.Millisecond

type listener struct {
	*net.TCPListener
	keys   atomic.Pointer[map[netip.Addr]string] // that the kernel has
	cancel context.CancelFunc
	done   chan struct{}
}

func newListeners(log *slog.Logger) *listeners {
	return &listeners{log: log, open: map[netip.AddrPort]*listener{}}
}

// sync listens for exactly these passive peers, and says why it cannot for some: by their addresses,
// without zone.
func (ls *listeners) sync(peers []Peer, relays map[netip.Addr]*relay, port uint16) map[netip.Addr]error {
	if port == 0 {
		port = defaultPort
	}
	want := listenAt(peers, port)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.relays.Store(&relays)
	for at, l := range ls.open {
		if want[at] == nil {
			l.stop()
			delete(ls.open, at)
		}
	}
	deaf := map[netip.Addr]error{}
	for at, keys := range want {
		if err := ls.listen(at, keys); err != nil {
			for addr := range keys {
				deaf[addr] = err
			}
		}
	}
	return deaf
}

// listen has an address listened at, with these passwords. The lock is held.
func (ls *listeners) listen(at netip.AddrPort, keys map[netip.Addr]string) error {
	l, ok := ls.open[at]
	if !ok {
		var err error
		if l, err = listen(at); err != nil {
			return err
		}
		ls.open[at] = l
		go ls.accept(l)
	}
	return l.rekey(keys)
}

// listenAt gives the addresses to listen at, each with the passwords of its peers. One peer of a family
// without an address of ours makes that the unspecified one, which excludes others.
func listenAt(peers []Peer, port uint16) map[netip.AddrPort]map[netip.Addr]string {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	all := map[netip.Addr]bool{}
	for _, p := range peers {
		if p.Passive && !p.LocalAddress.IsValid() {
			all[map[bool]netip.Addr{true: any4, false: any6}[p.Address.Is4()]] = true
		}
	}
	out := map[netip.AddrPort]map[netip.Addr]string{}
	for _, p := range peers {
		if !p.Passive {
			continue
		}
		addr := any6
		if p.Address.Is4() {
			addr = any4
		}
		if !all[addr] {
			addr = p.LocalAddress
		}
		at := netip.AddrPortFrom(addr, port)
		if out[at] == nil {
			out[at] = map[netip.Addr]string{}
		}
		out[at][withoutZone(p.Address)] = p.Password
	}
	return out
}

func listen(at netip.AddrPort) (*listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it knows no MD5 signatures
	network := "tcp6"             // of IPv6 alone
	if at.Addr().Is4() {
		network = "tcp4"
	}
	config.Control = func(_, _ string, c syscall.RawConn) error {
		return onSocket(c, func(fd int) error {
			// Routers with TTL security look at the answer to their SYN already.
			if at.Addr().Is4() {
				return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, directTTL)
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, directTTL)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := config.Listen(ctx, network, at.String())
	if err != nil {
		cancel()
		hint := ""
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			hint = ": another BGP daemon has the port; give passive peers a localAddress of their own, stop the daemon, or let the routers be passive"
		case errors.Is(err, unix.EACCES):
			hint = ": ports below 1024 need the capability NET_BIND_SERVICE"
		}
		return nil, fmt.Errorf("listen for passive BGP peers at %s: %w%s", at, err, hint)
	}
	out := &listener{TCPListener: l.(*net.TCPListener), cancel: cancel, done: make(chan struct{})}
	out.keys.Store(&map[netip.Addr]string{})
	return out, nil
}

// rekey makes keys the passwords of those who may connect.
func (l *listener) rekey(keys map[netip.Addr]string) error {
	c, err := l.SyscallConn()
	if err != nil {
		return err
	}
	have, set := *l.keys.Load(), map[netip.Addr]string{}
	err = onSocket(c, func(fd int) error {
		var errs []error
		for addr := range have {
			if _, ok := keys[addr]; !ok {
				errs = append(errs, setKey(fd, addr, ""))
			}
		}
		for addr, password := range keys {
			if old, ok := have[addr]; !ok || old != password {
				if err := setKey(fd, addr, password); err != nil {
					errs = append(errs, err)
					continue
				}
			}
			set[addr] = password
		}
		return errors.Join(errs...)
	})
	l.keys.Store(&set)
	return err
}

func (l *listener) stop() {
	l.cancel()
	l.Close()
	<-l.done
}

// accept hands connections to the sessions of those who open them.
func (ls *listeners) accept(l *listener) {
	defer close(l.done)
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as a lack of file descriptors
			time.Sleep(acceptAgain)
			continue
		}
		if err := ls.hand(l, conn); err != nil {
			ls.log.Debug("refused a BGP connection", "from", conn.RemoteAddr(), "reason", err)
			conn.Close()
		}
	}
}

func (ls *listeners) hand(l *listener, conn *net.TCPConn) error {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	r := (*ls.relays.Load())[from]
	if r == nil {
		return errors.New("no passive peer has this address")
	}
	peer, _ := r.current()
	if password, set := (*l.keys.Load())[withoutZone(from)]; !set || password != peer.Password {
		return errors.New("its password is not in force") // so that anybody could have connected
	}
	c, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := onSocket(c, func(fd int) error { return peer.prepare(fd, from, r.ownASN) }); err != nil {
		return err
	}
	r.offer(conn)
	return nil
}

func (ls *listeners) close() { ls.sync(nil, nil, 0) }
