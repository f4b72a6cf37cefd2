package bpf

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
