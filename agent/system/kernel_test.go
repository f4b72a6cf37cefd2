package system

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
)

func TestKernel(t *testing.T) {
	node, gw0, gw1 := fixture.NewNetns(t, "node"), fixture.NewNetns(t, "gw0"), fixture.NewNetns(t, "gw1")
	fixture.Link(t, node, "eth0", gw0, "lan", fixture.LinkOptions{AddrsA: []string{"192.0.2.1/24", "2001:db8::1/64"}})
	fixture.Link(t, node, "eth1", gw1, "lan", fixture.LinkOptions{AddrsA: []string{"198.51.100.1/24"}})
	fixture.Link(t, node, "eth2", gw1, "lan2", fixture.LinkOptions{AddrsA: []string{"203.0.113.1/24"}})
	in := func(what string, check func(k Kernel) error) {
		t.Helper()
		if err := node.Do(func() error { return check(Kernel{}) }); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	devices := func(what string, want ...string) {
		t.Helper()
		in(what, func(k Kernel) error {
			got, err := k.DefaultDevices()
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: want -, got +\n%s", what, d)
			}
			return err
		})
	}
	node.Run(t, "ip", "-6", "route", "add", "unreachable", "default", "metric", "4294967295")
	devices("no default route")
	node.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::fe")
	devices("IPv6", "eth0")
	node.Run(t, "ip", "route", "add", "default", "nexthop", "via", "192.0.2.254", "nexthop", "via", "198.51.100.254")
	node.Run(t, "ip", "route", "add", "192.168.0.0/16", "via", "203.0.113.254")
	devices("multipath", "eth0", "eth1")

	in("index", func(k Kernel) error {
		if i, err := k.Ifindex("lo"); i != 1 || err != nil {
			t.Errorf("lo: %d, %v", i, err)
		}
		if _, err := k.Ifindex("eth9"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("eth9: %v, want fs.ErrNotExist", err)
		}
		_, err := k.Ifindex("eth1")
		return err
	})
	_, noVLAN := node.Output("ip", "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7")
	_, noBond := node.Output("ip", "link", "add", "bond7", "type", "bond")
	t.Logf("left out where the kernel has no such devices: VLAN %v, bond %v", noVLAN, noBond)
	if noBond == nil {
		node.Run(t, "ip", "link", "set", "eth2", "down")
		node.Run(t, "ip", "link", "set", "eth2", "master", "bond7")
	}
	in("devices", func(k Kernel) error {
		index := func(name string) int {
			i, err := k.Ifindex(name)
			if err != nil {
				t.Error(err)
			}
			return i
		}
		devices := map[string]Device{"eth1": {Name: "eth1"}}
		if noVLAN == nil {
			devices["eth0.7"] = Device{Name: "eth0.7", Lower: index("eth0"), VLAN: 7}
		}
		if noBond == nil {
			devices["eth2"] = Device{Name: "eth2", Bond: index("bond7")}
		}
		for name, want := range devices {
			if got, err := k.Device(index(name)); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
		if _, err := k.Device(9999); err == nil {
			t.Error("a device that is not there is no error")
		}
		return nil
	})
	in("pinned links", func(Kernel) error {
		pins := t.TempDir()
		for _, name := range []string{"eth0:7", "eth8"} {
			if err := os.MkdirAll(filepath.Join(pins, "links", name), 0o755); err != nil {
				return err
			}
		}
		got := Pinned(pins)
		if len(got) != 2 || got[0].Name != "eth0.7" || got[0].Attached || got[0].Error == "" || !strings.Contains(got[1].Error, "no such device") {
			t.Errorf("%+v", got)
		}
		if none := Pinned(t.TempDir()); none == nil || len(none) > 0 {
			t.Errorf("without links: %#v", none)
		}
		return nil
	})
	in("sysctl", func(k Kernel) error {
		const key = "net/ipv4/conf/eth0/accept_local"
		if _, err := k.Sysctl(key); err != nil {
			return err
		}
		if _, err := k.Sysctl("net/nothing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing setting: %v", err)
		}
		return nil
	})
	in("ports", func(k Kernel) error { return CheckPorts(k, config.Default().NAT.Ports) })
}

func TestKernelAddresses(t *testing.T) {
	got, err := Kernel{}.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		p := netip.MustParsePrefix(a.String())
		if got[p.Addr()] == "" {
			t.Errorf("%s is missing in %v", p.Addr(), got)
		}
	}
}

func TestPodNetns(t *testing.T) {
	node := fixture.NewNetns(t, "node")
	direct, bridged := fixture.NewNetns(t, "direct"), fixture.NewNetns(t, "bridged")
	fixture.Link(t, node, "pod0", direct, "eth0", fixture.LinkOptions{
		AddrsA: []string{"169.254.1.1/32"}, AddrsB: []string{"10.2.0.1/32", "fd00:2::1/128"},
	})
	node.Run(t, "ip", "route", "add", "10.2.0.1", "dev", "pod0")
	node.Run(t, "ip", "-6", "route", "add", "fd00:2::1", "dev", "pod0")
	fixture.Link(t, node, "pod1", bridged, "eth0", fixture.LinkOptions{AddrsB: []string{"10.2.1.1/24", "fd00:2:1::1/64"}})
	want := map[string]func(id int32) bool{
		"10.2.0.1":   func(id int32) bool { return id >= 0 },
		"fd00:2::1":  func(id int32) bool { return id >= 0 },
		"127.0.0.1":  func(id int32) bool { return id == bpf.PodNetnsOwn },
		"::1":        func(id int32) bool { return id == bpf.PodNetnsOwn },
		"10.99.0.1":  func(id int32) bool { return id == bpf.PodNetnsUnknown },
		"2001:db8::": func(id int32) bool { return id == bpf.PodNetnsUnknown },
	}
	if _, err := node.Output("ip", "link", "add", "cni0", "type", "bridge"); err == nil {
		node.Run(t, "ip", "link", "set", "pod1", "master", "cni0")
		node.Run(t, "ip", "link", "set", "cni0", "up")
		node.Run(t, "ip", "addr", "add", "10.2.1.254/24", "dev", "cni0")
		node.Run(t, "ip", "addr", "add", "fd00:2:1::fe/64", "dev", "cni0", "nodad")
		node.Run(t, "ping", "-c", "1", "-W", "5", "10.2.1.1")
		node.Run(t, "ping", "-c", "1", "-W", "5", "fd00:2:1::1")
		want["10.2.1.1"], want["fd00:2:1::1"] = want["10.2.0.1"], want["fd00:2::1"]
	} else {
		t.Logf("without a bridge, which the kernel does not have: %v", err)
	}
	ids := map[string]int32{}
	for addr, ok := range want {
		if err := node.Do(func() error { ids[addr] = Kernel{}.PodNetns(netip.MustParseAddr(addr)); return nil }); err != nil {
			t.Fatal(err)
		}
		if !ok(ids[addr]) {
			t.Errorf("%s is in %d", addr, ids[addr])
		}
	}
	if ids["10.2.0.1"] != ids["fd00:2::1"] || ids["10.2.0.1"] == ids["10.2.1.1"] && want["10.2.1.1"] != nil {
		t.Errorf("namespaces %v", ids)
	}
	mtu := 0
	if err := node.Do(func() (err error) { mtu, err = Kernel{}.MTU("pod0"); return err }); err != nil || mtu != 1500 {
		t.Errorf("MTU %d, %v", mtu, err)
	}
}
