package ndisc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestFRR(t *testing.T) {
	l := newLab(t)
	l.tor.Forward(t)
	frr := fixture.StartFRR(t, l.tor, `interface p0
 no ipv6 nd suppress-ra
exit
router bgp 64512
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 neighbor p0 interface remote-as external
`)
	router, own := l.linkLocal(l.tor, "p0", "eth0"), l.linkLocal(l.node, "eth0", "")
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	l.becomes("FRR to be found", router)
	fixture.Wait(t, 20*time.Second, "FRR to find us", func() error {
		var neighbors map[string]struct {
			Addr string `json:"bgpNeighborAddr"`
		}
		if err := frr.Query("show bgp neighbors json", &neighbors); err != nil {
			return err
		}
		if got := neighbors["p0"].Addr; got != own.WithZone("").String() {
			return fmt.Errorf("its neighbor is %s, we are %s", got, own)
		}
		return nil
	})
	frr.Kill(t)
	l.becomes("FRR to be silent", netip.Addr{})
	l.logs("the router is silent")
}

func TestBIRD(t *testing.T) {
	l := newLab(t)
	l.tor.Forward(t)
	bird := fixture.StartBIRD(t, l.tor, `router id 10.0.0.1;
protocol device {}
protocol radv { interface "p0" { min delay 3; }; }
`)
	router := l.linkLocal(l.tor, "p0", "eth0")
	l.linkLocal(l.node, "eth0", "")
	l.d.times.silence = 10 * time.Second // BIRD answers every 3 s at most
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	l.becomes("BIRD to be found", router)
	select {
	case <-l.d.Changed():
	default:
		t.Error("not signalled")
	}
	bird.Stop(t)
	l.becomes("BIRD to be silent", netip.Addr{})
}

func TestForgedAdvertisements(t *testing.T) {
	l := newLab(t)
	own := l.linkLocal(l.node, "eth0", "eth0")
	l.node.Run(t, "ip", "-6", "addr", "add", "fe80::5e1f/64", "dev", "eth0", "nodad")
	l.linkLocal(l.tor, "p0", "")
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	other := l.discoverer() // another agent on this node, or our own packets that come back
	if err := l.sync(other, "eth0"); err != nil {
		t.Fatal(err)
	}
	l.says("fe80::bad", 64)
	l.says("2001:db8::bad", 255)
	l.says(own.WithZone("").String(), 255)
	l.says("fe80::5e1f", 255)
	l.says("fe80::900d", 255) // comes last, and is the first that counts
	l.becomes("the only real one", netip.MustParseAddr("fe80::900d%eth0"))
	if strings.Contains(l.log.String(), "another router") {
		t.Errorf("a forged one counts:\n%s", &l.log)
	}
}

// What a router receives: advertisements that make us nobody's default router, and solicitations.
func TestSent(t *testing.T) {
	l := newLab(t)
	own := l.linkLocal(l.node, "eth0", "")
	l.linkLocal(l.tor, "p0", "")
	l.d.times.interval = time.Hour
	conn := l.listen()
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	want := &ndp.RouterAdvertisement{Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: l.mac(l.node, "eth0")}}}
	for range initial {
		if d := cmp.Diff(ndp.Message(want), l.receives(conn, own)); d != "" {
			t.Error(d)
		}
		if m, ok := l.receives(conn, own).(*ndp.RouterSolicitation); !ok {
			t.Errorf("received %+v, want a solicitation", m)
		}
	}
	if err := conn.WriteTo(&ndp.RouterSolicitation{}, nil, allRouters); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ndp.Message(want), l.receives(conn, own)); d != "" {
		t.Errorf("in answer to a solicitation: %s", d)
	}
}

func TestSeveralRouters(t *testing.T) {
	l := newLab(t)
	l.linkLocal(l.node, "eth0", "")
	l.linkLocal(l.tor, "p0", "")
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	a, b := netip.MustParseAddr("fe80::a%eth0"), netip.MustParseAddr("fe80::b%eth0")
	l.says("fe80::a", 255)
	l.becomes("the first", a)
	l.says("fe80::b", 255)
	l.logs("another router advertises itself; the first one stays while it is heard")
	l.becomes("the first to stay", a)
	<-l.d.Changed()
	fixture.Wait(t, 20*time.Second, "the other to take its place", func() error {
		l.says("fe80::b", 255)
		if got, _ := l.d.Router("eth0"); got != b {
			return fmt.Errorf("the router is %s", got)
		}
		return nil
	})
	l.logs("another one takes its place")
	<-l.d.Changed()
	if err := l.sync(l.d); err != nil {
		t.Error(err)
	}
	if _, known := l.d.Router("eth0"); known {
		t.Error("a router on an interface that is no longer wanted")
	}
}

func TestInterfaceThatComesAndGoes(t *testing.T) {
	l := newLab(t)
	l.linkLocal(l.node, "eth0", "")
	for name, set := range map[string][]string{"eth9": {"eth0", "eth9"}, "lo": {"eth0", "lo"}} {
		err := l.sync(l.d, set...)
		if err == nil || !strings.Contains(err.Error(), "interface "+name) || strings.Contains(err.Error(), "eth0") {
			t.Errorf("Sync of %s: %v", name, err)
		}
	}
	if err := l.sync(l.d, "eth0"); err != nil {
		t.Fatal(err)
	}
	again := errors.Join(l.sync(l.d, "eth0"), l.sync(l.d, "eth0"))
	l.says("fe80::a", 255)
	l.becomes("the router", netip.MustParseAddr("fe80::a%eth0"))
	<-l.d.Changed()
	l.node.Run(t, "ip", "link", "del", "eth0")
	l.becomes("none without the interface", netip.Addr{})
	<-l.d.Changed()
	fixture.Link(t, l.node, "eth0", l.tor, "p0", fixture.LinkOptions{})
	l.linkLocal(l.node, "eth0", "")
	l.linkLocal(l.tor, "p0", "")
	l.logs("works again")
	l.says("fe80::a", 255)
	l.becomes("the router again", netip.MustParseAddr("fe80::a%eth0"))
	l.d.Stop()
	l.d.Stop()
	if _, known := l.d.Router("eth0"); known || again != nil {
		t.Errorf("known after Stop: %v; Sync once more: %v", known, again)
	}
}

func TestWithoutCapability(t *testing.T) {
	l := newLab(t)
	l.linkLocal(l.node, "eth0", "")
	err := l.node.Do(func() error {
		// Capabilities are the thread's, which Do keeps.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var had, less [2]unix.CapUserData
		if err := unix.Capget(&header, &had[0]); err != nil {
			t.Fatal(err)
		}
		less = had
		less[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&header, &less[0]); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Capset(&header, &had[0]) }()
		return New(slog.New(slog.DiscardHandler)).Sync(context.Background(), []string{"eth0"})
	})
	if err == nil || !strings.Contains(err.Error(), "interface eth0") || !strings.Contains(err.Error(), "NET_RAW") {
		t.Errorf("Sync without CAP_NET_RAW: %v", err)
	}
}
