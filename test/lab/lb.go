package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// routeTimeout bounds the way from a manifest to the router's FIB, BGP session
// included: GoBGP idles up to 7 s after a session is lost.
const routeTimeout = 30 * time.Second

// LB is an LB node with its agent.
type LB struct {
	*fixture.Netns
	Name         string
	Addr4, Addr6 netip.Addr
	Dir          string // configuration, manifests and socket
	BPFFS        string // the mount
	Agent        *fixture.Process
	Wrap         []string // a command that runs the agent, such as setpriv

	binary string
}

func lb4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n), 2}) }

func lb6(n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:0:%d::2", n))
}

func newLB(tb fixture.TB, l *Lab, n int, binary string, opts Options) *LB {
	tb.Helper()
	b := &LB{Name: fmt.Sprintf("lb%d", n), Addr4: lb4(n), Addr6: lb6(n), binary: binary, Dir: tb.TempDir()}
	b.BPFFS = fixture.MountBPFFS(tb)
	b.Netns = fixture.NewNetns(tb, b.Name)
	b.Forward(tb)
	fixture.Link(tb, l.Router, b.Name, b.Netns, "eth0", fixture.LinkOptions{
		AddrsA: []string{fmt.Sprintf("10.0.%d.1/24", n), fmt.Sprintf("fd00:0:%d::1/64", n)},
		AddrsB: []string{b.Addr4.String() + "/24", b.Addr6.String() + "/64"}, NoOffload: true, XDPPassA: true,
	})
	b.AddRoute(tb, "default", fmt.Sprintf("10.0.%d.1", n))
	b.AddRoute(tb, "default6", fmt.Sprintf("fd00:0:%d::1", n))
	if err := os.MkdirAll(b.Manifests(), 0o755); err != nil {
		tb.Fatalf("manifests of %s: %v", b.Name, err)
	}
	text := fmt.Sprintf(`node: %s
vips: [198.51.100.0/24, "2001:db8:100::/64"]
source: {directory: %s}
datapath: {interfaces: %s, mode: %s, bpffs: %s, seed: lab}
bgp:
  asn: %d
  routerID: %s
  peers:
  - {name: tor4, address: 10.0.%d.1, asn: %d, holdTime: 3s, keepaliveTime: 1s}
  - {name: tor6, address: "fd00:0:%d::1", asn: %d, holdTime: 3s, keepaliveTime: 1s}
metrics: {address: "127.0.0.1:9470"}
api: {socket: %s}
drainTimeout: 5s
%s`, b.Name, b.Manifests(), cmp.Or(opts.Interfaces, "[eth0]"), cmp.Or(opts.Mode, "auto"), b.Pins(), LBASN, b.Addr4, n, RouterASN, n, RouterASN, b.Socket(), opts.Config)
	if err := os.WriteFile(b.Config(), []byte(text), 0o600); err != nil {
		tb.Fatalf("configuration of %s: %v", b.Name, err)
	}
	return b
}

// Config is the path of the agent's configuration.
func (b *LB) Config() string { return filepath.Join(b.Dir, "penstock.yaml") }

// Manifests is the agent's source directory.
func (b *LB) Manifests() string { return filepath.Join(b.Dir, "manifests") }

// Socket is the path of the agent's API.
func (b *LB) Socket() string { return filepath.Join(b.Dir, "agent.sock") }

// Pins is the agent's bpffs directory.
func (b *LB) Pins() string { return filepath.Join(b.BPFFS, "penstock") }

// StartAgent starts the agent; it may not be ready yet.
func (b *LB) StartAgent(tb fixture.TB, args ...string) {
	tb.Helper()
	b.Agent = b.Start(tb, slices.Concat(b.Wrap, []string{b.binary, "agent", "--config", b.Config()}, args)...)
}

// KillAgent ends the agent without a word.
func (b *LB) KillAgent(tb fixture.TB) {
	tb.Helper()
	b.Agent.Stop(tb, syscall.SIGKILL)
}

// Penstock runs the command line against this node's agent and returns what it
// prints on stdout.
func (b *LB) Penstock(args ...string) (string, error) {
	return b.Output(append([]string{b.binary, "--socket", b.Socket(), "--bpffs", b.Pins()}, args...)...)
}

// Write puts a manifest into the agent's source in one step.
func (b *LB) Write(tb fixture.TB, name, text string) {
	tb.Helper()
	tmp := filepath.Join(b.Dir, name+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		tb.Fatalf("manifest %s of %s: %v", name, b.Name, err)
	}
	if err := os.Rename(tmp, filepath.Join(b.Manifests(), name)); err != nil {
		tb.Fatalf("manifest %s of %s: %v", name, b.Name, err)
	}
}

// Build makes the binary of this tree, or takes the one that PENSTOCK names.
func Build(tb fixture.TB) string {
	tb.Helper()
	if b := os.Getenv("PENSTOCK"); b != "" {
		return b
	}
	path := filepath.Join(tb.TempDir(), "penstock")
	out, err := exec.Command("go", "build", "-o", path, "github.com/penstock-lb/penstock/cmd/penstock").CombinedOutput()
	if err != nil {
		tb.Fatalf("build penstock: %v\n%s", err, out)
	}
	return path
}
