package bgp_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// watched are peers with BFD of 3 × 50 ms and a hold time that cannot be what finds a failure.
func watched(l *lab) bgp.Config {
	cfg := l.config(1)
	cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true}
	for i := range cfg.Peers {
		cfg.Peers[i].HoldTime = 90 * time.Second
		cfg.Peers[i].BFD = bgp.BFD{Enabled: true, Interval: 50 * time.Millisecond, Multiplier: 3}
	}
	return cfg
}

func startWatchedFRR(l *lab) *fixture.FRR {
	lines := []string{"timers 30 90", "bfd", "bfd 3 50 50"}
	return fixture.StartFRR(l.t, l.tors[0], frrConf(v4(1, 1, 1),
		neighbor{addr: v4(1, 1, 2), asn: lbASN, lines: lines}, neighbor{addr: v6(1, 1, 2), asn: lbASN, lines: lines}), "bfdd")
}

func waitBFD(t *testing.T, s *speaker, state string) {
	t.Helper()
	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		fixture.Wait(t, 20*time.Second, "BFD with "+name+" to be "+state, func() error { return bfdIs(s, name, state) })
	}
}

func bfdIs(s *speaker, name, state string) error {
	if got := s.peer(name); got.BFD == nil || got.BFD.State != state {
		return fmt.Errorf("%s, %q, BFD %+v", got.State, got.DownReason, got.BFD)
	}
	return nil
}

// A cut that neither side's kernel sees takes the routes away in the time of BFD, on both sides, and
// graceful restart does not keep them.
func TestBFDFindsACut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	startWatchedFRR(l)
	s := startSpeaker(t, l.lbs[0], watched(l))
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	waitBFD(t, s, "up")

	cut(t, l.lbs[0], "tor1")
	began := time.Now()
	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		fixture.Wait(t, 10*time.Second, "the session with "+name+" to end", func() error {
			got := s.peer(name)
			if got.Causes[bgp.CauseBFD] != 1 || got.BFD.Detections != 1 || !strings.Contains(got.BFD.Reason, "nothing heard") {
				return fmt.Errorf("%s, causes %v, BFD %+v", got.State, got.Causes, got.BFD)
			}
			return nil
		})
	}
	t.Logf("our sessions ended %s after the cut", time.Since(began).Round(time.Millisecond))
	waitFIB(t, l.tors[0], vipA4)
	waitFIB(t, l.tors[0], vipA6)
	t.Logf("the router's routes were gone %s after the cut", time.Since(began).Round(time.Millisecond))

	mend(t, l.lbs[0])
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	waitBFD(t, s, "up")
	t.Logf("all is back %s after the cut", time.Since(began).Round(time.Millisecond))
	if got := s.peer("tor1-v4"); got.Flaps != 1 || !strings.Contains(got.BFD.Reason, "nothing heard") {
		t.Errorf("after the return: %+v", got)
	}
}

// cut drops all packets to and from a device, whose carrier stays.
func cut(t *testing.T, n *fixture.Netns, device string) {
	t.Helper()
	n.Run(t, "nft", "add table netdev cut; add chain netdev cut in { type filter hook ingress device "+device+" priority 0; policy drop; }; "+
		"add chain netdev cut out { type filter hook egress device "+device+" priority 0; policy drop; }")
}

func mend(t *testing.T, n *fixture.Netns) {
	t.Helper()
	n.Run(t, "nft", "delete table netdev cut")
}

// A port that another daemon has is said, and taken once it is free.
func TestBFDPortThatIsTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	startWatchedFRR(l)
	var others []net.PacketConn
	err := l.lbs[0].Do(func() error {
		for _, network := range []string{"udp4", "udp6"} {
			conn, err := net.ListenPacket(network, ":3784")
			if err != nil {
				return err
			}
			others = append(others, conn)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := startSpeaker(t, l.lbs[0], watched(l))
	s.sync(vipA4, vipA6)
	s.waitEstablished("tor1-v4", "tor1-v6")
	for _, name := range []string{"tor1-v4", "tor1-v6"} {
		fixture.Wait(t, 20*time.Second, "the reason of "+name, func() error {
			if got := s.peer(name); !strings.Contains(got.BFD.Reason, "3784") {
				return fmt.Errorf("BFD %+v", got.BFD)
			}
			return nil
		})
	}
	time.Sleep(9 * time.Second) // some attempts more, which are no news
	for _, conn := range others {
		conn.Close()
	}
	waitBFD(t, s, "up")
	if n := lines(s.proc.Output(), "level=WARN", "not watched by BFD", "3784"); n < 1 || n > 2 {
		t.Errorf("the log says %d times what is in the way, of two families:\n%s", n, s.proc.Output())
	}
}
