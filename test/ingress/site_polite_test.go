package ingress

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
)

// counting is a tc program that counts what it sees: packets to or from the pods'
// port, by the protocol's number there, and lets all pass.
func counting(t testing.TB, name string) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seen.Close() })
	const protocolOffset = 14 + 9 // IPv4
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R0, 0),
		asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R2, protocolOffset),
		asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("out"), // TCX_NEXT, TC_ACT_UNSPEC
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog, seen
}

func seenOf(t testing.TB, m *ebpf.Map, proto uint32) (n uint64) {
	t.Helper()
	if err := m.Lookup(proto, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBesideOthers has a foreign program at each hook, from before ours and from after:
// it sees what comes out of the tunnel, and stays when ours go.
func TestBesideOthers(t *testing.T) {
	for _, mode := range []bpf.NodeMode{bpf.NodeTC, bpf.NodeClsact} {
		t.Run(string(mode), func(t *testing.T) {
			in, seenIn := counting(t, "foreign_in")
			out, seenOut := counting(t, "foreign_out")
			s := newSite(t, siteOptions{mode: mode, link: fixture.LinkOptions{NoOffload: true}, foreign: func(s *site) {
				for _, at := range []struct {
					prog *ebpf.Program
					tcx  ebpf.AttachType
					tc   uint32
				}{{in, ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS}, {out, ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS}} {
					if mode == bpf.NodeTC {
						attachTCX(s, at.prog, at.tcx)
					} else {
						attachFilter(s, at.prog, at.tc)
					}
				}
			}})
			s.know(true)
			s.servers()
			s.lb.owners(siteVIPs[0].Addr(), 0, podAddr(0, 0))
			c := s.mustDial(t, siteVIPs[0], 0)
			s.mustExchange(t, c, 1000)
			if mode == bpf.NodeTC { // a filter that was at priority 1 before us sees the tunnel
				if n := seenOf(t, seenIn, unix.IPPROTO_UDP); n != 0 {
					t.Errorf("the foreign program saw %d packets of the tunnel, which ends before it", n)
				}
				if seenOf(t, seenIn, unix.IPPROTO_TCP) == 0 {
					t.Error("the foreign program saw no packet out of the tunnel")
				}
			}
			if seenOf(t, seenOut, unix.IPPROTO_TCP) == 0 {
				t.Error("the foreign program saw no reply")
			}
			if err := s.nodeHost.Do(func() error { return s.node.Detach("eth0") }); err != nil {
				t.Fatal(err)
			}
			if left := programsOn(t, s); !slices.Equal(left, []string{"foreign_in", "foreign_out"}) {
				t.Errorf("after Detach the device has %v", left)
			}
		})
	}
}

func attachTCX(s *site, prog *ebpf.Program, at ebpf.AttachType) {
	s.t.Helper()
	err := s.nodeHost.Do(func() error {
		dev, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: dev.Attrs().Index, Program: prog, Attach: at})
		if err == nil {
			s.t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func attachFilter(s *site, prog *ebpf.Program, parent uint32) {
	s.t.Helper()
	err := s.nodeHost.Do(func() error {
		dev, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_ = netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: dev.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
		name := "foreign_in"
		if parent == netlink.HANDLE_MIN_EGRESS {
			name = "foreign_out"
		}
		return netlink.FilterAdd(&netlink.BpfFilter{Fd: prog.FD(), Name: name, DirectAction: true, FilterAttrs: netlink.FilterAttrs{
			LinkIndex: dev.Attrs().Index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1}})
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// programsOn names the tc programs on the node's uplink.
func programsOn(t testing.TB, s *site) (names []string) {
	t.Helper()
	err := s.nodeHost.Do(func() error {
		dev, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			on, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: at})
			if err != nil {
				return err
			}
			for _, p := range on.Programs {
				prog, err := ebpf.NewProgramFromID(p.ID)
				if err != nil {
					return err
				}
				name := strings.TrimPrefix(prog.String(), "SchedCLS(")
				names = append(names, name[:strings.IndexByte(name, ')')])
				prog.Close()
			}
		}
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, _ := netlink.FilterList(dev, parent) // none where clsact is not
			for _, f := range filters {
				names = append(names, f.(*netlink.BpfFilter).Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestUpgrade replaces the programs under a connection, in every hook.
func TestUpgrade(t *testing.T) {
	for _, mode := range []bpf.NodeMode{bpf.NodeNative, bpf.NodeGeneric, bpf.NodeTC, bpf.NodeClsact} {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, siteOptions{mode: mode, link: fixture.LinkOptions{NoOffload: true}})
			s.know(true)
			s.servers()
			s.lb.owners(siteVIPs[0].Addr(), 0, podAddr(0, 0))
			c := s.mustDial(t, siteVIPs[0], 0)
			ended := make(chan error, 1)
			go func() { ended <- exchange(c, 3_000_000) }()
			for range 5 {
				s.attach(mode)
			}
			if err := <-ended; err != nil {
				t.Errorf("%v; verdicts:\n%s", err, s.verdicts())
			}
		})
	}
}

// TestOffloads lets segments of many packets and unfinished checksums come to egress.
func TestOffloads(t *testing.T) {
	for _, mode := range []bpf.NodeMode{bpf.NodeNative, bpf.NodeTC} {
		s := newSite(t, siteOptions{mode: mode})
		s.know(true)
		s.servers()
		everyFamily(t, func(t *testing.T, inner, outer int) {
			s.lb.owners(siteVIPs[inner].Addr(), outer, podAddr(0, inner))
			s.mustExchange(t, s.mustDial(t, siteVIPs[inner], 0), 2_000_000)
			s.lb.owners(siteVIPs[inner].Addr(), outer, hostPod(inner))
			s.mustExchange(t, s.mustDial(t, siteVIPs[inner], 0), 2_000_000)
		})
	}
}
