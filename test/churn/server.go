package churn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// server is the process in a pod. It keeps what a real one would lose with its
// flows: how many requests it saw of each.
type server struct {
	name  string
	drain time.Duration
	ended atomic.Int64 // when it was asked to end, Unix nanoseconds, 0: not
}

// serve answers on TCP and UDP of the port, on all addresses. When ctx ends it goes
// on, and over the time drain asks one flow after the other to close, but every
// stubborn one; it never returns by itself, as a pod's grace ends with SIGKILL.
func serve(ctx context.Context, name string, port uint16, drain time.Duration) error {
	s := &server{name: name, drain: drain}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		s.ended.Store(time.Now().UnixNano())
	}()
	failed := make(chan error, 2)
	go func() { failed <- s.datagrams(conn) }()
	go func() { failed <- s.accept(listener) }()
	return <-failed
}

func (s *server) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go s.stream(conn)
	}
}

// stream answers until the client closes. A wrong request ends it, which the client
// counts as a broken flow.
func (s *server) stream(conn net.Conn) {
	defer conn.Close()
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	var in [requestSize]byte
	var out [replySize]byte
	var first, count uint64
	for {
		if _, err := io.ReadFull(conn, in[:]); err != nil {
			return
		}
		r, err := parseRequest(&in)
		if err != nil {
			return
		}
		if count == 0 {
			first = r.seq
		}
		count++
		s.answer(r, first, count, client).put(&out)
		if _, err := conn.Write(out[:]); err != nil {
			return
		}
	}
}

// seen is what the server knows of a UDP flow.
type seen struct{ flow, first, last, count uint64 }

func (s *server) datagrams(conn *net.UDPConn) error {
	flows := map[netip.AddrPort]seen{}
	var in [requestSize]byte
	var out [replySize]byte
	for {
		n, client, err := conn.ReadFromUDPAddrPort(in[:])
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil || n != requestSize {
			continue // an ICMP error about an earlier answer
		}
		r, err := parseRequest(&in)
		if err != nil {
			continue
		}
		f, known := flows[client]
		if !known || f.flow != r.flow { // a new flow may have an old one's port
			f = seen{flow: r.flow, first: r.seq}
		}
		if r.seq > f.last { // not a repetition
			f.last = r.seq
			f.count++
		}
		flows[client] = f
		s.answer(r, f.first, f.count, client).put(&out)
		_, _ = conn.WriteToUDPAddrPort(out[:], client)
	}
}

func (s *server) answer(r request, first, count uint64, client netip.AddrPort) reply {
	return reply{
		request: r, first: first, count: count, pod: s.name, ending: s.ending(r.flow),
		client: netip.AddrPortFrom(client.Addr().Unmap(), client.Port()),
	}
}

// stubborn flows ignore that their pod is about to go.
func stubborn(flow uint64) bool { return flow%4 == 0 }

// ending tells whether it is the flow's turn to be asked to close.
func (s *server) ending(flow uint64) bool {
	since := s.ended.Load()
	if since == 0 || stubborn(flow) {
		return false
	}
	turn := s.drain * time.Duration(flow%16) / 16
	return time.Since(time.Unix(0, since)) >= turn
}
