package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/test/fixture"
)

func testConfig(pins string) Config {
	return Config{
		Pins:     pins,
		Ports:    PortRange{First: 1024, Last: 29999},
		Timeouts: Timeouts{SYN: 30 * time.Second, Established: time.Hour, Closing: time.Minute, Closed: time.Second, UDP: time.Minute},
		MaxFlows: 1024, MaxRows: 4096, MaxBackends: 64, MaxFrontends: 64,
	}
}

func load(t *testing.T, cfg Config) *LB {
	t.Helper()
	lb, err := Load(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return lb
}

func shut(t *testing.T, lb *LB) {
	t.Helper()
	if err := lb.Close(); err != nil {
		t.Error(err)
	}
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}

func TestPins(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	lb := load(t, testConfig(dir))
	_, err := Load(testConfig(dir), slog.New(slog.DiscardHandler))
	wantError(t, err, fmt.Sprintf("in use by another agent, process %d (", os.Getpid()))
	key, value := uint32(3), Backend{Port: 7}
	if err := lb.Map(lbMapBackends).Put(key, value); err != nil {
		t.Fatal(err)
	}
	shut(t, lb)

	bigger := testConfig(dir)
	bigger.MaxBackends = 128 // a pinned map keeps its size
	lb = load(t, bigger)
	defer shut(t, lb)
	if n := lb.Map(lbMapBackends).MaxEntries(); n != 64 {
		t.Errorf("the pinned map has %d entries now", n)
	}
	var got Backend
	if err := lb.Map(lbMapBackends).Lookup(key, &got); err != nil || got != value {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	_, err = Load(testConfig(t.TempDir()), slog.New(slog.DiscardHandler))
	wantError(t, err, "not on a bpf filesystem")
	deep := filepath.Join(t.TempDir(), "a", "b")
	_, err = Load(testConfig(deep), slog.New(slog.DiscardHandler))
	wantError(t, err, "not on a bpf filesystem")
	if _, err := os.Stat(filepath.Dir(deep)); err == nil {
		t.Error("a directory was made on another filesystem")
	}
}

// TestOtherSchema stands for an upgrade: what is pinned has another layout.
func TestOtherSchema(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	lb := load(t, testConfig(dir))
	names := strings.Fields(lb.Schema())
	shut(t, lb)
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	rename(names[1], "state-00000000")
	_, err := Load(testConfig(dir), slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrStateSchema) {
		t.Errorf("flows of another layout: %v", err)
	}
	wantError(t, err, "datapath.discardFlows")
	if _, err := os.Stat(filepath.Join(dir, "state-00000000")); err != nil {
		t.Errorf("refused, and the old flows are gone: %v", err)
	}
	rename("state-00000000", names[1])
	rename(names[0], "tables-00000000")
	_, err = OpenTables(dir)
	wantError(t, err, "was written by another version")
	lb = load(t, testConfig(dir))
	defer shut(t, lb)
	if _, err := os.Stat(filepath.Join(dir, "tables-00000000")); err != nil {
		t.Errorf("the old tables are gone before the links are switched over: %v", err)
	}
	if err := lb.Settle(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tables-00000000")); err == nil {
		t.Error("the old tables are still there")
	}
	if _, err := os.Stat(filepath.Join(dir, names[1])); err != nil {
		t.Errorf("the flows: %v", err)
	}
}

func TestAttach(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	a, b := fixture.NewNetns(t, "a"), fixture.NewNetns(t, "b")
	for _, dev := range []string{"eth0", "eth1.5", "busy"} {
		fixture.Link(t, a, dev, b, "p"+dev, fixture.LinkOptions{})
	}
	if err := a.Do(func() error {
		lb := load(t, testConfig(dir))
		for dev, mode := range map[string]Mode{"eth0": Auto, "eth1.5": Generic} {
			got, err := lb.Attach(dev, mode)
			want := Native
			if mode == Generic {
				want = Generic
			}
			if err != nil || got.Mode != want || got.Fallback != "" {
				t.Errorf("%s: %+v, %v", dev, got, err)
			}
		}
		_, err := lb.Attach("nosuch", Auto)
		wantError(t, err, "attach to nosuch")
		if got, err := lb.Attach("lo", Auto); err != nil || got.Mode != Generic || got.Fallback == "" {
			t.Errorf("lo has no native XDP: %+v, %v", got, err)
		}
		if err := lb.Detach("lo"); err != nil {
			t.Error(err)
		}
		attachOther(t, "busy")
		_, err = lb.Attach("busy", Auto)
		wantError(t, err, "foreign) is on the device")
		shut(t, lb)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	before := xdpIDs(t, a)
	if before["eth0"] == "" || before["eth1.5"] == "" {
		t.Fatalf("the agent is gone, and the programs with it: %v", before)
	}
	if err := a.Do(func() error {
		lb := load(t, testConfig(dir))
		defer shut(t, lb)
		if got := lb.Attached(); len(got) != 2 {
			t.Errorf("pinned links: %v", got)
		}
		for _, dev := range []string{"eth0", "eth1.5"} {
			if _, err := lb.Attach(dev, Auto); err != nil {
				t.Error(err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	after := xdpIDs(t, a)
	if after["eth0"] == before["eth0"] || after["eth0"] != after["eth1.5"] {
		t.Errorf("programs before %v, after %v: want one new program on both", before, after)
	}
	if err := a.Do(func() error {
		devices, err := Cleanup(dir)
		if err != nil || len(devices) != 2 {
			t.Errorf("cleanup: %v, %v", devices, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if left := xdpIDs(t, a); left["eth0"] != "" || left["eth1.5"] != "" {
		t.Errorf("after cleanup: %v", left)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("cleanup left the pins")
	}
}

func attachOther(t *testing.T, device string) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	dev, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Index})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// xdpIDs reads the program on each device as `ip link` shows it.
func xdpIDs(t *testing.T, n *fixture.Netns) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	for _, dev := range []string{"eth0", "eth1.5"} {
		words := strings.Fields(n.Run(t, "ip", "-d", "link", "show", "dev", dev))
		for i, w := range words {
			if w == "prog/xdp" && i+2 < len(words) {
				ids[dev] = words[i+2]
			}
		}
	}
	return ids
}

func TestCompile(t *testing.T) {
	clang, err := exec.LookPath("clang-19")
	if err != nil {
		t.Fatalf("clang-19 comes with `make test`: %v", err)
	}
	cfg := testConfig(filepath.Join(fixture.MountBPFFS(t), "penstock"))
	cfg.Compile, cfg.Clang = true, clang
	shut(t, load(t, cfg))

	t.Run("changed on site", func(t *testing.T) {
		cfg := cfg
		cfg.Sources = t.TempDir()
		if err := ExportSources(cfg.Sources); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(cfg.Sources, "reject.h"), "#define ERROR_TTL 64", "#define ERROR_TTL 32")
		shut(t, load(t, cfg))
		edit(t, filepath.Join(cfg.Sources, "types.h"), "__u32 service;\n\t__be16 port;", "__be16 port;\n\t__u32 service;")
		_, err := Load(cfg, slog.New(slog.DiscardHandler))
		wantError(t, err, "lays out its tables differently")
		edit(t, filepath.Join(cfg.Sources, "types.h"), "struct addr {", "struct addr ;")
		_, err = Load(cfg, slog.New(slog.DiscardHandler))
		wantError(t, err, "types.h")
	})
	cfg.Clang = "no-such-clang"
	_, err = Load(cfg, slog.New(slog.DiscardHandler))
	wantError(t, err, `datapath.clang "no-such-clang" is not there: install clang`)
	cfg.Clang, cfg.Sources = clang, t.TempDir()
	_, err = Load(cfg, slog.New(slog.DiscardHandler))
	wantError(t, err, "has no lb.bpf.c")
}

func edit(t *testing.T, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVerdictNames holds Go's list to the enum, where each verdict has its action.
func TestVerdictNames(t *testing.T) {
	names, err := Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != int(lbVerdictVERDICTS) {
		t.Errorf("%d names for %d verdicts", len(names), lbVerdictVERDICTS)
	}
	for i, n := range names {
		switch n.Action {
		case "pass", "forward", "encap", "reply", "icmp", "probe", "deliver", "bounce", "return", "reject", "drop", "abort":
		default:
			t.Errorf("verdict %d, %s, begins with %q, which is no action", i, n.Name, n.Action)
		}
	}
}

// TestCapabilities drops one in a thread of its own, which ends with the test.
func TestCapabilities(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not to be used again
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{}
		for _, bit := range []uint{unix.CAP_NET_ADMIN, unix.CAP_BPF} {
			data[bit/32].Effective |= 1 << (bit % 32)
			data[bit/32].Permitted |= 1 << (bit % 32)
		}
		if err := unix.Capset(&header, &data[0]); err != nil {
			done <- fmt.Errorf("capset: %w", err)
			return
		}
		done <- withCapabilities(os.ErrPermission)
	}()
	err := <-done
	wantError(t, err, "lacks the capabilities PERFMON;")
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("the cause is lost: %v", err)
	}
	if got, want := withCapabilities(os.ErrPermission).Error(), os.ErrPermission.Error(); got != want {
		t.Errorf("with all capabilities: %s", got)
	}
}

// TestFailedLoad has a start fail at its second group of maps: what it made goes, and what was
// there before stays.
func TestFailedLoad(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	huge := testConfig(dir)
	huge.MaxFlows = 1 << 30
	fails := func() {
		t.Helper()
		_, err := Load(huge, slog.New(slog.DiscardHandler))
		wantError(t, err, "create map flows")
	}
	fails()
	gone := func() {
		t.Helper()
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a failed start leaves %s: %v", dir, err)
		}
	}
	gone()
	hugeNode := nodeConfig(dir)
	hugeNode.MaxFlows = 1 << 31
	_, err := LoadNode(hugeNode, slog.New(slog.DiscardHandler))
	wantError(t, err, "create map node_flows")
	gone()

	lb := load(t, testConfig(dir))
	schema := strings.Fields(lb.Schema())
	shut(t, lb)
	if err := os.RemoveAll(filepath.Join(dir, schema[1])); err != nil {
		t.Fatal(err)
	}
	fails()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != schema[0] {
		t.Errorf("a failed start leaves %v of %v, %v", left, schema, err)
	}
}
