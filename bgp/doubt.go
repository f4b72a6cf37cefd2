package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// openWithin is how long a router that connects beside its session may take to say OPEN.
const openWithin = 5 * time.Second

// mostOpen is more than an OPEN can have.
const mostOpen = 4096

// speaks waits for the OPEN that a router sends as it begins anew, and leaves it to be read. A connection
// alone ends no session: whoever can open one from the router's address, as a user of that or a scan for
// open ports, could withdraw our routes with it. One connection waits at a time, the newest.
func (r *relay) speaks(conn *net.TCPConn) error {
	r.keep(conn)
	defer r.waited(conn)
	if err := conn.SetReadDeadline(time.Now().Add(openWithin)); err != nil {
		return err
	}
	c, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	m, err := peek(c)
	if err != nil {
		return fmt.Errorf("no OPEN came: %w", err)
	}
	if m.Type != wire.TypeOpen {
		return fmt.Errorf("a message of type %d came before an OPEN", m.Type)
	}
	open, err := wire.ParseOpen(m.Body)
	if err != nil {
		return err
	}
	peer, _ := r.current()
	if err := r.accepts(open, peer); err != nil {
		return err
	}
	return conn.SetReadDeadline(time.Time{})
}

// peek waits for a whole message.
func peek(c syscall.RawConn) (m wire.Message, err error) {
	buf := make([]byte, mostOpen)
	waitErr := c.Read(func(fd uintptr) bool {
		var n int
		n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return false
		case err != nil:
			return true
		case n == 0:
			err = io.EOF
			return true
		}
		m, err = wire.Read(bytes.NewReader(buf[:n]))
		return !errors.Is(err, io.ErrUnexpectedEOF) // the rest comes, and wakes us
	})
	return m, errors.Join(waitErr, err)
}

// keep makes conn the one that waits, and closes another one; nil for none.
func (r *relay) keep(conn *net.TCPConn) {
	r.mu.Lock()
	other := r.waiting
	r.waiting = conn
	r.mu.Unlock()
	if other != nil {
		other.Close()
	}
}

func (r *relay) waited(conn *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == conn {
		r.waiting = nil
	}
}
