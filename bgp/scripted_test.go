package bgp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
	"github.com/penstock-lb/penstock/test/fixture"
)

// loopbacks are where scripted routers are, by family.
var loopbacks = map[bgp.Family]string{bgp.IPv4: "127.0.0.1", bgp.IPv6: "::1"}

// scripted is a router on the loopback that says what a test has it say.
type scripted struct {
	*net.TCPListener
	family bgp.Family
}

func newScripted(t *testing.T, family bgp.Family) scripted {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopbacks[family], "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return scripted{l.(*net.TCPListener), family}
}

// takesLittle has the router's connections to come hold no more of what it does not read than they must.
func (r scripted) takesLittle(t *testing.T) {
	t.Helper()
	c, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// peer is the router as the speaker has it.
func (r scripted) peer() bgp.Peer {
	at := r.Addr().(*net.TCPAddr).AddrPort()
	return bgp.Peer{Name: "tor", Address: at.Addr(), Port: at.Port(), ASN: torASN, HoldTime: 9 * time.Second, ConnectRetry: time.Second}
}

// establish takes the speaker's next connection and brings a session up.
func (r scripted) establish(t *testing.T) net.Conn {
	t.Helper()
	if err := r.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := r.Accept()
	if err != nil {
		t.Fatalf("the speaker does not connect: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	r.greet(t, conn)
	return conn
}

// greet says OPEN and agrees.
func (r scripted) greet(t *testing.T, conn net.Conn) {
	t.Helper()
	afi := byte(1)
	if r.family == bgp.IPv6 {
		afi = 2
	}
	open := wire.Open{AS: torASN, HoldTime: 9, ID: netip.MustParseAddr("192.0.2.200"), Capabilities: []wire.Capability{
		{Code: wire.CapMultiprotocol, Value: []byte{0, afi, 0, 1}}, {Code: wire.CapRouteRefresh},
		{Code: wire.CapFourOctetAS, Value: binary.BigEndian.AppendUint32(nil, torASN)},
	}}
	write(t, conn, open.Message(), wire.Keepalive)
}

func write(t *testing.T, conn net.Conn, messages ...wire.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := conn.Write(m.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
}

// keepAlive keeps a session up until it ends or ctx does.
func keepAlive(ctx context.Context, conn net.Conn) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := conn.Write(wire.Keepalive.Bytes()); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// notification reads until the speaker ends the session, and says how.
func notification(t *testing.T, conn net.Conn) wire.Notification {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := wire.Read(conn)
		if err != nil {
			t.Fatalf("wait for a NOTIFICATION: %v", err)
		}
		if m.Type == wire.TypeNotification {
			return wire.ParseNotification(m.Body)
		}
	}
}

// inProcess is a speaker of this process, with paths of both families. Passive peers connect to listenPort.
func inProcess(t *testing.T, listenPort uint16, peers ...bgp.Peer) *bgp.Speaker {
	t.Helper()
	s, err := bgp.New(bgp.Config{ASN: lbASN, RouterID: netip.MustParseAddr("192.0.2.1"), ListenPort: listenPort, Peers: peers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context(), paths(vipA4, vipA6)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(s.Stop(context.Background(), bgp.StopDrain, ""), <-ended); err != nil {
			t.Errorf("end: %v", err)
		}
	})
	return s
}

func waitState(t *testing.T, s *bgp.Speaker, want bgp.SessionState) {
	t.Helper()
	fixture.Wait(t, 30*time.Second, fmt.Sprintf("state %s", want), func() error {
		if got := s.Peers()[0]; got.State != want {
			return fmt.Errorf("%s, %q", got.State, got.DownReason)
		}
		return nil
	})
}

// networks is an UPDATE with so many networks of no attributes, which count nevertheless.
func networks(family bgp.Family, n int) wire.Message {
	var nlri []byte
	for i := range n {
		nlri = append(nlri, 16, 32, byte(i))
	}
	if family == bgp.IPv4 {
		return wire.Message{Type: wire.TypeUpdate, Body: append([]byte{0, 0, 0, 0}, nlri...)}
	}
	reach := append([]byte{0, 2, 1, 0, 0}, nlri...) // no next hop
	attrs := append([]byte{0x80, 14, byte(len(reach))}, reach...)
	return wire.Message{Type: wire.TypeUpdate, Body: append([]byte{0, 0, 0, byte(len(attrs))}, attrs...)}
}

// Who raises the limit, or the router's time out of the session, need not wait for the old one.
func TestMaxPrefixesIsEdited(t *testing.T) {
	t.Parallel()
	for family := range loopbacks {
		for name, edit := range map[string]func(*bgp.Peer){
			"raised":       func(p *bgp.Peer) { p.MaxPrefixes = 10 },
			"removed":      func(p *bgp.Peer) { p.MaxPrefixes = 0 },
			"less time":    func(p *bgp.Peer) { p.MaxPrefixesRestart = time.Second },
			"another peer": func(p *bgp.Peer) { p.Name = "tor2" },
		} {
			t.Run(name+" "+string(family), func(t *testing.T) {
				t.Parallel()
				r := newScripted(t, family)
				peer := r.peer()
				peer.MaxPrefixes = 2
				s := inProcess(t, 0, peer)
				conn := r.establish(t)
				waitState(t, s, bgp.Established)
				write(t, conn, networks(family, 3))
				if n := notification(t, conn); n.Code != wire.ErrCease || n.Subcode != wire.CeaseMaxPrefixes {
					t.Fatalf("the speaker says %s", n)
				}
				waitState(t, s, bgp.Idle)
				edit(&peer)
				if err := s.SetPeers(t.Context(), []bgp.Peer{peer}); err != nil {
					t.Fatal(err)
				}
				r.establish(t)
				waitState(t, s, bgp.Established)
			})
		}
	}
}

// knock opens a connection to a speaker's listener as the router.
func (r scripted) knock(t *testing.T, port uint16) net.Conn {
	t.Helper()
	var conn net.Conn
	fixture.Wait(t, 10*time.Second, "the listener", func() (err error) {
		conn, err = net.Dial("tcp", net.JoinHostPort(loopbacks[r.family], fmt.Sprint(port)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A connection from the router's address that says nothing, or nonsense, ends no session; one that says
// OPEN takes its place.
func TestPassivePeerIsKnockedAt(t *testing.T) {
	t.Parallel()
	for family := range loopbacks {
		t.Run(string(family), func(t *testing.T) {
			t.Parallel()
			r := newScripted(t, family)
			peer := r.peer()
			port := peer.Port
			r.Close()
			peer.Port, peer.Passive, peer.LocalAddress = 0, true, peer.Address
			s := inProcess(t, port, peer)
			first := r.knock(t, port)
			r.greet(t, first)
			waitState(t, s, bgp.Established)
			since := s.Peers()[0].Since

			r.knock(t, port).Close()
			silent := r.knock(t, port)
			for _, said := range [][]byte{[]byte("GET / HTTP/1.1\r\nHost: lb1\r\n\r\n"), wire.Keepalive.Bytes(), {0xff}} {
				conn := r.knock(t, port)
				if _, err := conn.Write(said); err != nil {
					t.Fatal(err)
				}
				closed(t, conn)
			}
			closed(t, silent)
			if got := s.Peers()[0]; got.State != bgp.Established || !got.Since.Equal(since) {
				t.Fatalf("the session is disturbed: %+v", got)
			}

			second := r.knock(t, port)
			r.greet(t, second)
			closed(t, first)
			fixture.Wait(t, 30*time.Second, "the session of the second connection", func() error {
				if got := s.Peers()[0]; got.State != bgp.Established || got.Since.Equal(since) {
					return fmt.Errorf("%s since %s, %q", got.State, got.Since, got.DownReason)
				}
				return nil
			})
		})
	}
}

// closed waits until the speaker has closed a connection.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the speaker does not close the connection")
	}
}

// A port that another daemon has costs passive peers alone, until it is free.
func TestPassivePeerWithoutAPort(t *testing.T) {
	t.Parallel()
	for family := range loopbacks {
		t.Run(string(family), func(t *testing.T) {
			t.Parallel()
			other, r := newScripted(t, family), newScripted(t, family)
			active, passive := r.peer(), other.peer()
			port := passive.Port
			active.Name, passive.Name = "active", "passive"
			active.Address = map[bgp.Family]netip.Addr{bgp.IPv4: netip.MustParseAddr("127.0.0.1"), bgp.IPv6: netip.MustParseAddr("::1")}[family]
			passive.Address = map[bgp.Family]netip.Addr{bgp.IPv4: netip.MustParseAddr("127.0.0.2"), bgp.IPv6: netip.MustParseAddr("::2")}[family]
			passive.Port, passive.Passive, passive.LocalAddress = 0, true, active.Address
			s := inProcess(t, port, active, passive) // fails the test if Sync has an error
			r.establish(t)
			waitState(t, s, bgp.Established)
			if got := s.Peers()[1]; !strings.Contains(got.DownReason, "another BGP daemon has the port") {
				t.Errorf("the passive peer: %+v", got)
			}
			other.Close()
			fixture.Wait(t, 30*time.Second, "the listener", func() error {
				conn, err := net.Dial("tcp", net.JoinHostPort(loopbacks[family], fmt.Sprint(port)))
				if err == nil {
					conn.Close()
				}
				return err
			})
		})
	}
}
