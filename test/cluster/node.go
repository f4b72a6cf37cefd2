package cluster

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Node is a machine with containerd and kubelet.
type Node struct {
	*fixture.Netns // its network

	Name         string
	Addr4, Addr6 netip.Addr
	Dir          string // logs and all that it keeps over a power cut

	number  int // of the third part of its pods' network
	tb      testing.TB
	site    *Site
	init    *fixture.Self
	pid     int // of PID 1 as the machine has it
	kubelet int // as the node has it
}

func (n *Node) pods4() string { return fmt.Sprintf("10.2.%d.0/24", n.number) }
func (n *Node) pods6() string { return fmt.Sprintf("fd00:2:%d::/64", n.number) }

// newNode makes the machine and plugs it into the switch. It does not run yet.
func newNode(tb testing.TB, s *Site, name string, host, number int) *Node {
	tb.Helper()
	n := &Node{
		Netns: fixture.NewNetns(tb, name), Name: name, number: number, tb: tb, site: s, Dir: fixture.Scratch(tb, "node-"+name),
		Addr4: netip.AddrFrom4([4]byte{10, 0, 0, byte(host)}), Addr6: netip.MustParseAddr(fmt.Sprintf("fd00:10::%d", host)),
	}
	n.Forward(tb)
	// For the port of the switch see Site.plug.
	fixture.Link(tb, s.Router, name, n.Netns, "eth0", fixture.LinkOptions{
		AddrsB: []string{n.Addr4.String() + "/24", n.Addr6.String() + "/64"}, NoOffload: true, XDPPassA: true,
	})
	s.Router.Run(tb, "ip", "link", "set", name, "master", "switch")
	n.AddRoute(tb, "default", router4)
	n.AddRoute(tb, "default6", router6)
	fixture.NewCgroups(tb, n.cgroup())
	return n
}

// cgroup is a name that no other run has.
func (n *Node) cgroup() string { return n.Netns.Name }

// boot starts PID 1. Nothing else runs yet.
func (n *Node) boot(tb testing.TB) {
	tb.Helper()
	n.init = fixture.StartSelf(tb, n.Netns, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", n.init.Pid()))
	if err != nil {
		tb.Fatalf("PID 1 of node %s: %v", n.Name, err)
	}
	if n.pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		tb.Fatalf("PID 1 of node %s: %v", n.Name, err)
	}
	n.init.Call("Boot", Machine{n.Name, n.Dir})
}

// run starts a program of the node, which logs to a file NAME.log.
func (n *Node) run(name string, argv ...string) (pid int, err error) {
	err = n.init.Ask("Run", Program{argv, n.log(name)}, &pid)
	return pid, err
}

func (n *Node) log(name string) string { return filepath.Join(n.Dir, name+".log") }

// Exec runs a command in all of the node's namespaces and returns what it prints.
func (n *Node) Exec(argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("nsenter", append([]string{
		"-t", strconv.Itoa(n.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--",
	}, argv...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w\n%s%s", n.Name, strings.Join(argv, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Kill cuts the power: the node falls silent, while the router's link stays up. What the node has
// on its disk stays.
func (n *Node) Kill(tb testing.TB) {
	tb.Helper()
	n.Unplug(tb)
	if err := n.stop(); err != nil {
		tb.Fatal(err)
	}
}

// stop ends all processes of the node, which go with their PID 1.
func (n *Node) stop() error {
	if err := syscall.Kill(n.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill node %s: %w", n.Name, err)
	}
	_, err := n.init.Wait(10 * time.Second)
	return err
}

// Start boots the node once more after [Node.Kill]. It runs on after the scene.
func (n *Node) Start() {
	n.tb.Helper()
	// Bridges and routes of the pods that there were go with a machine's memory, and so do rules.
	_, _ = n.Output("ip", "link", "delete", "cni0")
	n.Run(n.tb, "nft", "flush", "ruleset")
	n.Sysctl(n.tb, "net.ipv4.conf.eth0.accept_local", "0") // and so do settings
	// The kubelet waits for each cgroup that it can't account for.
	fixture.ClearCgroups(n.tb, n.cgroup())
	n.Plug(n.tb)
	n.boot(n.tb)
	if err := n.up(nil); err != nil {
		n.tb.Fatal(err)
	}
}

// Unplug has the node's port of the switch pass nothing.
func (n *Node) Unplug(tb testing.TB) {
	tb.Helper()
	n.site.Router.Run(tb, "ip", "link", "set", n.Name, "down")
}

// Plug ends [Node.Unplug].
func (n *Node) Plug(tb testing.TB) {
	tb.Helper()
	n.site.Router.Run(tb, "ip", "link", "set", n.Name, "up")
	// Without carrier the kernel has dropped what it had by the device.
	for _, r := range [][2]string{{"default", router4}, {"default6", router6}} {
		if _, err := n.Output("ip", "route", "get", r[1]); err != nil {
			n.AddRoute(tb, r[0], r[1])
		}
	}
}

// Freeze stops the kubelet, and nothing else; [Node.Thaw] has it go on.
func (n *Node) Freeze() { n.init.Call("Send", Signal{n.kubelet, syscall.SIGSTOP}) }

// Thaw ends [Node.Freeze].
func (n *Node) Thaw() { n.init.Call("Send", Signal{n.kubelet, syscall.SIGCONT}) }
