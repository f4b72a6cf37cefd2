package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names of our filters, by which they are found again.
var filterNames = map[string]string{pinIngress: "penstock_in", pinEgress: "penstock_out"}

const lastPriority = 0xffff

func clsactParent(name string) uint32 {
	if name == pinEgress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// attachClsact is for kernels before 6.6, which have no tcx. The filter is replaced in
// place, which is atomic, and stays without the agent.
func (n *Node) attachClsact(h *nodeHooks, name string, prog *ebpf.Program) error {
	dev, err := netlink.LinkByIndex(h.Ifindex)
	if err != nil {
		return err
	}
	qdisc := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: h.Ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the clsact qdisc (kernel modules sch_ingress and cls_bpf): %w", err)
	}
	filters, err := netlink.FilterList(dev, clsactParent(name))
	if err != nil {
		return fmt.Errorf("list the filters of clsact: %w", err)
	}
	filter := &netlink.BpfFilter{Fd: prog.FD(), Name: filterNames[name], DirectAction: true,
		FilterAttrs: netlink.FilterAttrs{LinkIndex: h.Ifindex, Parent: clsactParent(name),
			Handle: 1, Protocol: unix.ETH_P_ALL, Priority: freePriority(filters, name)}}
	if ours := ownFilter(filters, name); ours != nil {
		filter.FilterAttrs = *ours.Attrs()
	}
	if filter.Priority > 1 && name == pinIngress {
		n.log.Warn("other filters of clsact see packets before ours: one that lets a packet pass for good keeps it in the tunnel",
			"device", h.Interface, "priority", filter.Priority)
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return fmt.Errorf("add filter %s to clsact (an ingress qdisc in its place? see `tc qdisc show`): %w", filter.Name, err)
	}
	if err := recordClsact(n.pins.Dir, h.Interface, name, prog); err != nil {
		return err
	}
	return detachNodeLink(n.pins.Dir, h.Interface, name)
}

// freePriority is one that no other filter has: before all others on ingress where
// there is room, after all on egress.
func freePriority(filters []netlink.Filter, name string) uint16 {
	used := make(map[uint16]bool)
	for _, f := range filters {
		used[f.Attrs().Priority] = true
	}
	if name == pinEgress {
		for p := uint16(lastPriority); ; p-- {
			if !used[p] {
				return p
			}
		}
	}
	for p := uint16(1); ; p++ {
		if !used[p] {
			return p
		}
	}
}

func ownFilter(filters []netlink.Filter, name string) netlink.Filter {
	for _, f := range filters {
		if f, ok := f.(*netlink.BpfFilter); ok && f.Name == filterNames[name] {
			return f
		}
	}
	return nil
}

func clsactPin(pins, device, name string) string {
	return filepath.Join(nodePin(pins, device), name+"-clsact")
}

// recordClsact pins the program, so that the filter is known to be ours.
func recordClsact(pins, device, name string, prog *ebpf.Program) error {
	pin := clsactPin(pins, device, name)
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	other, err := prog.Clone() // a Program has one pin
	if err != nil {
		return err
	}
	if err := other.Pin(pin); err != nil {
		return errors.Join(fmt.Errorf("pin program %s: %w", pin, err), other.Close())
	}
	return other.Close()
}

func (n *Node) detachClsact(device, name string) error {
	return detachNodeClsact(n.pins.Dir, device, name)
}

func detachNodeClsact(pins, device, name string) error {
	pin := clsactPin(pins, device, name)
	if _, err := os.Stat(pin); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if dev, err := netlink.LinkByName(device); err == nil {
		filters, err := netlink.FilterList(dev, clsactParent(name))
		if err != nil {
			return fmt.Errorf("list the filters of clsact on %s: %w", device, err)
		}
		if ours := ownFilter(filters, name); ours != nil {
			if err := netlink.FilterDel(ours); err != nil {
				return fmt.Errorf("remove filter %s from %s: %w", filterNames[name], device, err)
			}
		}
	}
	return os.Remove(pin)
}
