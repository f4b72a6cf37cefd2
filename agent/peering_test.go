package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/bgp"
)

type fakeGateways struct {
	mu      sync.Mutex
	known   map[bgp.Family][]netip.Addr
	changed chan struct{}
}

func newGateways(addrs ...string) *fakeGateways {
	g := &fakeGateways{changed: make(chan struct{}, 1)}
	g.set(addrs...)
	<-g.changed
	return g
}

func (g *fakeGateways) set(addrs ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = map[bgp.Family][]netip.Addr{}
	for _, text := range addrs {
		a, family := netip.MustParseAddr(text), bgp.IPv4
		if a.Is6() {
			family = bgp.IPv6
		}
		g.known[family] = append(g.known[family], a)
	}
	g.changed <- struct{}{}
}

func (g *fakeGateways) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (g *fakeGateways) Changed() <-chan struct{}      { return g.changed }
func (g *fakeGateways) Gateways() map[bgp.Family][]netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known
}

// onRack is the world with a Node for this node, on a rack; without one for none.
func onRack(rack string) desired.Snapshot {
	s := objects("web", "192.0.2.1", true)
	if rack != "" {
		s.Nodes = []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "lb-1", Labels: map[string]string{"rack": rack}}}}
	}
	return s
}

// names are those of the peers that the speaker has, each with its address.
func (l *lab) names() (out []string) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.given {
		out = append(out, p.Name+" "+p.Address.String())
	}
	return out
}

func TestPeersByLabel(t *testing.T) {
	run(t, "they follow the labels", func(t *testing.T, l *lab) {
		l.cfg.BGP.Peers = append(l.cfg.BGP.Peers, config.Peer{Name: "tor-b", Address: netip.MustParseAddr("2001:db8::fe"), ASN: 64513})
		l.cfg.BGP.Peers[0].NodeSelector, l.cfg.BGP.Peers[1].NodeSelector = "rack=a", "rack=b"
		l.snapshot = onRack("a")
		l.start()
		l.is("start", "load", "speaker.SetPeers(1)", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.change(onRack("b"))
		if d := cmp.Diff([]string{"tor-b 2001:db8::fe"}, l.names()); d != "" {
			t.Errorf("on rack b: %s", d)
		}
		l.change(onRack("")) // its Node object is deleted, and made anew soon
		if d := cmp.Diff([]string{"tor-b 2001:db8::fe"}, l.names()); d != "" {
			t.Errorf("without a Node object: %s", d)
		}
		if s := l.agent.Status(); !slices.ContainsFunc(s.Degraded, func(d string) bool {
			return strings.Contains(d, "BGP peer tor-b: nodeSelector rack=b cannot be judged")
		}) {
			t.Errorf("degraded: %v", s.Degraded)
		}
		l.change(onRack("c"))
		if got := l.names(); len(got) > 0 {
			t.Errorf("on rack c: %v", got)
		}
		if s := l.agent.Status(); s.VIPs[0].Reason != NoPeers ||
			s.VIPs[0].Detail != "no entry of bgp.peers is for node lb-1: tor is for nodes with rack=a; tor-b is for nodes with rack=b" {
			t.Errorf("on rack c: %+v", s.VIPs[0])
		}
		if got := l.announced(); len(got) > 0 {
			t.Errorf("announced %v", got)
		}
		l.took()
		l.change(onRack("c"))
		if calls := strings.Join(l.took(), " "); strings.Contains(calls, "SetPeers") {
			t.Errorf("nothing changed: %s", calls)
		}
		l.stop()
	})
}

func TestPeersByGateway(t *testing.T) {
	run(t, "they follow the routes", func(t *testing.T, l *lab) {
		gateways := newGateways("192.0.2.254", "fe80::1%eth0")
		l.gateways = gateways
		l.cfg.BGP.Peers = []config.Peer{{Name: "g4", Gateway: "ipv4", ASN: 64513}, {Name: "g6", Gateway: "ipv6", ASN: 64513}}
		l.start()
		l.is("start", "load", "speaker.SetPeers(2)", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.mu.Lock()
		l.unchanged = true
		l.mu.Unlock()
		for _, step := range []struct{ gateways, want string }{
			{"192.0.2.254 fe80::1%eth0", "g4 192.0.2.254, g6 fe80::1%eth0"},
			{"192.0.2.253 192.0.2.254 fe80::1%eth0", "g4-2 192.0.2.253, g4 192.0.2.254, g6 fe80::1%eth0"},
			{"192.0.2.253 fe80::1%eth1", "g4-2 192.0.2.253, g6 fe80::1%eth1"},
			{"", "g4-2 192.0.2.253, g6 fe80::1%eth1"},
		} {
			gateways.set(strings.Fields(step.gateways)...)
			if got := strings.Join(l.names(), ", "); got != step.want {
				t.Errorf("with gateways %s: %s, want %s", step.gateways, got, step.want)
			}
		}
		if log := l.logged(); !strings.Contains(log, "the router of before is kept") {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
}

func TestEditedPeers(t *testing.T) {
	run(t, "a reset is warned of, and the other peer is not touched", func(t *testing.T, l *lab) {
		l.start()
		next := *l.cfg
		edit := func(change func(*config.Peer)) string {
			next.BGP.Peers = slices.Clone(next.BGP.Peers)
			change(&next.BGP.Peers[0])
			c := next
			time.Sleep(time.Second)
			l.logged()
			l.configs.set(&c, nil)
			return l.logged()
		}
		const warning = `level=WARN msg="the BGP session is reset, as its peer is changed" peer=tor keys="asn, holdTime, keepaliveTime"`
		if log := edit(func(p *config.Peer) { p.MaxPrefixes, p.Password, p.BFD = 5, "secret", true }); strings.Contains(log, "is reset") || !slices.Contains(l.took(), "speaker.SetPeers(1)") {
			t.Errorf("an edit that resets nothing:\n%s", log)
		}
		if log := edit(func(p *config.Peer) { p.ASN, p.HoldTime = 64514, time.Minute }); !strings.Contains(log, warning) {
			t.Errorf("no %s:\n%s", warning, log)
		}
		l.peersChanged <- struct{}{}
		if log := l.logged(); strings.Contains(log, "up again") {
			t.Errorf("it is the old session that is up:\n%s", log)
		}
		time.Sleep(3 * time.Second)
		l.mu.Lock()
		l.since = time.Now()
		l.mu.Unlock()
		l.peersChanged <- struct{}{}
		if log := l.logged(); !strings.Contains(log, "up again after its peer was changed\" peer=tor after=3s") {
			t.Errorf("logged\n%s", log)
		}
		l.mu.Lock()
		l.session = bgp.Active
		l.mu.Unlock()
		if log := edit(func(p *config.Peer) { p.ASN = 64515 }); strings.Contains(log, "is reset") {
			t.Errorf("there is no session to reset:\n%s", log)
		}
		l.stop()
	})
}

func TestEndedSessions(t *testing.T) {
	run(t, "are told of once, unless somebody wanted it", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster = cluster
		l.cfg.BGP.Peers = append(l.cfg.BGP.Peers, config.Peer{Name: "tor6", Address: netip.MustParseAddr("2001:db8::fe"), ASN: 64513})
		l.given = []bgp.Peer{l.cfg.BGP.Peers[0].BGP(), l.cfg.BGP.Peers[1].BGP()}
		l.start()
		ends := func(causes map[bgp.Cause]uint32) []string {
			l.mu.Lock()
			l.causes = causes
			l.mu.Unlock()
			l.peersChanged <- struct{}{}
			synctest.Wait()
			cluster.mu.Lock()
			defer cluster.mu.Unlock()
			told := cluster.ended
			cluster.ended = nil
			return told
		}
		if got := ends(nil); got != nil {
			t.Errorf("at the start: %q", got)
		}
		want := []string{"the BGP session with tor (10.0.0.254) ended: bfd", "the BGP session with tor6 (2001:db8::fe) ended: bfd"}
		if d := cmp.Diff(want, ends(map[bgp.Cause]uint32{bgp.CauseBFD: 1})); d != "" {
			t.Error(d)
		}
		if got := ends(map[bgp.Cause]uint32{bgp.CauseBFD: 1}); got != nil {
			t.Errorf("told again: %q", got)
		}
		if got := ends(map[bgp.Cause]uint32{bgp.CauseBFD: 1, bgp.CauseConfig: 1}); got != nil {
			t.Errorf("of an edit: %q", got)
		}
		l.stop()
	})
}
