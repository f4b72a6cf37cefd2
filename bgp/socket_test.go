package bgp

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConnectError(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
	timeout := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	_, late := (&net.Dialer{Deadline: time.Unix(1, 0)}).DialContext(t.Context(), "tcp", "127.0.0.1:1") // another kind
	for _, c := range []struct {
		err      error
		password bool
		want     string
	}{
		{refused, false, "connect: connection refused"},
		{refused, true, "connect: connection refused"},
		{timeout, false, "connect: i/o timeout"},
		{timeout, true, "connect: i/o timeout (routers do not answer if the password differs)"},
		{late, true, "connect: i/o timeout (routers do not answer if the password differs)"},
		{errors.New("anything"), false, "connect: anything"},
	} {
		if got := connectError(c.err, c.password).Error(); got != c.want {
			t.Errorf("%v, password %v: %q, want %q", c.err, c.password, got, c.want)
		}
	}
}

// A socket of another process on the loopback is not let in: a child that has the connection's other
// end stands for it.
func TestInnerPortIsOurs(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := ours(conn.(*net.TCPConn)); err != nil {
			t.Errorf("%s: our own connection: %v", addr, err)
		}
		child := passOn(t, client.(*net.TCPConn))
		if err := ours(conn.(*net.TCPConn)); err == nil {
			t.Errorf("%s: another process's connection passes for ours", addr)
		}
		child()
	}
}

// passOn leaves a connection to a child process alone, and returns what ends that.
func passOn(t *testing.T, conn *net.TCPConn) (end func()) {
	t.Helper()
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{Files: []*os.File{f}})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	conn.Close()
	return func() {
		_ = p.Signal(syscall.SIGKILL)
		_, _ = p.Wait()
	}
}
