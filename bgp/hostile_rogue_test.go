package bgp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
	"github.com/penstock-lb/penstock/test/fixture"
)

// patience bounds whatever a rogue waits for.
const patience = 30 * time.Second

// rogue is a router that sends what it likes. It has one connection at a time.
type rogue struct {
	peer     string // as the speaker calls it
	vip      netip.Prefix
	listener net.Listener
	conn     net.Conn // of an established session; nil without one

	running sync.WaitGroup

	writing sync.Mutex
	quiet   bool // sends no keepalives
}

// newRogue listens at an address of the namespace.
func newRogue(t *testing.T, n *fixture.Netns, peer, addr, vip string) *rogue {
	t.Helper()
	r := &rogue{peer: peer, vip: netip.MustParsePrefix(vip)}
	err := n.Do(func() (err error) {
		r.listener, err = net.Listen("tcp", net.JoinHostPort(addr, "179"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.listener.Close()
		r.hangUp()
		r.running.Wait()
	})
	return r
}

func (r *rogue) hangUp() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// open is what a decent router of the session's family would say.
func (r *rogue) open() wire.Open {
	afi := byte(1)
	if r.vip.Addr().Is6() {
		afi = 2
	}
	return wire.Open{AS: torASN, HoldTime: 3, ID: netip.MustParseAddr("192.0.2.200"), Capabilities: []wire.Capability{
		{Code: wire.CapMultiprotocol, Value: []byte{0, afi, 0, 1}},
		{Code: wire.CapRouteRefresh},
		{Code: wire.CapGracefulRestart, Value: []byte{0, 120, 0, afi, 1, 0}},
		{Code: wire.CapFourOctetAS, Value: binary.BigEndian.AppendUint32(nil, torASN)},
	}}
}

// accept takes the speaker's next connection and reads its OPEN.
func (r *rogue) accept() error {
	if err := r.listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn, err := r.listener.Accept()
	if err != nil {
		return fmt.Errorf("wait for the speaker to connect: %w", err)
	}
	r.conn = conn
	r.hush(false)
	m, err := r.read()
	if err == nil && m.Type != wire.TypeOpen {
		err = fmt.Errorf("message of type %d instead of an OPEN", m.Type)
	}
	return err
}

// establish has a session that has given us the VIP.
func (r *rogue) establish(open []byte) error {
	if err := r.accept(); err != nil {
		return err
	}
	if err := r.send(open, wire.Keepalive.Bytes()); err != nil {
		return err
	}
	conn := r.conn
	r.running.Go(func() { r.keepAlive(conn) })
	return r.untilVIP()
}

func (r *rogue) keepAlive(conn net.Conn) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range tick.C {
		r.writing.Lock()
		var err error
		if !r.quiet {
			_, err = conn.Write(wire.Keepalive.Bytes())
		}
		r.writing.Unlock()
		if err != nil {
			return
		}
	}
}

// hush has no keepalives sent, or has them again.
func (r *rogue) hush(quiet bool) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.quiet = quiet
}

// send writes the messages, and an error of the connection is none: the speaker may have ended it.
func (r *rogue) send(messages ...[]byte) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	for _, m := range messages {
		if _, err := r.conn.Write(m); err != nil {
			return nil
		}
	}
	return nil
}

func (r *rogue) read() (wire.Message, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return wire.Message{}, err
	}
	return wire.Read(r.conn)
}

// untilVIP reads until the speaker announces the VIP.
func (r *rogue) untilVIP() error {
	for {
		m, err := r.read()
		if err != nil {
			return fmt.Errorf("wait for the VIP: %w", err)
		}
		switch m.Type {
		case wire.TypeNotification:
			return fmt.Errorf("the speaker ended the session: %s", wire.ParseNotification(m.Body))
		case wire.TypeUpdate:
			u, err := wire.ParseUpdate(m.Body)
			if err != nil {
				return fmt.Errorf("the speaker's own UPDATE: %w", err)
			}
			if slices.Contains(u.Announced, r.vip) {
				return nil
			}
		}
	}
}

// lives asks for all routes, and so finds out whether the session still does all that it should.
func (r *rogue) lives() error {
	afi := byte(1)
	if r.vip.Addr().Is6() {
		afi = 2
	}
	if err := r.send(wire.Message{Type: wire.TypeRouteRefresh, Body: []byte{0, afi, 0, 1}}.Bytes()); err != nil {
		return err
	}
	return r.untilVIP()
}

// end reads until the speaker ends the connection, and returns its NOTIFICATION; none has code 0.
func (r *rogue) end() (n wire.Notification, err error) {
	defer r.hangUp()
	for {
		m, err := r.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, fmt.Errorf("the speaker does not end the session: %w", err)
		}
		if err != nil {
			return n, nil
		}
		if m.Type == wire.TypeNotification {
			n = wire.ParseNotification(m.Body)
		}
	}
}

// asPeer is the rogue as the speaker's configuration has it.
func (r *rogue) asPeer() bgp.Peer {
	addr := r.listener.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	return bgp.Peer{Name: r.peer, Address: addr, ASN: torASN, HoldTime: 3 * time.Second, ConnectRetry: time.Second}
}
