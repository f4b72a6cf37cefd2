package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// keptAlive is one connection to the web tier.
type keptAlive struct {
	net.Conn
	from    *bufio.Reader
	pending int // requests without an answer so far
}

func keepAlive(t *testing.T, l *lab.Lab, vip netip.Addr) *keptAlive {
	t.Helper()
	conn, err := l.Client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(vip, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &keptAlive{Conn: conn, from: bufio.NewReader(conn)}
}

func (c *keptAlive) ask() error {
	c.pending++
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
	return err
}

// answers reads what is pending. Its error is os.ErrDeadlineExceeded if there is silence
// for so long.
func (c *keptAlive) answers(within time.Duration) error {
	for ; c.pending > 0; c.pending-- {
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		r, err := http.ReadResponse(c.from, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		if r.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

// silence waits until the connection gets no answer any more, and makes sure that it
// stays so.
func (c *keptAlive) silence(t *testing.T) {
	t.Helper()
	fixture.Wait(t, 20*time.Second, "an edit cuts the flow", func() error {
		if err := c.ask(); err != nil {
			t.Fatal(err)
		}
		switch err := c.answers(300 * time.Millisecond); {
		case err == nil:
			return errors.New("it still has answers")
		case !errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("the flow has ended: %v", err)
		}
		return nil
	})
	if err := c.answers(2 * time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after silence: %v", err)
	}
}

// TestSourceRanges edits the ranges of clients that a Service is for, under a connection:
// it stops at once, whichever way it goes, and goes on when it may.
func TestSourceRanges(t *testing.T) {
	const others, annotation = "203.0.113.0/24,2001:db8:77::/48", "service.beta.kubernetes.io/load-balancer-source-ranges"
	l, c := tunnelSite(t, lab.Options{})
	for _, g := range l.Ingress {
		g.StartAgent(t)
	}
	b := l.LBs[0]
	mine := fmt.Sprintf("%s/32, %s/128", lab.Client4, lab.Client6)
	restrict := func(ranges, forwarding string) {
		c.Annots = map[string]string{annotation: ranges, "penstock.dev/forwarding": forwarding}
		l.ApplyCluster(t, c)
	}
	restrict(mine, "dsr")
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	nodeStates(t, b, "alive alive")
	for _, way := range []string{"dsr", "nat"} {
		restrict(mine, way)
		fixture.Wait(t, 20*time.Second, "backends by "+way, func() error {
			for _, mode := range modes(t, b) {
				if mode[:3] != way {
					return fmt.Errorf("a backend is %s", mode)
				}
			}
			return nil
		})
		conns := map[string]*keptAlive{}
		for family, vip := range vips {
			conns[family] = keepAlive(t, l, vip)
			if err := errors.Join(conns[family].ask(), conns[family].answers(10*time.Second)); err != nil {
				t.Fatalf("%s, %s: %v", way, family, err)
			}
		}
		before := verdicts(t, b)
		restrict(others, way)
		for _, conn := range conns {
			conn.silence(t)
		}
		if after := verdicts(t, b)["drop_source_range"]; after <= before["drop_source_range"] {
			t.Errorf("%s: drop_source_range went from %d to %d", way, before["drop_source_range"], after)
		}
		for _, vip := range vips {
			if _, err := l.Client.Output("curl", "-sS", "--max-time", "1", url(vip, 80, "/")); err == nil {
				t.Errorf("%s: %s answers a client that it is not for", way, vip)
			}
			if _, err := l.Client.Output("ping", "-c", "1", "-W", "5", vip.String()); err != nil {
				t.Errorf("%s: a ping is for the address: %v", way, err)
			}
		}
		restrict(mine+","+others, way)
		for family, conn := range conns { // what was lost is sent again
			if err := conn.answers(20 * time.Second); err != nil {
				t.Errorf("%s, %s: the flow does not go on: %v", way, family, err)
			}
		}
	}
}
