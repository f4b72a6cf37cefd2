package probe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/bpf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	interval = 200 * time.Millisecond
	rtt      = 3 * time.Millisecond
)

var options = Options{Port: 6082, Interval: interval, Failures: 3, Recoveries: 5, FailOpen: 50}

var (
	a4 = netip.MustParseAddr("10.1.1.2")
	b4 = netip.MustParseAddr("10.1.2.2")
	c4 = netip.MustParseAddr("10.1.3.2")
	a6 = netip.MustParseAddr("fd00:1:1::2")
)

// network is what is between the prober and its nodes.
type network struct {
	mu      sync.Mutex
	answers map[netip.Addr]func(b []byte) []byte // what comes back; nil: nothing does
	absent  map[bool]error                       // families without a socket
	opened  int
	sendErr error
}

type fakeConn struct {
	*network
	in     chan datagram
	closed chan struct{}
	once   sync.Once
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

func (n *network) listen(ipv6 bool, _ uint16) (conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.absent[ipv6]; err != nil {
		return nil, err
	}
	n.opened++
	return &fakeConn{network: n, in: make(chan datagram, 100), closed: make(chan struct{})}, nil
}

func (c *fakeConn) send(b []byte, _ netip.Addr, to netip.AddrPort) error {
	c.mu.Lock()
	answer, err := c.answers[to.Addr()], c.sendErr
	c.mu.Unlock()
	if answer == nil || err != nil {
		return err
	}
	if reply := answer(append([]byte{}, b...)); reply != nil {
		time.AfterFunc(rtt, func() { c.in <- datagram{reply, to} })
	}
	return nil
}

func (c *fakeConn) receive(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(b, d.b), d.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// bounce is what the program on an ingress node does.
func bounce(b []byte) []byte {
	b[flagsAt] |= flagBounce
	return b
}

// set makes nodes answer in that way.
func (n *network) set(answer func([]byte) []byte, nodes ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range nodes {
		n.answers[a] = answer
	}
}

// start runs a prober of the nodes on synctest's clock until the test ends.
func start(t *testing.T, nodes ...netip.Addr) (*Prober, *network) {
	n := &network{answers: map[netip.Addr]func([]byte) []byte{}, absent: map[bool]error{}}
	p := New(options, slog.New(slog.DiscardHandler))
	p.listen = n.listen
	n.set(bounce, nodes...)
	p.Set(named(nodes...))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p, n
}

func named(nodes ...netip.Addr) (list []Target) {
	for _, a := range nodes {
		list = append(list, Target{Name: "node-" + a.String(), Addr: a})
	}
	return list
}

// states are those of all nodes, in their order.
func states(p *Prober) (list []State) {
	for _, n := range p.Nodes() {
		list = append(list, n.State)
	}
	return list
}

func is(t *testing.T, what string, p *Prober, want ...State) {
	t.Helper()
	if d := cmp.Diff(want, states(p)); d != "" {
		t.Errorf("%s: want -, got +\n%s", what, d)
	}
}

func rest(d time.Duration) {
	time.Sleep(d) // synctest's clock
	synctest.Wait()
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t, a4, a6)
		began := time.Now()
		p.Await(t.Context())
		if took := time.Since(began); took > 2*rtt {
			t.Errorf("known after %s", took)
		}
		is(t, "after one answer", p, Alive, Alive)
		rest(10 * time.Second)
		is(t, "later", p, Alive, Alive)
		if node := p.Nodes()[0]; node.RTT != rtt.Seconds() || node.Answered < 49 {
			t.Errorf("node %+v", node)
		}

		n.set(nil, a4)
		died := time.Now()
		for len(p.Result().Dead) == 0 && time.Since(died) < time.Minute {
			<-p.Changed()
		}
		if took := time.Since(died); took > time.Second {
			t.Errorf("dead after %s", took)
		}
		is(t, "one without answers", p, Dead, Alive)

		n.set(bounce, a4)
		rest(4 * interval)
		is(t, "after fewer answers than it needs", p, Dead, Alive)
		rest(3 * interval)
		is(t, "after more", p, Alive, Alive)
	})
}

func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t, a4)
		n.set(nil, b4)
		if !p.Set(named(a4, b4)) {
			t.Error("a new node is not fresh")
		}
		p.Await(t.Context())
		is(t, "a node that never answered", p, Alive, Silent)
		if r := p.Result(); len(r.Dead) > 0 || !r.Answering[a4] || r.Answering[b4] || r.Open {
			t.Errorf("result %+v", r)
		}
		if why := p.Nodes()[1].Reason; !strings.Contains(why, "none of") {
			t.Errorf("reason %q", why)
		}
		if p.Set(named(a4, b4)) {
			t.Error("nodes of which something is known are fresh")
		}
		n.set(bounce, b4)
		rest(7 * interval)
		is(t, "once it answers", p, Alive, Alive)
		p.Set(named(b4))
		is(t, "one is not asked any more", p, Alive)
	})
}

// TestUsed: where flows were sent to a node before, its silence is that of the dead.
func TestUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t, c4, a6)
		n.set(nil, a4, b4)
		used := named(a4, b4, c4, a6)
		used[0].Used = true
		p.Set(used)
		p.Await(t.Context())
		is(t, "one of two was used before", p, Dead, Silent, Alive, Alive)
		if r := p.Result(); len(r.Dead) != 1 || r.Dead[a4].IsZero() {
			t.Errorf("result %+v", r)
		}
		used[1].Used = true
		p.Set(used)
		rest(2 * interval)
		is(t, "then the other as well", p, Dead, Dead, Alive, Alive)
		n.set(bounce, a4, b4)
		rest(7 * interval)
		is(t, "both answer", p, Alive, Alive, Alive, Alive)
	})
}

// TestFlapping sees a node that dies again and again stay away longer each time,
// up to a minute, and be forgiven once it has been steady.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t, a4, b4, c4)
		p.Await(t.Context())
		away := func() time.Duration {
			t.Helper()
			n.set(nil, a4)
			rest(time.Second)
			is(t, "without answers", p, Dead, Alive, Alive)
			n.set(bounce, a4)
			began := time.Now()
			for p.Nodes()[0].State != Alive && time.Since(began) < 2*longestHold {
				rest(interval)
			}
			return time.Since(began)
		}
		last := time.Duration(0)
		for i := range 4 {
			if d := away(); d < 2*last-3*interval {
				t.Errorf("death %d: away for %s after %s", i, d, last)
			} else {
				last = d
			}
		}
		for range 8 {
			last = away()
		}
		if last > longestHold+2*interval || last < longestHold-2*interval {
			t.Errorf("in the end away for %s", last)
		}
		rest(steadyAfter)
		if d := away(); d > 7*interval {
			t.Errorf("away for %s although it was steady", d)
		}
	})
}

func TestFailOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t, a4, b4, c4, a6)
		p.Await(t.Context())
		n.set(nil, a4, b4)
		rest(time.Second)
		if r := p.Result(); len(r.Dead) != 2 || r.Open || len(r.Answering) != 2 {
			t.Errorf("half of them: %+v", r)
		}
		n.set(nil, c4)
		rest(time.Second)
		if r := p.Result(); len(r.Dead) != 0 || !r.Open || len(r.Answering) != 4 {
			t.Errorf("most of them: %+v", r)
		}
		is(t, "each by itself", p, Dead, Dead, Dead, Alive)
		n.set(bounce, b4)
		rest(20 * interval)
		if r := p.Result(); len(r.Dead) != 2 || r.Open {
			t.Errorf("half of them again: %+v", r)
		}
	})
}

func TestForgery(t *testing.T) {
	for name, forge := range map[string]func([]byte) []byte{
		"another nonce":   func(b []byte) []byte { b[12]++; return bounce(b) },
		"not bounced":     func(b []byte) []byte { return b },
		"ACCEPT as well":  func(b []byte) []byte { b[flagsAt] |= 1; return bounce(b) },
		"too short":       func(b []byte) []byte { return bounce(b)[:wireSize-4] },
		"something added": func(b []byte) []byte { return append(bounce(b), 0) },
		"another class":   func(b []byte) []byte { b[8]++; return bounce(b) },
		"nothing":         func([]byte) []byte { return []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, n := start(t)
				n.set(forge, a4)
				p.Set(named(a4))
				p.Await(t.Context())
				is(t, "a forged answer", p, Silent)
			})
		})
	}
	t.Run("from another node, and twice", func(t *testing.T) {
		n := newTrack(Target{Addr: a4}, &options)
		asked := n.ask(time.Now())
		p := New(options, slog.New(slog.DiscardHandler))
		p.tracks[a4] = n
		p.take(b4, asked, time.Now())
		if n.State != Unknown {
			t.Error("an answer from another address counted")
		}
		if !n.answer(asked, time.Now()) || n.answer(asked, time.Now()) {
			t.Error("want one answer to count, and once")
		}
	})
}

// TestLateness: answers may take several intervals, and a process that did not run for a
// while judges nobody for it.
func TestLateness(t *testing.T) {
	p := New(options, slog.New(slog.DiscardHandler))
	p.Set(named(a4))
	at := time.Now()
	p.begin(at, true)
	p.take(a4, p.tracks[a4].asked[0].nonce, at)
	for range 20 { // half a minute each
		at = at.Add(30 * time.Second)
		answered := p.tracks[a4].asked[(p.tracks[a4].turn-1)%outstanding].nonce
		p.begin(at, false)
		p.take(a4, answered, at)
	}
	is(t, "in a process that hardly runs", p, Alive)
	for range 8 {
		at = at.Add(30 * time.Second)
		p.begin(at, false)
	}
	is(t, "in one that hardly runs, without answers", p, Dead)
	slow := newTrack(Target{Addr: a4}, &options)
	now := time.Now()
	var asked []nonce
	for i := range 20 {
		asked = append(asked, slow.ask(now))
		if i >= 6 {
			slow.answer(asked[i-6], now)
		}
		now = now.Add(interval)
		slow.close(now)
		if i > 20-4 && slow.State != Alive {
			t.Errorf("a node with answers after 1.2 s is %s in round %d", slow.State, i)
		}
	}
}

func TestSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, n := start(t)
		n.absent[true] = errors.New("no IPv6 here")
		n.set(bounce, a4, a6)
		p.Set(named(a4, a6))
		p.Await(t.Context())
		is(t, "one family has no socket", p, Alive, Silent)
		if err := p.Err(); err == nil || !strings.Contains(p.Nodes()[1].Reason, "no IPv6 here") {
			t.Errorf("error %v, node %+v", err, p.Nodes()[1])
		}
		n.mu.Lock()
		delete(n.absent, true)
		n.mu.Unlock()
		rest(8 * interval)
		is(t, "it has one again", p, Alive, Alive)
		if err := p.Err(); err != nil {
			t.Error(err)
		}
		n.mu.Lock()
		n.sendErr = errors.New("network is unreachable")
		n.mu.Unlock()
		rest(time.Second)
		if nodes := p.Nodes(); !strings.Contains(nodes[0].Reason, "cannot be sent: network") {
			t.Errorf("node %+v", nodes[0])
		}
	})
}

func TestRealSockets(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		c, err := listenUDP(ipv6, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		to := c.(*socket).LocalAddr().(*net.UDPAddr).AddrPort()
		loop := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
		sources := []netip.Addr{{}, netip.MustParseAddr("127.0.0.7")}
		if ipv6 {
			loop = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
			sources[1] = netip.IPv6Loopback()
		}
		for _, source := range sources {
			sent := newNonce()
			if err := c.send(bounce(request(sent)), source, loop); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			size, from, err := c.receive(buf)
			if err != nil || source.IsValid() && from.Addr() != source {
				t.Fatalf("from %s, want %s: %v", from, source, err)
			}
			if got, ok := parseAnswer(buf[:size]); !ok || got != sent {
				t.Errorf("an answer was not read as one")
			}
		}
		foreign := netip.MustParseAddr("192.0.2.1")
		if ipv6 {
			foreign = netip.MustParseAddr("2001:db8::1")
		}
		if err := c.send(request(nonce{}), foreign, loop); err == nil {
			t.Errorf("sent from %s, which is not this node's", foreign)
		}
	}
	taken, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := listenUDP(false, taken.LocalAddr().(*net.UDPAddr).AddrPort().Port()); err == nil || !strings.Contains(err.Error(), "set tunnel.port") {
		t.Errorf("a taken port: %v", err)
	}
}

// TestConstants compares with the programs' header.
func TestConstants(t *testing.T) {
	text, err := bpf.Sources.ReadFile("types.h")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		`#define TUNNEL_CLASS (\S+)`: class, `#define TUNNEL_TYPE\s+(\S+)`: optionType,
		`TUNNEL_BOUNCE = 1 << (\d)`: 1, `TUNNEL_PROBE = 1 << (\d)`: 2,
	} {
		m := regexp.MustCompile(name).FindSubmatch(text)
		if m == nil {
			t.Fatalf("types.h has no %s", name)
		}
		if got, err := strconv.ParseInt(string(m[1]), 0, 32); err != nil || int(got) != want {
			t.Errorf("%s is %s, want %#x", name, m[1], want)
		}
	}
}
