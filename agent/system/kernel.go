// Package system asks the node's kernel what agents need to know beside the data path.
package system

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bpf"
)

// Kernel is the System of the network namespace that the process runs in.
type Kernel struct{}

// DefaultDevices names the devices of all default routes of the main table.
func (Kernel) DefaultDevices() ([]string, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("read default routes: %w", err)
	}
	indices := map[int]bool{}
	for _, r := range routes {
		if !isDefault(r.Dst) {
			continue
		}
		for _, hop := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex}) {
			indices[hop.LinkIndex] = true
		}
	}
	delete(indices, 0) // multipath routes have no device of their own
	var names []string
	var errs []error
	for index := range indices {
		dev, err := net.InterfaceByIndex(index)
		if err != nil {
			errs = append(errs, fmt.Errorf("device %d of a default route: %w", index, err))
			continue
		}
		if dev.Flags&net.FlagLoopback == 0 { // IPv6 has an unreachable default on lo
			names = append(names, dev.Name)
		}
	}
	slices.Sort(names)
	return names, errors.Join(errs...)
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0
}

// Ifindex returns an error that wraps fs.ErrNotExist for a missing interface.
func (Kernel) Ifindex(name string) (int, error) {
	dev, err := netlink.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return 0, fmt.Errorf("no such interface: %w", fs.ErrNotExist)
	} else if err != nil {
		return 0, fmt.Errorf("look up interface: %w", err)
	}
	return dev.Attrs().Index, nil
}

// Device is an interface's name and place. Indices are 0 where there is none.
type Device struct {
	Name  string
	Lower int    // of a VLAN device
	VLAN  uint16 // 802.1Q ID of a VLAN device
	Bond  int    // that it is a port of; of a team too
}

// Device looks an interface up by its index.
func (Kernel) Device(index int) (Device, error) {
	dev, err := netlink.LinkByIndex(index)
	if err != nil {
		return Device{}, fmt.Errorf("look up interface %d: %w", index, err)
	}
	info := Device{Name: dev.Attrs().Name}
	if v, ok := dev.(*netlink.Vlan); ok && dev.Attrs().NetNsID < 0 {
		info.Lower, info.VLAN = dev.Attrs().ParentIndex, uint16(v.VlanId)
	}
	if up := dev.Attrs().MasterIndex; up != 0 {
		if master, err := netlink.LinkByIndex(up); err == nil && (master.Type() == "bond" || master.Type() == "team") {
			info.Bond = up
		}
	}
	return info, nil
}

// notOwn is where kube-proxy's IPVS mode puts the external addresses of all
// Services, which do not become the node's own by that.
const notOwn = "kube-ipvs0"

// Addresses returns every address of the network namespace with its device.
func (Kernel) Addresses() (map[netip.Addr]string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	names := map[int]string{}
	for _, d := range devices {
		names[d.Index] = d.Name
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("read the node's addresses: %w", err)
	}
	out := make(map[netip.Addr]string, len(all))
	for _, a := range all {
		addr, ok := netip.AddrFromSlice(a.IP)
		if name := names[a.LinkIndex]; ok && name != notOwn {
			out[addr.Unmap()] = name
		}
	}
	return out, nil
}

// Pinned lists the devices that have a link pinned below the bpffs directory, of either
// role, for whoever looks while no agent runs. Devices are looked up in the network
// namespace of the process.
func Pinned(pins string) []api.InterfaceStatus {
	out := []api.InterfaceStatus{}
	for _, name := range pinnedIn(filepath.Join(pins, "links")) {
		out = append(out, pinnedXDP(name, string(bpf.Native), string(bpf.Generic)))
	}
	for _, name := range pinnedIn(filepath.Join(pins, "node-links")) {
		i := api.InterfaceStatus{Name: name, Attached: true, Mode: "tc"}
		if _, err := os.Stat(filepath.Join(pins, "node-links", strings.ReplaceAll(name, ".", ":"), "xdp")); err == nil {
			i = pinnedXDP(name, string(bpf.HookXDPNative), string(bpf.HookXDPGeneric))
		}
		if i.Attached {
			i.Egress = "tc"
		}
		out = append(out, i)
	}
	return out
}

func pinnedIn(dir string) (names []string) {
	entries, _ := os.ReadDir(dir) // none without the directory
	for _, e := range entries {
		names = append(names, strings.ReplaceAll(e.Name(), ":", ".")) // as bpf pins it
	}
	return names
}

func pinnedXDP(name, native, generic string) api.InterfaceStatus {
	i := api.InterfaceStatus{Name: name}
	dev, err := netlink.LinkByName(name)
	switch {
	case err != nil:
		i.Error = "a link is pinned, but this network namespace has no such device"
	case dev.Attrs().Xdp == nil || !dev.Attrs().Xdp.Attached:
		i.Error = "a link is pinned, but no program is on the device"
	default:
		i.Attached, i.Mode = true, native
		if dev.Attrs().Xdp.AttachMode == xdpAttachedSKB {
			i.Mode = generic
		}
	}
	return i
}

const xdpAttachedSKB = 2 // linux/if_link.h

const procSys = "/proc/sys"

// Sysctl reads /proc/sys/name without the line break at its end.
func (Kernel) Sysctl(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(procSys, name))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
