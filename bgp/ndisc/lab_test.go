package ndisc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"go.uber.org/goleak"
	"golang.org/x/net/ipv6"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a node with one interface, eth0, to p0 of a router.
type lab struct {
	*testing.T
	node, tor *fixture.Netns
	d         *Discoverer
	log       lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newLab(t *testing.T) *lab {
	l := &lab{T: t, node: fixture.NewNetns(t, "node"), tor: fixture.NewNetns(t, "tor")}
	fixture.Link(t, l.node, "eth0", l.tor, "p0", fixture.LinkOptions{})
	l.d = l.discoverer()
	return l
}

// discoverer has one that does in a second what takes half a minute, and runs until the test ends.
func (l *lab) discoverer() *Discoverer {
	d := New(slog.New(slog.NewTextHandler(&l.log, nil)))
	d.times = times{silence: 2 * time.Second, interval: 500 * time.Millisecond, minDelay: 100 * time.Millisecond, tick: 100 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.node.Do(func() error { return d.Run(ctx) }) }()
	l.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.Errorf("Run: %v", err)
		}
		if l.Failed() {
			l.Log(l.log.String())
		}
	})
	return d
}

func (l *lab) sync(d *Discoverer, interfaces ...string) error {
	return l.node.Do(func() error { return d.Sync(context.Background(), interfaces) })
}

// linkLocal waits for the link-local address of an interface, which has the zone of the node's.
func (l *lab) linkLocal(n *fixture.Netns, name, zone string) (addr netip.Addr) {
	l.Helper()
	fixture.Wait(l, 5*time.Second, "link-local address of "+name, func() error {
		return n.Do(func() error {
			dev, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			all, err := addresses(dev)
			for _, a := range all {
				if a.IsLinkLocalUnicast() {
					addr = a.WithZone(zone)
				}
			}
			if !addr.IsValid() && err == nil {
				err = errors.New("none")
			}
			return err
		})
	})
	return addr
}

// becomes waits for the router on eth0; an invalid one is none.
func (l *lab) becomes(what string, want netip.Addr) {
	l.Helper()
	fixture.Wait(l, 20*time.Second, what, func() error {
		if got, known := l.d.Router("eth0"); got != want || known != want.IsValid() {
			return fmt.Errorf("the router is %s, want %s", got, want)
		}
		return nil
	})
}

// says sends an advertisement from an address of the router, which is added to p0 first.
func (l *lab) says(from string, hops int) {
	l.Helper()
	if _, err := l.tor.Output("ip", "-6", "addr", "replace", from+"/64", "dev", "p0", "nodad"); err != nil {
		l.Fatal(err)
	}
	err := l.tor.Do(func() error {
		dev, err := net.InterfaceByName("p0")
		if err != nil {
			return err
		}
		conn, addr, err := ndp.Listen(byNumber(dev), ndp.Addr(from))
		if err != nil {
			return err
		}
		cm := &ipv6.ControlMessage{HopLimit: hops, Src: addr.AsSlice(), IfIndex: dev.Index}
		return errors.Join(conn.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: time.Hour}, cm, allNodes), conn.Close())
	})
	if err != nil {
		l.Fatalf("advertisement from %s: %v", from, err)
	}
}

// listen opens a socket of the router that receives what a router does.
func (l *lab) listen() (conn *ndp.Conn) {
	l.Helper()
	if err := l.tor.Do(func() error {
		tor, err := openLink("p0", l.d.times)
		if err == nil {
			conn = tor.conn
		}
		return err
	}); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = conn.Close() })
	return conn
}

// receives returns the next message from an address.
func (l *lab) receives(conn *ndp.Conn, from netip.Addr) ndp.Message {
	l.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		l.Fatal(err)
	}
	for {
		m, cm, addr, err := conn.ReadFrom()
		if err != nil {
			l.Fatalf("receive: %v", err)
		}
		if addr.WithZone("") == from.WithZone("") && cm.HopLimit == ndp.HopLimit {
			return m
		}
	}
}

func (l *lab) mac(n *fixture.Netns, name string) (mac net.HardwareAddr) {
	l.Helper()
	if err := n.Do(func() error {
		dev, err := net.InterfaceByName(name)
		if err == nil {
			mac = dev.HardwareAddr
		}
		return err
	}); err != nil {
		l.Fatal(err)
	}
	return mac
}

func (l *lab) logs(text string) {
	l.Helper()
	fixture.Wait(l, 10*time.Second, "the log", func() error {
		if !strings.Contains(l.log.String(), text) {
			return fmt.Errorf("no %s", text)
		}
		return nil
	})
}
