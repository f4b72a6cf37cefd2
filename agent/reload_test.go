package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/ledger"
)

func TestReload(t *testing.T) {
	run(t, "peers, level and what needs a restart", func(t *testing.T, l *lab) {
		l.start()
		l.logged()
		l.took()
		next := *l.cfg
		next.BGP.Peers = append(slices.Clone(next.BGP.Peers), config.Peer{Name: "tor-2", Address: netip.MustParseAddr("10.0.0.253"), ASN: 64513})
		next.Log.Level = slog.LevelDebug
		next.NAT.MaxFlows = 7
		next.Node = "other"
		l.configs.set(&next, nil)
		l.is("reload", "speaker.SetPeers(2)", syncWeb, "speaker.Sync(192.0.2.1)")
		if got := l.agent.deps.Level.Level(); got != slog.LevelDebug {
			t.Errorf("level %s", got)
		}
		if d := cmp.Diff([]string{"node", "nat.maxFlows"}, l.agent.Status().Config.Restart); d != "" {
			t.Errorf("restart keys: want -, got +\n%s", d)
		}
		if d := l.agent.InForce(); d.Values["node"] != "lb-1" || d.Values["log.level"] != "debug" || len(d.Peers) != 2 {
			t.Errorf("in force: %+v", d)
		}
		if log := l.logged(); !strings.Contains(log, "nat.maxFlows") || !strings.Contains(log, "bgp.peers[tor-2]") {
			t.Errorf("logged\n%s", log)
		}
		back := next
		back.Node, back.NAT.MaxFlows = l.cfg.Node, l.cfg.NAT.MaxFlows
		l.configs.set(&back, nil)
		l.is("back", syncWeb, "speaker.Sync(192.0.2.1)")
		if got := l.agent.Status().Config.Restart; len(got) > 0 {
			t.Errorf("restart keys after the change was taken back: %v", got)
		}
		l.stop()
	})
	run(t, "peers that the speaker refuses are tried again", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.failing("speaker.SetPeers")
		next := *l.cfg
		next.BGP.Peers = []config.Peer{{Name: "tor-2", Address: netip.MustParseAddr("10.0.0.253"), ASN: 64513}}
		l.configs.set(&next, nil)
		l.is("reload", "speaker.SetPeers(1)", syncWeb, "speaker.Sync(192.0.2.1)")
		l.failing()
		time.Sleep(ledger.FirstRetry)
		l.is("again", "speaker.SetPeers(1)", syncWeb, "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "a bad file", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.configs.set(l.cfg, errors.New("penstock.yaml:3: bgp.asn: want a number"))
		l.is("reload", syncWeb, "speaker.Sync(192.0.2.1)")
		if c := l.agent.Status().Config; !strings.Contains(c.Error, "bgp.asn") || c.Failures != 1 {
			t.Errorf("config status %+v", c)
		}
		l.configs.set(l.cfg, nil)
		synctest.Wait()
		if c := l.agent.Status().Config; c.Error != "" || c.Reloads != 1 {
			t.Errorf("config status %+v", c)
		}
		l.stop()
	})
}
