package bfd_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/test/fixture"
)

// lab is an LB node and a router, next to each other or with a hop between them. The node has host 2 of
// 10.1.1.0/24, fd00:1::/64 and fe80::/64, its interface is eth0. The router's interface is lb.
type lab struct {
	lb, tor *fixture.Netns
}

// path is how the node reaches the router.
type path struct {
	name          string
	router, local string
	multihop      bool
	minTTL        uint8
	device        string
}

var paths = []path{
	{name: "IPv4", router: "10.1.1.1", local: "10.1.1.2"},
	{name: "IPv6", router: "fd00:1::1", local: "fd00:1::2"},
	{name: "link-local", router: "fe80::1", local: "fe80::2", device: "eth0"},
	{name: "multihop IPv4", router: "10.2.1.1", local: "10.1.1.2", multihop: true},
	{name: "multihop IPv6", router: "fd00:2::1", local: "fd00:1::2", multihop: true},
}

func newLab(t *testing.T, p path) *lab {
	t.Helper()
	host := func(name string) *fixture.Netns {
		n := fixture.NewNetns(t, name)
		if !p.multihop {
			// No link-local address but ours. A router needs one of its own: it asks for neighbours from it.
			n.Sysctl(t, "net.ipv6.conf.default.addr_gen_mode", "1")
		}
		return n
	}
	l := &lab{lb: host("lb"), tor: host("tor")}
	next := l.tor
	if p.multihop {
		next = host("mid")
		next.Forward(t)
		fixture.Link(t, next, "tor", l.tor, "lb", fixture.LinkOptions{
			AddrsA: []string{"10.2.1.2/24", "fd00:2::2/64"}, AddrsB: []string{"10.2.1.1/24", "fd00:2::1/64"},
		})
	}
	fixture.Link(t, next, "lb", l.lb, "eth0", fixture.LinkOptions{
		AddrsA: []string{"10.1.1.1/24", "fd00:1::1/64", "fe80::1/64"}, AddrsB: []string{"10.1.1.2/24", "fd00:1::2/64", "fe80::2/64"},
	})
	if p.multihop {
		l.lb.AddRoute(t, "default", "10.1.1.1")
		l.lb.AddRoute(t, "default6", "fd00:1::1")
		l.tor.AddRoute(t, "default", "10.2.1.2")
		l.tor.AddRoute(t, "default6", "fd00:2::2")
	}
	return l
}

func (p path) session(interval time.Duration) bfd.Session {
	return bfd.Session{
		Name: "tor", Peer: netip.MustParseAddr(p.router), Multihop: p.multihop, MinTTL: p.minTTL,
		Interface: p.device, MinTx: interval, MinRx: interval, Multiplier: 3,
	}
}

// cut drops BFD packets in both directions in the router's namespace; heal lets them pass again.
func (l *lab) cut(t *testing.T) {
	t.Helper()
	l.tor.Run(t, "nft", `add table inet cut
		add chain inet cut in { type filter hook input priority 0; }
		add chain inet cut out { type filter hook output priority 0; }
		add rule inet cut in udp dport { 3784, 4784 } drop
		add rule inet cut out udp dport { 3784, 4784 } drop`)
}

func (l *lab) heal(t *testing.T) {
	t.Helper()
	l.tor.Run(t, "nft", "delete table inet cut")
}

// router is the other side, FRR's or BIRD's.
type router interface {
	Signal(tb fixture.TB, sig os.Signal)
	Stop(tb fixture.TB)
	Restart(tb fixture.TB)
	// session returns the state that the router sees, in lower case, and the diagnostic it got if it
	// shows that.
	session() (state, remoteDiag string, err error)
}

type frr struct {
	*fixture.FRR
	peer string // the configuration's line
}

func startFRR(t *testing.T, l *lab, p path, interval time.Duration) router {
	t.Helper()
	peer := fmt.Sprintf("peer %s local-address %s interface lb", p.local, p.router)
	if p.multihop {
		peer = fmt.Sprintf("peer %s multihop local-address %s", p.local, p.router)
	}
	return frr{fixture.StartFRR(t, l.tor, fmt.Sprintf("bfd\n %s\n  detect-multiplier 3\n  receive-interval %[2]d\n  transmit-interval %[2]d\n  no shutdown\n",
		peer, interval.Milliseconds()), "bfdd"), peer}
}

// configure changes a line of the peer's configuration.
func (f frr) configure(t *testing.T, line string) {
	t.Helper()
	f.Configure(t, fmt.Sprintf("bfd\n %s\n  %s\n", f.peer, line))
}

func (f frr) session() (state, remoteDiag string, err error) {
	var peers []struct {
		Status     string
		RemoteDiag string `json:"remote-diagnostic"`
	}
	if err := f.Query("show bfd peers json", &peers); err != nil {
		return "", "", err
	}
	if len(peers) != 1 {
		return "", "", fmt.Errorf("FRR has %d BFD peers", len(peers))
	}
	return peers[0].Status, peers[0].RemoteDiag, nil
}

type bird struct{ *fixture.BIRD }

func startBIRD(t *testing.T, l *lab, p path, interval time.Duration) router {
	t.Helper()
	kind, where := `interface "lb"`, `dev "lb"`
	if p.multihop {
		kind, where = "multihop", fmt.Sprintf("local %s multihop yes", p.router)
	}
	return bird{fixture.StartBIRD(t, l.tor, fmt.Sprintf(`router id 192.0.2.1;
protocol device { scan time 1; }
protocol bfd {
	%s { interval %d ms; multiplier 3; };
	neighbor %s %s;
}
`, kind, interval.Milliseconds(), p.local, where))}
}

func (b bird) session() (state, remoteDiag string, err error) {
	out, err := b.Birdc("show", "bfd", "sessions")
	if err != nil {
		return "", "", err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 4 {
		return "", "", fmt.Errorf("BIRD shows no session:\n%s", out)
	}
	return strings.ToLower(fields[2]), "", nil
}

// waitRouter waits until the router sees the session in a state.
func waitRouter(t *testing.T, r router, want string) {
	t.Helper()
	fixture.Wait(t, 20*time.Second, "the router to see the session "+want, func() error {
		state, diag, err := r.session()
		if err == nil && state != want {
			err = fmt.Errorf("it is %s, %s", state, diag)
		}
		return err
	})
}
