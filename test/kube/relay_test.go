package kube

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

// relayed is where each host has the API server, which listens on the test's own 127.0.0.1.
var relayed = netip.MustParseAddrPort("127.0.0.1:6443")

// relay carries TCP connections from a host's loopback to the API server.
type relay struct {
	target string
	mu     sync.Mutex
	flows  *sync.Cond // on mu: cut has changed
	cut    bool
	conns  map[net.Conn]bool
	closed bool
}

func startRelay(t testing.TB, n *fixture.Netns, target string) *relay {
	t.Helper()
	r := &relay{target: target, conns: map[net.Conn]bool{}}
	r.flows = sync.NewCond(&r.mu)
	var ln net.Listener
	if err := n.Do(func() (err error) {
		ln, err = net.Listen("tcp", relayed.String())
		return err
	}); err != nil {
		t.Fatalf("relay in %s: %v", n.Host, err)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.carry(conn)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
		for c := range r.conns {
			c.Close()
		}
		r.flows.Broadcast()
	})
	return r
}

// Cut has nothing get through any more, in silence, as where a cable is pulled; false mends it.
func (r *relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	r.flows.Broadcast()
}

// pass waits while the relay is cut, and tells whether to go on.
func (r *relay) pass() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.cut && !r.closed {
		r.flows.Wait()
	}
	return !r.closed
}

// hold remembers conns so that they are closed at the end.
func (r *relay) hold(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.conns[c] = true
	}
	return !r.closed
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(r.conns, c)
	}
}

func (r *relay) carry(in net.Conn) {
	defer r.drop(in)
	if !r.hold(in) || !r.pass() {
		return
	}
	out, err := net.Dial("tcp", r.target)
	if err != nil {
		return // so it is refused, or nearly
	}
	defer r.drop(out)
	if !r.hold(out) {
		return
	}
	ended := make(chan struct{}, 2)
	go r.copy(out, in, ended)
	go r.copy(in, out, ended)
	<-ended
}

func (r *relay) copy(to, from net.Conn, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !r.pass() {
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
