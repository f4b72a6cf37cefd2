package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
)

// No Service takes this node's address or a router's, and what the configuration
// allows counts as soon as it changes.
func TestReservedAddresses(t *testing.T) {
	reason := func(l *lab) desired.Reason {
		if r := l.agent.Status().Reasons; len(r) > 0 {
			return r[0].Reason
		}
		return ""
	}
	const none = "tables.Sync()"
	run(t, "own", func(t *testing.T, l *lab) {
		l.own[netip.MustParseAddr("192.0.2.1")] = "eth0"
		l.start()
		l.is("start", "load", none, "attach(eth0 auto)", "settle", "speaker.Sync()")
		if got := reason(l); got != desired.AddressIsNode {
			t.Errorf("reason %q", got)
		}
		l.failing("addresses")
		l.hopsChanged <- struct{}{}
		l.is("unknown by now", none, "speaker.Sync()")
		if log := l.logged(); !strings.Contains(log, "addresses") {
			t.Errorf("log: %s", log)
		}
		l.stop()
	})
	run(t, "own, not known", func(t *testing.T, l *lab) {
		l.failing("addresses")
		l.start()
		l.is("start", "load")
		if got := l.agent.Status().Sync.Error; !strings.Contains(got, "injected") {
			t.Errorf("sync error %q", got)
		}
		l.failing()
		time.Sleep(time.Second)
		l.is("retry", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "a router's", func(t *testing.T, l *lab) {
		l.snapshot = objects("web", "10.0.0.254", true)
		l.start()
		l.is("start", "load", none, "attach(eth0 auto)", "settle", "speaker.Sync()")
		if got := reason(l); got != desired.AddressIsPeer {
			t.Errorf("reason %q", got)
		}
		l.stop()
	})
	run(t, "outside vips", func(t *testing.T, l *lab) {
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		next := *l.cfg
		next.VIPs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		l.configs.set(&next, nil)
		l.is("changed", "speaker.Sync()", none, "speaker.Sync()")
		if got := reason(l); got != desired.OutsideVIPs {
			t.Errorf("reason %q", got)
		}
		l.stop()
	})
}

func TestPeerAddresses(t *testing.T) {
	addr := netip.MustParseAddr
	cfg := testConfig()
	cfg.BGP.Peers = []config.Peer{
		{Name: "tor1", Address: addr("192.0.2.254"), LocalAddress: addr("192.0.2.7"), NextHop4: addr("192.0.2.8"), NextHop6: addr("2001:db8::8")},
		{Name: "tor2", Address: addr("2001:db8::fe")},
	}
	got := peerAddresses(cfg, firstPeers(cfg))
	for a, want := range map[string]string{
		"192.0.2.254":  "the address of BGP peer tor1",
		"192.0.2.7":    "this node's end of the session with BGP peer tor1",
		"192.0.2.8":    "the next hop of the routes for BGP peer tor1",
		"2001:db8::8":  "the next hop of the routes for BGP peer tor1",
		"2001:db8::fe": "the address of BGP peer tor2",
	} {
		if got[addr(a)] != want {
			t.Errorf("%s is %q, want %q", a, got[addr(a)], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("addresses: %v", got)
	}
}
