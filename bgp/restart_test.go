package bgp_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

func restartable(l *lab) bgp.Config {
	cfg := l.config(1)
	cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true, RestartTime: 60 * time.Second}
	return cfg
}

// waitStale waits until every path of the routers is (or is not) kept without a session.
func waitStale(t *testing.T, stale bool, routers ...*fixture.FRR) {
	t.Helper()
	for _, r := range routers {
		for _, prefix := range []string{vipA4, vipA6} {
			fixture.Wait(t, 20*time.Second, fmt.Sprintf("%s in %s with stale=%v", prefix, r.Netns.Host, stale), func() error {
				table, err := rib(r, familyName(prefix))
				if err != nil {
					return err
				}
				hops := table[prefix]
				if len(hops) != 1 || strings.HasSuffix(hops[0], " stale") != stale {
					return fmt.Errorf("next hops %q", hops)
				}
				return nil
			})
		}
	}
}

// A crash and a restart leave no gap in any router's routes, although the sessions to the routers come
// up at different times.
func TestCrashKeepsRoutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		leave func(s *speaker)
	}{
		{"killed", (*speaker).crash},
		{"StopRestart", func(s *speaker) {
			s.call("Stop", bgp.StopRestart)
			s.proc.Stop(s.t, syscall.SIGTERM)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2, 1)
			routers := []*fixture.FRR{l.startFRR(1), l.startFRR(2)}
			s := startSpeaker(t, l.lbs[0], restartable(l))
			s.sync(vipA4, vipB4, vipA6, vipB6)
			for _, tor := range l.tors {
				for _, prefix := range []string{vipA4, vipB4, vipA6, vipB6} {
					waitFIB(t, tor, prefix, "lb1")
				}
			}
			monitors := []*routeMonitor{monitorRoutes(t, l.tors[0]), monitorRoutes(t, l.tors[1])}

			c.leave(s)
			waitStale(t, true, routers...)
			cfg := restartable(l)
			cfg.Restarting = true
			again := startSpeaker(t, l.lbs[0], cfg)
			again.sync(vipA4, vipA6)
			waitStale(t, false, routers...)

			// What the new process does not announce goes with the End-of-RIB.
			for i, tor := range l.tors {
				waitFIB(t, tor, vipB4)
				waitFIB(t, tor, vipB6)
				if got := monitors[i].changes(vipA4, vipA6); len(got) != 0 {
					t.Errorf("%s changed routes that stayed: %q", tor.Host, got)
				}
			}
			// And later changes are sent as ever.
			again.sync(vipA4, vipA6, vipB4)
			waitFIB(t, l.tors[0], vipB4, "lb1")
		})
	}
}

func TestSetPeersLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 1)
	routers := []*fixture.FRR{l.startFRR(1), l.startFRR(2), l.startFRR(3)}
	all := l.config(1)
	cfg := all
	cfg.Peers = slices.Clone(all.Peers[:4])
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	s.waitEstablished("tor1-v4", "tor1-v6", "tor2-v4", "tor2-v6")
	before, edited := []bgp.PeerState{s.peer("tor1-v4"), s.peer("tor1-v6")}, s.peer("tor2-v4")
	established := func() int {
		var sum struct {
			IPv4Unicast struct {
				Peers map[string]struct{ ConnectionsEstablished int }
			}
		}
		routers[0].JSON(t, "show bgp summary json", &sum)
		return sum.IPv4Unicast.Peers[v4(1, 1, 2)].ConnectionsEstablished
	}
	if got := established(); got != 1 {
		t.Fatalf("router 1 counts %d sessions, want 1", got)
	}

	// tor2-v4 gets another hold time, tor2-v6 goes, tor3 comes.
	peers := slices.Clone(all.Peers[:3])
	peers[2].HoldTime = 6 * time.Second
	s.call("SetPeers", append(peers, all.Peers[4:]...))
	for name, reason := range map[string]string{"tor2-v4": "configuration changed", "tor2-v6": "removed"} {
		if lines(s.proc.Output(), "level=INFO", "BGP session closed", "peer="+name, reason) != 1 {
			t.Errorf("the log does not say once that %s was closed because it was %s", name, reason)
		}
	}
	if lines(s.proc.Output(), "level=WARN", "session lost") != 0 {
		t.Errorf("what was asked for is warned of:\n%s", s.proc.Output())
	}
	waitFIB(t, l.tors[1], vipA6)
	waitFIB(t, l.tors[2], vipA4, "lb1")
	waitFIB(t, l.tors[2], vipA6, "lb1")
	s.waitEstablished("tor1-v4", "tor1-v6", "tor2-v4", "tor3-v4", "tor3-v6")
	waitFIB(t, l.tors[1], vipA4, "lb1")
	if got := len(s.peers()); got != 5 {
		t.Errorf("%d peers, want 5: %+v", got, s.peers())
	}
	if got := s.peer("tor2-v4"); !got.Since.After(edited.Since) {
		t.Errorf("the edited peer still has its old session: %+v", got)
	}
	for _, was := range before {
		if got := s.peer(was.Name); !got.Since.Equal(was.Since) || got.Uptime <= was.Uptime || got.Flaps != 0 {
			t.Errorf("peer %s was disturbed: %+v, before %+v", was.Name, got, was)
		}
	}
	if got := established(); got != 1 {
		t.Errorf("router 1 counts %d sessions, want 1", got)
	}

	// A set with a wrong peer changes nothing.
	wrong := slices.Clone(all.Peers[:1])
	wrong[0].ASN = 0
	if err := s.try("SetPeers", wrong); err == nil || !strings.Contains(err.Error(), "tor1-v4") {
		t.Errorf("error %v does not name the peer", err)
	}
	if got := len(s.peers()); got != 5 {
		t.Errorf("%d peers after the refused set, want 5", got)
	}
}
