package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

// TestAcceptLocal: what was off is off again in the end, over restarts of the agent, and what was
// on stays.
func TestAcceptLocal(t *testing.T) {
	node, gw := fixture.NewNetns(t, "node"), fixture.NewNetns(t, "gw")
	for _, dev := range []string{"eth0", "eth1", "eth2"} {
		fixture.Link(t, node, dev, gw, dev, fixture.LinkOptions{})
	}
	node.Sysctl(t, "net.ipv4.conf.eth2.accept_local", "1")
	file := filepath.Join(t.TempDir(), "run", "accept_local")
	do := func(what string, f func(AcceptLocal) error) {
		t.Helper()
		if err := node.Do(func() error { return f(AcceptLocal{file}) }); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	are := func(what, want string) {
		t.Helper()
		got := ""
		for _, dev := range []string{"eth0", "eth1", "eth2"} {
			do(what, func(AcceptLocal) error {
				v, err := Kernel{}.Sysctl("net/ipv4/conf/" + dev + "/accept_local")
				got += v
				return err
			})
		}
		if got != want {
			t.Errorf("%s: accept_local of eth0, eth1, eth2 is %s, want %s", what, got, want)
		}
	}
	setAll := func(a AcceptLocal) error {
		for _, dev := range []string{"eth0", "eth1", "eth2"} {
			if err := a.Set(dev); err != nil {
				return err
			}
		}
		return nil
	}
	do("nothing to reset", func(a AcceptLocal) error { return a.Reset() })
	do("set", setAll)
	do("set again", setAll)
	are("set", "111")
	do("one", func(a AcceptLocal) error { return a.Reset("eth1", "eth2") })
	are("one reset", "101")
	do("set", func(a AcceptLocal) error { return a.Set("eth1") })
	node.Run(t, "ip", "link", "delete", "eth1")
	fixture.Link(t, node, "eth1", gw, "other", fixture.LinkOptions{})
	node.Run(t, "ip", "link", "delete", "eth0")
	fixture.Link(t, node, "eth0", gw, "another", fixture.LinkOptions{})
	do("reset", func(a AcceptLocal) error { return a.Reset() })
	are("reset", "001")
	if _, err := os.Stat(file); err == nil {
		t.Error("the file stays")
	}
	if err := node.Do(func() error { return AcceptLocal{file}.Set("eth9") }); err == nil {
		t.Error("accept_local of a device that is not there was set")
	}
	do("set", func(a AcceptLocal) error { return a.Set("eth0") })
	node.Run(t, "ip", "link", "delete", "eth0")
	do("without the device", func(a AcceptLocal) error { return a.Reset() })
	if _, err := os.Stat(file); err == nil {
		t.Error("the file stays for a device that is gone")
	}
}
