package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode says where in the kernel the program runs.
type Mode string

// The modes of XDP. Auto tries the driver first.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"
	Generic Mode = "generic"
)

// Attachment is the program on one device.
type Attachment struct {
	Interface string `json:"interface"`
	Ifindex   int    `json:"ifindex"`
	Mode      Mode   `json:"mode"`
	Fallback  string `json:"fallback,omitempty"` // why it is not native although that was tried
}

type attached struct {
	Attachment
	link link.Link
}

// Attach puts the program on a device and pins the link. Where a pinned link is
// on it already, the program is replaced in place: no packet sees neither.
func (lb *LB) Attach(device string, mode Mode) (Attachment, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return Attachment{}, fmt.Errorf("attach to %s: %w", device, err)
	}
	a, err := lb.update(dev, mode)
	if err != nil {
		return Attachment{}, fmt.Errorf("attach to %s: %w", device, err)
	}
	if a == nil {
		if a, err = lb.attach(dev, mode); err != nil {
			return Attachment{}, fmt.Errorf("attach to %s: %w", device, err)
		}
	}
	if old := lb.links[device]; old != nil {
		old.link.Close()
	}
	lb.links[device] = a
	return a.Attachment, lb.syncDevices()
}

// Settle removes what older programs left, once every device has this one.
func (lb *LB) Settle() error { return prune(lb.pins.Dir, lb.dirs...) }

// update swaps the program of a pinned link. It returns nil where there is none
// that is still on this very device and in the wanted mode.
func (lb *LB) update(dev *net.Interface, mode Mode) (*attached, error) {
	pin := linkPin(lb.pins.Dir, dev.Name)
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("pinned link %s: %w", pin, err)
	}
	now := modeOf(dev.Index)
	if info, err := l.Info(); err != nil || info.XDP() == nil || int(info.XDP().Ifindex) != dev.Index ||
		mode != Auto && mode != now {
		// The device was made anew, or is to run in another mode.
		return nil, errors.Join(l.Unpin(), l.Close())
	}
	if err := l.Update(lb.prog); err != nil {
		l.Close()
		return nil, fmt.Errorf("update pinned link %s: %w", pin, err)
	}
	return &attached{Attachment{Interface: dev.Name, Ifindex: dev.Index, Mode: now}, l}, nil
}

func (lb *LB) attach(dev *net.Interface, mode Mode) (*attached, error) {
	a := &attached{Attachment: Attachment{Interface: dev.Name, Ifindex: dev.Index, Mode: Native}}
	var err error
	if mode != Generic {
		a.link, err = lb.attachWith(dev.Index, link.XDPDriverMode)
	}
	if err != nil && mode == Auto && !errors.Is(err, unix.EBUSY) {
		a.Fallback = err.Error()
	}
	if mode == Generic || a.Fallback != "" {
		a.Mode = Generic
		a.link, err = lb.attachWith(dev.Index, link.XDPGenericMode)
	}
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("another XDP program%s is on the device: see `bpftool net show dev %s`,"+
			" remove it, or leave the device out of datapath.interfaces: %w", onDevice(dev.Index), dev.Name, err)
	} else if err != nil {
		return nil, err
	}
	pin := linkPin(lb.pins.Dir, dev.Name)
	if err := os.MkdirAll(filepath.Dir(pin), 0o755); err != nil {
		return nil, errors.Join(err, a.link.Close())
	}
	if err := a.link.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pin link %s: %w", pin, err), a.link.Close())
	}
	return a, nil
}

func (lb *LB) attachWith(ifindex int, flags link.XDPAttachFlags) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: lb.prog, Interface: ifindex, Flags: flags})
}

// modeOf reads how the device runs its program.
func modeOf(ifindex int) Mode {
	l, err := netlink.LinkByIndex(ifindex)
	if err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.AttachMode == xdpAttachedSKB {
		return Generic
	}
	return Native
}

const xdpAttachedSKB = 2 // linux/if_link.h

// onDevice says which XDP program a device has. Its name takes CAP_SYS_ADMIN to ask for.
func onDevice(ifindex int) string {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil || l.Attrs().Xdp == nil || l.Attrs().Xdp.ProgId == 0 {
		return ""
	}
	id := l.Attrs().Xdp.ProgId
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return fmt.Sprintf(" (ID %d)", id)
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return fmt.Sprintf(" (ID %d)", id)
	}
	return fmt.Sprintf(" (ID %d, %s)", id, info.Name)
}

// syncDevices lets packets be redirected between our devices. A driver that runs
// the program natively can be sent to natively; a generic device can only be
// reached from programs that run generically too, so it counts among its like.
func (lb *LB) syncDevices() error {
	devices := lb.maps[lbMapDevices]
	native := false
	for _, a := range lb.links {
		native = native || a.Mode == Native
	}
	var errs []error
	want := make(map[uint32]bool)
	for _, a := range lb.links {
		if index := uint32(a.Ifindex); a.Mode == Native || !native {
			want[index] = true
			errs = append(errs, devices.Put(index, index))
		}
	}
	var key, value uint32
	var gone []uint32
	for it := devices.Iterate(); it.Next(&key, &value); {
		if !want[key] {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		errs = append(errs, devices.Delete(key))
	}
	return errors.Join(errs...)
}

// Detach takes the program off a device and removes the link's pin.
func (lb *LB) Detach(device string) error {
	a := lb.links[device]
	if a == nil {
		return detachPin(linkPin(lb.pins.Dir, device))
	}
	delete(lb.links, device)
	return errors.Join(a.link.Unpin(), a.link.Close(), lb.syncDevices())
}

// Attached names the devices that have a pinned link, ours or from before.
func (lb *LB) Attached() []string { return pinnedDevices(lb.pins.Dir) }

func pinnedDevices(pins string) (devices []string) {
	entries, _ := os.ReadDir(filepath.Join(pins, "links"))
	for _, e := range entries {
		devices = append(devices, strings.ReplaceAll(e.Name(), ":", "."))
	}
	slices.Sort(devices)
	return devices
}

func detachPin(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("pinned link %s: %w", pin, err)
	}
	return errors.Join(l.Unpin(), l.Close())
}

// Cleanup detaches the program everywhere and removes all pins. It refuses while
// an agent holds them. It returns the devices that it left.
func Cleanup(dir string) ([]string, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	pins, err := OpenPins(dir)
	if err != nil {
		return nil, err
	}
	defer pins.Close()
	return removeLB(dir)
}

// Remove is Cleanup by the agent that holds the pins, so that no other one comes between. The LB
// is to be closed all the same, and good for nothing else.
func (lb *LB) Remove() ([]string, error) {
	var errs []error
	for _, a := range lb.links { // a program stays as long as anybody holds its link
		errs = append(errs, a.link.Close())
	}
	clear(lb.links)
	devices, err := removeLB(lb.pins.Dir)
	return devices, errors.Join(append(errs, err)...)
}

func removeLB(dir string) ([]string, error) {
	devices := pinnedDevices(dir)
	var errs []error
	for _, d := range devices {
		errs = append(errs, detachPin(linkPin(dir, d)))
	}
	return devices, errors.Join(errors.Join(errs...), os.RemoveAll(dir))
}
