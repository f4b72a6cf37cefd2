package cluster

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// foreignTCX puts a program on eth0 that lets the next one decide, as somebody else's agent would. It
// gives what takes it away.
func (n *Node) foreignTCX(tb testing.TB) (remove func()) {
	tb.Helper()
	const next = -1
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, next), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	defer prog.Close()
	var l link.Link
	err = n.Do(func() error {
		dev, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		l, err = link.AttachTCX(link.TCXOptions{Interface: dev.Attrs().Index, Program: prog, Attach: ebpf.AttachTCXIngress})
		return err
	})
	if err != nil {
		tb.Fatalf("tcx program on eth0 of %s: %v", n.Name, err)
	}
	remove = func() { l.Close() }
	tb.Cleanup(remove)
	return remove
}

// tcx names the programs on eth0, of which the bpftool of Debian does not know.
func (n *Node) tcx() (list []string, err error) {
	err = n.Do(func() error {
		dev, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for where, at := range map[string]ebpf.AttachType{"ingress": ebpf.AttachTCXIngress, "egress": ebpf.AttachTCXEgress} {
			on, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: at})
			if err != nil {
				return err
			}
			for _, p := range on.Programs {
				prog, err := ebpf.NewProgramFromID(p.ID)
				if err != nil {
					return err
				}
				info, err := prog.Info()
				prog.Close()
				if err != nil {
					return err
				}
				list = append(list, where+" "+info.Name)
			}
		}
		return nil
	})
	return list, err
}

// foreignMachine makes an image of a program for another kind of machine, under a tag of Penstock's.
func foreignMachine(tb testing.TB, program, tag string) string {
	tb.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		tb.Fatal(err)
	}
	machine := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_X86_64
	}
	binary.LittleEndian.PutUint16(b[18:], uint16(machine)) // e_machine
	file := filepath.Join(tb.TempDir(), "penstock")
	if err := os.WriteFile(file, b, 0o755); err != nil {
		tb.Fatal(err)
	}
	return penstockTar(tb, file, tag)
}
