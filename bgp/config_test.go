package bgp_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

func validConfig() bgp.Config {
	return bgp.Config{
		ASN: lbASN, RouterID: netip.MustParseAddr("192.0.2.1"),
		Peers: []bgp.Peer{{Name: "tor1", Address: netip.MustParseAddr("192.0.2.254"), ASN: torASN}},
	}
}

func TestNewRefuses(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name string
		edit func(c *bgp.Config, p *bgp.Peer)
		want string // in the error, besides the peer's name
	}{
		{"valid", func(*bgp.Config, *bgp.Peer) {}, ""},
		{"no ASN", func(c *bgp.Config, _ *bgp.Peer) { c.ASN = 0 }, "own ASN is 0"},
		{"no router ID", func(c *bgp.Config, _ *bgp.Peer) { c.RouterID = netip.Addr{} }, "router ID"},
		{"IPv6 router ID", func(c *bgp.Config, _ *bgp.Peer) { c.RouterID = addr("2001:db8::1") }, `router ID "2001:db8::1"`},
		{"long restart time", func(c *bgp.Config, _ *bgp.Peer) { c.GracefulRestart.RestartTime = 2 * time.Hour }, "graceful restart time 2h0m0s"},
		{"no name", func(_ *bgp.Config, p *bgp.Peer) { p.Name = "" }, "no name"},
		{"no address", func(_ *bgp.Config, p *bgp.Peer) { p.Address = netip.Addr{} }, "address"},
		{"multicast", func(_ *bgp.Config, p *bgp.Peer) { p.Address = addr("224.0.0.1") }, "address \"224.0.0.1\""},
		{"link-local", func(_ *bgp.Config, p *bgp.Peer) { p.Address = addr("fe80::1%eth0") }, ""},
		{"link-local without a zone", func(_ *bgp.Config, p *bgp.Peer) { p.Address = addr("fe80::1") }, "have a zone"},
		{"global with a zone", func(_ *bgp.Config, p *bgp.Peer) { p.Address = addr("2001:db8::1%eth0") }, "have a zone"},
		{"zone and another device", func(_ *bgp.Config, p *bgp.Peer) { p.Address, p.Interface = addr("fe80::1%eth0"), "eth1" }, "another device than eth1"},
		{"unnumbered", func(_ *bgp.Config, p *bgp.Peer) { p.Address, p.Interface = netip.Addr{}, "eth0" }, ""},
		{"unnumbered and passive", func(_ *bgp.Config, p *bgp.Peer) {
			p.Address, p.Interface, p.Passive = netip.Addr{}, "eth0", true
		}, "unnumbered on device eth0 and passive"},
		{"unnumbered and multihop", func(_ *bgp.Config, p *bgp.Peer) {
			p.Address, p.Interface, p.MultihopTTL = netip.Addr{}, "eth0", 3
		}, "multihop TTL 3"},
		{"unnumbered, BFD over several hops", func(_ *bgp.Config, p *bgp.Peer) {
			p.Address, p.Interface, p.BFD = netip.Addr{}, "eth0", bgp.BFD{Enabled: true, Multihop: true}
		}, "unnumbered on device eth0: nothing forwards"},
		{"two unnumbered on a device", func(c *bgp.Config, p *bgp.Peer) {
			p.Address, p.Interface = netip.Addr{}, "eth0"
			c.Peers = append(c.Peers, bgp.Peer{Name: "tor2", Interface: "eth0", ASN: torASN})
		}, `peer "tor1" is unnumbered on device eth0 too`},
		{"passive with a port", func(_ *bgp.Config, p *bgp.Peer) { p.Passive, p.Port = true, 1790 }, "port 1790 of a passive peer"},
		{"passive with a local interface", func(_ *bgp.Config, p *bgp.Peer) { p.Passive, p.LocalInterface = true, "lo" }, "local interface lo of a passive peer"},
		{"two local ends", func(_ *bgp.Config, p *bgp.Peer) { p.LocalAddress, p.LocalInterface = addr("192.0.2.7"), "lo" }, "local address 192.0.2.7 and local interface lo"},
		{"short restart after too many prefixes", func(_ *bgp.Config, p *bgp.Peer) { p.MaxPrefixesRestart = time.Millisecond }, "restart 1ms"},
		{"long-lived without graceful restart", func(c *bgp.Config, _ *bgp.Peer) { c.GracefulRestart.LongLived = time.Hour }, "without graceful restart"},
		{"too long-lived", func(c *bgp.Config, _ *bgp.Peer) {
			c.GracefulRestart = bgp.GracefulRestart{Enabled: true, LongLived: 200 * 24 * time.Hour}
		}, "long-lived graceful restart time 4800h0m0s"},
		{"no peer ASN", func(_ *bgp.Config, p *bgp.Peer) { p.ASN = 0 }, "ASN is 0"},
		{"local address of other family", func(_ *bgp.Config, p *bgp.Peer) { p.LocalAddress = addr("2001:db8::1") }, "local address 2001:db8::1"},
		{"long password", func(_ *bgp.Config, p *bgp.Peer) { p.Password = strings.Repeat("x", 81) }, "password of 81 bytes"},
		{"short hold time", func(_ *bgp.Config, p *bgp.Peer) { p.HoldTime = 2 * time.Second }, "hold time 2s"},
		{"fractional hold time", func(_ *bgp.Config, p *bgp.Peer) { p.HoldTime = 3500 * time.Millisecond }, "hold time 3.5s"},
		{"long keepalive", func(_ *bgp.Config, p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 3*time.Second, 3*time.Second }, "keepalive time 3s"},
		{"negative retry", func(_ *bgp.Config, p *bgp.Peer) { p.ConnectRetry = -time.Second }, "connect retry time -1s"},
		{"GTSM and multihop", func(_ *bgp.Config, p *bgp.Peer) { p.TTLSecurity, p.MultihopTTL = true, 2 }, "TTL security"},
		{"unknown family", func(_ *bgp.Config, p *bgp.Peer) { p.Families = []bgp.Family{"evpn"} }, `family "evpn"`},
		{"family twice", func(_ *bgp.Config, p *bgp.Peer) { p.Families = []bgp.Family{bgp.IPv4, bgp.IPv4} }, "listed twice"},
		{"IPv6 with the device's next hop", func(_ *bgp.Config, p *bgp.Peer) { p.Families = []bgp.Family{bgp.IPv4, bgp.IPv6} }, ""},
		{"next hop not carried", func(_ *bgp.Config, p *bgp.Peer) {
			p.Families, p.NextHop6 = []bgp.Family{bgp.IPv4}, addr("2001:db8::1")
		}, "does not carry"},
		{"IPv6 next hop of IPv4", func(_ *bgp.Config, p *bgp.Peer) { p.NextHop4 = addr("2001:db8::1") }, ""},
		{"IPv4 next hop of IPv6", func(_ *bgp.Config, p *bgp.Peer) { p.NextHop6 = addr("192.0.2.9") }, "next hop 192.0.2.9 for ipv6"},
		{"same name", func(c *bgp.Config, p *bgp.Peer) {
			c.Peers = append(c.Peers, bgp.Peer{Name: "tor1", Address: addr("192.0.2.253"), ASN: torASN})
		}, "another peer has this name"},
		{"same address", func(c *bgp.Config, p *bgp.Peer) {
			c.Peers = append(c.Peers, bgp.Peer{Name: "tor2", Address: addr("::ffff:192.0.2.254"), ASN: torASN})
		}, `peer "tor1" has the same address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := validConfig()
			c.edit(&cfg, &cfg.Peers[0])
			_, err := bgp.New(cfg, slog.New(slog.DiscardHandler))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want it to say %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "xxx") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestPeersBeforeTheFirstSync(t *testing.T) {
	cfg := validConfig()
	cfg.Peers[0].NextHop6 = netip.MustParseAddr("2001:db8::1")
	cfg.Peers = append(cfg.Peers, bgp.Peer{Name: "a", Address: netip.MustParseAddr("2001:db8::fe"), ASN: torASN})
	s, err := bgp.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	states := s.Peers()
	var names []string
	var families []bgp.Family
	for _, state := range states {
		names = append(names, state.Name)
		for _, f := range state.Families {
			families = append(families, f.Family)
		}
	}
	if want := []string{"a", "tor1"}; !slices.Equal(names, want) {
		t.Errorf("peers %v, want %v", names, want)
	}
	if want := []bgp.Family{bgp.IPv6, bgp.IPv4, bgp.IPv6}; !slices.Equal(families, want) {
		t.Errorf("families %v, want %v", families, want)
	}
	// Without a session nothing is opened by an edit either, and Stop has nothing to do.
	if err := s.SetPeers(t.Context(), cfg.Peers[:1]); err != nil {
		t.Error(err)
	}
	if got := s.Peers(); len(got) != 1 || got[0].State != bgp.Idle {
		t.Errorf("peers after the edit: %+v", got)
	}
	if err := s.Stop(t.Context(), bgp.StopDrain, ""); err != nil {
		t.Error(err)
	}
	if err := s.SetPeers(t.Context(), nil); !errors.Is(err, bgp.ErrStopped) {
		t.Errorf("SetPeers after Stop: %v", err)
	}
}

func TestSyncNamesBrokenPaths(t *testing.T) {
	cfg := validConfig()
	cfg.Peers = nil
	s, err := bgp.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Sync(t.Context(), []bgp.Path{
		{Prefix: netip.MustParsePrefix("192.0.2.1/24")},
		{Prefix: netip.MustParsePrefix("::ffff:192.0.2.1/128")},
		{},
		{Prefix: netip.MustParsePrefix(vipA4)},
		{Prefix: netip.MustParsePrefix(vipA4)},
	})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Sync returned %v, want joined errors", err)
	}
	var broken []string
	for _, one := range joined.Unwrap() {
		if pathErr := new(bgp.PathError); errors.As(one, &pathErr) {
			broken = append(broken, pathErr.Prefix.String())
		}
	}
	if want := []string{"192.0.2.1/24", "::ffff:192.0.2.1/128", "invalid Prefix"}; !slices.Equal(broken, want) {
		t.Errorf("broken paths %v, want %v", broken, want)
	}
	if routes := s.Routes(); len(routes) != 1 || routes[0].Prefix.String() != vipA4 {
		t.Errorf("routes %+v, want only %s", routes, vipA4)
	}
}
