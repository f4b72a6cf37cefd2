package cluster

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

// relay carries TCP connections in a namespace from one address to another, which may stop answering
// for a while.
func relay(tb testing.TB, n *fixture.Netns, from, to string) {
	tb.Helper()
	var l net.Listener
	if err := n.Do(func() (err error) {
		l, err = net.Listen("tcp", from)
		return err
	}); err != nil {
		tb.Fatalf("relay in %s: %v", n.Host, err)
	}
	var running sync.WaitGroup
	tb.Cleanup(func() { l.Close() })
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go carry(n, in, to)
		}
	})
}

func carry(n *fixture.Netns, in net.Conn, to string) {
	defer in.Close()
	var out net.Conn
	if err := n.Do(func() (err error) {
		out, err = net.Dial("tcp", to)
		return err
	}); err != nil {
		return // so it is refused, or nearly
	}
	defer out.Close()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(in, out)
}
