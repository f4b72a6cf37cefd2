package bpf

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/penstock-lb/penstock/test/fixture"
)

func nodeConfig(pins string) NodeConfig {
	return NodeConfig{Pins: pins, TunnelPort: 6082, Timeouts: testConfig("").Timeouts,
		MaxFlows: 1024, MaxYoungFlows: 1024, MaxPods: 64}
}

func loadNodeFor(t *testing.T, cfg NodeConfig) *Node {
	t.Helper()
	n, err := LoadNode(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNodeHooks attaches in every way, and again as an agent does that restarts.
func TestNodeHooks(t *testing.T) {
	for _, test := range []struct {
		mode            NodeMode
		foreign         bool // XDP program on the device
		ingress, egress Hook
		hooks           []string
	}{
		{NodeAuto, false, HookXDPNative, HookTCX, []string{"tcx out backend_out", "xdp backend"}},
		{NodeNative, false, HookXDPNative, HookTCX, []string{"tcx out backend_out", "xdp backend"}},
		{NodeGeneric, false, HookXDPGeneric, HookTCX, []string{"tcx out backend_out", "xdp backend"}},
		{NodeAuto, true, HookTCX, HookTCX, []string{"tcx in backend_in", "tcx out backend_out", "xdp foreign"}},
		{NodeTC, false, HookTCX, HookTCX, []string{"tcx in backend_in", "tcx out backend_out"}},
		{NodeClsact, true, HookClsact, HookClsact, []string{"clsact in penstock_in", "clsact out penstock_out", "xdp foreign"}},
	} {
		name := string(test.mode)
		if test.foreign {
			name += " beside another program"
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
			a, b := fixture.NewNetns(t, "a"), fixture.NewNetns(t, "b")
			fixture.Link(t, a, "eth1.5", b, "peer", fixture.LinkOptions{})
			err := a.Do(func() error {
				if test.foreign {
					attachOther(t, "eth1.5")
				}
				for range 2 { // the second is an agent's restart
					n := loadNodeFor(t, nodeConfig(dir))
					got, err := n.Attach("eth1.5", test.mode)
					if err != nil || got.Ingress != test.ingress || got.Egress != test.egress || (got.Fallback != "") != (test.foreign && test.mode == NodeAuto) {
						t.Errorf("%+v, %v", got, err)
					}
					if got := n.Attached(); !slices.Equal(got, []string{"eth1.5"}) {
						t.Errorf("attached: %v", got)
					}
					if err := n.Close(); err != nil {
						t.Error(err)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.hooks, hooksOf(t, a, "eth1.5")); diff != "" {
				t.Errorf("after the agent has ended (-want +got):\n%s", diff)
			}
			err = a.Do(func() error {
				left, err := CleanupNode(dir)
				if err != nil || !slices.Equal(left, []string{"eth1.5"}) {
					t.Errorf("cleanup: %v, %v", left, err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var foreign []string
			if test.foreign {
				foreign = []string{"xdp foreign"}
			}
			if diff := cmp.Diff(foreign, hooksOf(t, a, "eth1.5")); diff != "" {
				t.Errorf("after cleanup (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("cleanup left the pins")
			}
		})
	}
}

func TestCompileNode(t *testing.T) {
	cfg := nodeConfig(filepath.Join(fixture.MountBPFFS(t), "penstock"))
	cfg.Compile, cfg.Clang = true, "clang-19"
	n := loadNodeFor(t, cfg)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	cfg.Sources = t.TempDir()
	if err := ExportSources(cfg.Sources); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(cfg.Sources, "node_types.h"), "__be16 vport;\n\t__be16 cport;", "__be16 cport;\n\t__be16 vport;")
	_, err := LoadNode(cfg, slog.New(slog.DiscardHandler))
	wantError(t, err, "lays out its node-state differently")
	cfg.Sources = t.TempDir()
	_, err = LoadNode(cfg, slog.New(slog.DiscardHandler))
	wantError(t, err, "has no backend.bpf.c")
}

// TestNodePins stands for restarts and upgrades.
func TestNodePins(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	n := loadNodeFor(t, nodeConfig(dir))
	_, err := LoadNode(nodeConfig(dir), slog.New(slog.DiscardHandler))
	wantError(t, err, "in use by another agent")
	schema := strings.Fields(n.Schema())
	key, flow := Tuple{Sport: 1, Proto: 6}, NodeFlow{Vport: 7}
	if err := n.Map(nodeMapNodeFlows).Put(key, flow); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	n = loadNodeFor(t, nodeConfig(dir))
	var got NodeFlow
	if err := n.Map(nodeMapNodeFlows).Lookup(key, &got); err != nil || got != flow {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	maps, err := OpenNodeTables(dir)
	if err != nil || len(maps) != 9 {
		t.Errorf("%d maps to read, %v", len(maps), err)
	}
	closeMaps(maps)
	other := filepath.Join(dir, "node-state-00000000")
	if err := os.Rename(filepath.Join(dir, schema[1]), other); err != nil {
		t.Fatal(err)
	}
	_, err = LoadNode(nodeConfig(dir), slog.New(slog.DiscardHandler))
	wantError(t, err, "datapath.discardFlows")
	cfg := nodeConfig(dir)
	cfg.DiscardFlows = true
	n = loadNodeFor(t, cfg)
	defer n.Close()
	if err := n.Settle(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the old flows are still there")
	}
	cfg.TunnelPort = 0
	_, err = LoadNode(cfg, slog.New(slog.DiscardHandler))
	wantError(t, err, "tunnel.port 0")
}

// hooksOf lists the programs on a device with their names.
func hooksOf(t *testing.T, n *fixture.Netns, device string) (all []string) {
	t.Helper()
	err := n.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		if xdp := dev.Attrs().Xdp; xdp.Attached {
			all = append(all, "xdp "+programName(t, ebpf.ProgramID(xdp.ProgId)))
		}
		for name, at := range map[string]ebpf.AttachType{"in": ebpf.AttachTCXIngress, "out": ebpf.AttachTCXEgress} {
			on, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: at})
			if err != nil {
				return err
			}
			for _, p := range on.Programs {
				all = append(all, "tcx "+name+" "+programName(t, p.ID))
			}
		}
		for name, parent := range map[string]uint32{"in": netlink.HANDLE_MIN_INGRESS, "out": netlink.HANDLE_MIN_EGRESS} {
			filters, _ := netlink.FilterList(dev, parent) // without clsact there is no such parent
			for _, f := range filters {
				all = append(all, "clsact "+name+" "+f.(*netlink.BpfFilter).Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func programName(t *testing.T, id ebpf.ProgramID) string {
	t.Helper()
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.Name
}

// TestNodeHalfAttached finds another program where ours must be: the one that could be attached
// goes again.
func TestNodeHalfAttached(t *testing.T) {
	dir := filepath.Join(fixture.MountBPFFS(t), "penstock")
	a, b := fixture.NewNetns(t, "a"), fixture.NewNetns(t, "b")
	fixture.Link(t, a, "eth0", b, "peer", fixture.LinkOptions{})
	if err := a.Do(func() error {
		attachOther(t, "eth0")
		n := loadNodeFor(t, nodeConfig(dir))
		_, err := n.Attach("eth0", NodeNative)
		wantError(t, err, "foreign) is on the device")
		if got := n.Attached(); len(got) > 0 {
			t.Errorf("attached: %v", got)
		}
		return n.Close()
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"xdp foreign"}, hooksOf(t, a, "eth0")); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
}
