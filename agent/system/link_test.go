package system

import (
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestLink(t *testing.T) {
	node, far := fixture.NewNetns(t, "node"), fixture.NewNetns(t, "far")
	fixture.Link(t, node, "eth0", far, "lan", fixture.LinkOptions{})
	link := func(name string) (l Link, err error) {
		t.Helper()
		_ = node.Do(func() error { l, err = Kernel{}.Link(name); return nil })
		return l, err
	}
	got, err := link("eth0")
	if err != nil || !got.Carrier || got.Speed != sysfsSpeed(t, node, "eth0") {
		t.Errorf("eth0: %+v, %v, sysfs has %d", got, err, sysfsSpeed(t, node, "eth0"))
	}
	if lo, err := link("lo"); err != nil || lo.Speed != 0 {
		t.Errorf("lo: %+v, %v", lo, err)
	}
	far.Run(t, "ip", "link", "set", "lan", "down")
	if got, err := link("eth0"); err != nil || got.Carrier {
		t.Errorf("eth0 without its peer: %+v, %v", got, err)
	}
	if _, err := link("eth9"); err == nil || !strings.Contains(err.Error(), "eth9") {
		t.Errorf("eth9: %v", err)
	}
	for megabits, want := range map[uint32]uint64{0: 0, 10: 10_000_000, 400_000: 400_000_000_000, ^uint32(0): 0} {
		if got := bits(megabits); got != want {
			t.Errorf("%d Mbit/s are %d bits per second", megabits, got)
		}
	}
}

// sysfsSpeed is what the namespace's own sysfs says.
func sysfsSpeed(t *testing.T, n *fixture.Netns, device string) uint64 {
	t.Helper()
	out, err := n.Output("unshare", "--mount", "sh", "-c", "mount -t sysfs none /sys && cat /sys/class/net/"+device+"/speed")
	if err != nil {
		t.Fatal(err)
	}
	n64, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || n64 < 0 {
		return 0
	}
	return uint64(n64) * 1_000_000
}
