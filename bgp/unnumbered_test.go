package bgp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// newUnnumberedLab is a router and a node on a link without any configured address.
func newUnnumberedLab(t *testing.T) (*lab, bgp.Config) {
	l := &lab{t: t}
	lb, tor := fixture.NewNetns(t, "lb1"), fixture.NewNetns(t, "tor1")
	tor.Forward(t)
	l.lbs, l.tors = []*fixture.Netns{lb}, []*fixture.Netns{tor}
	fixture.Link(t, tor, lb.Host, lb, tor.Host, fixture.LinkOptions{})
	return l, bgp.Config{ASN: lbASN, RouterID: netip.MustParseAddr("192.0.2.1"), Peers: []bgp.Peer{{
		Name: "tor1", Interface: tor.Host, ASN: torASN, HoldTime: 3 * time.Second, ConnectRetry: time.Second,
		BFD: bgp.BFD{Enabled: true, Interval: 100 * time.Millisecond},
	}}}
}

func TestUnnumberedFRR(t *testing.T) {
	t.Parallel()
	l, cfg := newUnnumberedLab(t)
	fixture.StartFRR(t, l.tors[0], `interface lb1
 no ipv6 nd suppress-ra
 ipv6 nd ra-interval 3
ip prefix-list VIPS seq 5 permit 0.0.0.0/0 ge 32
ipv6 prefix-list VIPS seq 5 permit ::/0 ge 128
router bgp 64512
 bgp router-id 192.0.2.254
 no bgp ebgp-requires-policy
 neighbor lb1 interface remote-as 64513
 neighbor lb1 timers 1 3
 neighbor lb1 bfd
 neighbor lb1 bfd 3 100 100
 address-family ipv4 unicast
  neighbor lb1 prefix-list VIPS in
 exit-address-family
 address-family ipv6 unicast
  neighbor lb1 activate
  neighbor lb1 prefix-list VIPS in
 exit-address-family
`, "bfdd")
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	fixture.Wait(t, 20*time.Second, "BFD over link-local addresses", func() error { return bfdIs(s, "tor1", "up") })
	if got := s.peer("tor1"); !got.Address.IsLinkLocalUnicast() || got.Address.Zone() != "tor1" || !got.LocalAddress.IsLinkLocalUnicast() {
		t.Errorf("peer %+v, want link-local addresses with their zones", got)
	}
	s.sync(vipA6)
	waitFIB(t, l.tors[0], vipA4)
	waitFIB(t, l.tors[0], vipA6, "lb1")
}

func TestUnnumberedBIRD(t *testing.T) {
	t.Parallel()
	l, cfg := newUnnumberedLab(t)
	fixture.StartBIRD(t, l.tors[0], `router id 192.0.2.254;
protocol device { scan time 1; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
protocol radv { interface "lb1" { min ra interval 3; max ra interval 5; }; }
protocol bfd { interface "lb1" { interval 100 ms; multiplier 3; }; }
protocol bgp lb {
	local as 64512;
	neighbor range fe80::/10 as 64513;
	interface "lb1";
	dynamic name "lb";
	hold time 3;
	bfd on;
	ipv4 { extended next hop on; import filter { if net.len = 32 then accept; reject; }; export none; };
	ipv6 { import filter { if net.len = 128 then accept; reject; }; export none; };
}
`)
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	waitFIB(t, l.tors[0], vipA4, "lb1")
	waitFIB(t, l.tors[0], vipA6, "lb1")
	fixture.Wait(t, 20*time.Second, "BFD over link-local addresses", func() error { return bfdIs(s, "tor1", "up") })
}
