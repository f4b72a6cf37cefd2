package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// rig is what one cell of the matrix works with: a lab, its routers of one kind, and the session's
// addresses and the VIPs of one family.
type rig struct {
	*lab
	t      *testing.T
	kind   string
	family bgp.Family
	seen   []string // goes into the table
}

// build makes the networks of so many routers and nodes.
func (g *rig) build(tors, lbs int) *rig {
	g.t.Helper()
	g.lab = newLab(g.t, tors, lbs)
	return g
}

// note puts something measured into the table.
func (g *rig) note(format string, args ...any) { g.seen = append(g.seen, fmt.Sprintf(format, args...)) }

// at is a host's address on the link of a router and a node.
func (g *rig) at(tor, lb, host int) string {
	if g.family == bgp.IPv4 {
		return v4(tor, lb, host)
	}
	return v6(tor, lb, host)
}

// vip is the n-th VIP of the family, as a prefix.
func (g *rig) vip(n int) string {
	if g.family == bgp.IPv4 {
		return fmt.Sprintf("203.0.%d.%d/32", 113+n/250, 1+n%250)
	}
	return fmt.Sprintf("2001:db8::%x/128", 1+n)
}

func (g *rig) vips(n int) []string {
	var list []string
	for i := range n {
		list = append(list, g.vip(i))
	}
	return list
}

// other is a network that is none of ours, for routers to announce.
func (g *rig) other(n int) string {
	if g.family == bgp.IPv4 {
		return fmt.Sprintf("198.51.%d.%d/32", 100+n/250, n%250)
	}
	return fmt.Sprintf("2001:db8:99::%x/128", n)
}

func (g *rig) others(n int) []string {
	var list []string
	for i := range n {
		list = append(list, g.other(i))
	}
	return list
}

// peer is router tor as node lb has it.
func (g *rig) peer(tor, lb int) bgp.Peer {
	return bgp.Peer{
		Name: fmt.Sprintf("tor%d", tor), Address: netip.MustParseAddr(g.at(tor, lb, 1)), ASN: torASN,
		HoldTime: 3 * time.Second, ConnectRetry: time.Second,
	}
}

// config is node lb with a session to every router.
func (g *rig) config(lb int, edits ...func(*bgp.Peer)) bgp.Config {
	cfg := bgp.Config{ASN: lbASN, RouterID: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", lb))}
	for i := range g.tors {
		p := g.peer(i+1, lb)
		for _, edit := range edits {
			edit(&p)
		}
		cfg.Peers = append(cfg.Peers, p)
	}
	return cfg
}

// speaker starts node lb as config has it.
func (g *rig) speaker(lb int, edits ...func(*bgp.Peer)) *speaker {
	g.t.Helper()
	return startSpeaker(g.t, g.lbs[lb-1], g.config(lb, edits...))
}

// side is router tor with a neighbor for every node.
func (g *rig) side(tor int, edits ...func(*neighbor)) side {
	s := side{id: v4(tor, 1, 1), asn: torASN}
	for j := range g.lbs {
		n := neighbor{name: fmt.Sprintf("lb%d", j+1), addr: g.at(tor, j+1, 2), asn: lbASN}
		for _, edit := range edits {
			edit(&n)
		}
		s.neighbors = append(s.neighbors, n)
	}
	return s
}

// router starts router tor as side has it.
func (g *rig) router(tor int, edits ...func(*neighbor)) router {
	g.t.Helper()
	return g.start(tor, g.side(tor, edits...))
}

func (g *rig) start(tor int, s side) router {
	g.t.Helper()
	return startRouter(g.t, g.kind, g.tors[tor-1], s)
}

// leaves waits until router tor's kernel sends the VIP to exactly these devices.
func (g *rig) leaves(tor int, vip string, devs ...string) {
	g.t.Helper()
	waitFIB(g.t, g.tors[tor-1], vip, devs...)
}

// told waits until the router has been told exactly this of a prefix.
func (g *rig) told(r router, prefix string, want ...told) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("%s as %+v", prefix, want), func() error {
		got, err := r.told(prefix)
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("it is %+v", got)
		}
		return nil
	})
}

// says waits until the router says of a neighbor's last session what one of the words is in.
func (g *rig) says(r router, neighbor string, words ...string) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("the router to say one of %q", words), func() error {
		got, err := r.last(neighbor)
		if err != nil {
			return err
		}
		for _, w := range words {
			if strings.Contains(strings.ToLower(got), strings.ToLower(w)) {
				return nil
			}
		}
		return fmt.Errorf("it says %q", got)
	})
}

// down waits until a peer is not established for a reason with the word in it.
func (g *rig) down(s *speaker, peer, word string) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("%s down of %q", peer, word), func() error {
		if got := s.peer(peer); got.State == bgp.Established || !strings.Contains(got.DownReason, word) {
			return fmt.Errorf("%s, %q", got.State, got.DownReason)
		}
		return nil
	})
}

// lost waits until a peer's session has ended so many times, the last time for a reason with the word.
func (g *rig) lost(s *speaker, peer string, flaps uint32, cause bgp.Cause, word string) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("%s lost of %s, %q", peer, cause, word), func() error {
		got := s.peer(peer)
		if got.Flaps != flaps || got.Causes[cause] == 0 || got.State == bgp.Established && !strings.Contains(got.DownReason, word) {
			return fmt.Errorf("%s, %q, %d flaps of %v", got.State, got.DownReason, got.Flaps, got.Causes)
		}
		if !strings.Contains(s.proc.Output(), word) {
			return fmt.Errorf("%q, and the log does not say %q", got.DownReason, word)
		}
		return nil
	})
}

// waitLog waits for a line of the speaker's log with all of the words.
func (g *rig) waitLog(s *speaker, words ...string) {
	g.t.Helper()
	fixture.Wait(g.t, 30*time.Second, fmt.Sprintf("%q in the log", words), func() error {
		if lines(s.proc.Output(), words...) == 0 {
			return errors.New("it is not there")
		}
		return nil
	})
}

// network is the one of a link.
func (g *rig) network(tor, lb int) string {
	bits := 24
	if g.family == bgp.IPv6 {
		bits = 64
	}
	return netip.PrefixFrom(netip.MustParseAddr(g.at(tor, lb, 1)), bits).Masked().String()
}

// sockets waits until nothing of a router's BGP is left in its kernel.
func (g *rig) sockets(tor int) {
	g.t.Helper()
	fixture.Wait(g.t, 20*time.Second, "the router's sockets to go", func() error {
		out, err := g.tors[tor-1].Output("ss", "-Htnp", "state", "established")
		if err == nil && strings.Contains(out, ":179") {
			err = errors.New(out)
		}
		return err
	})
}
