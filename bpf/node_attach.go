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
	"golang.org/x/sys/unix"
)

// NodeMode says where in the kernel an ingress node takes packets in.
type NodeMode string

// The modes. What leaves always passes tc.
const (
	NodeAuto    NodeMode = "auto"    // XDP, or tc where that is another's or not possible
	NodeNative  NodeMode = "native"  // XDP in the driver
	NodeGeneric NodeMode = "generic" // XDP before the stack
	NodeTC      NodeMode = "tc"      // tcx, or clsact before kernel 6.6
	NodeClsact  NodeMode = "clsact"  // also where the kernel has tcx
)

// Hook is one place in the kernel where programs run.
type Hook string

// The hooks.
const (
	HookXDPNative  Hook = "xdp-native"
	HookXDPGeneric Hook = "xdp-generic"
	HookTCX        Hook = "tcx"
	HookClsact     Hook = "clsact"
)

// NodeAttachment is the programs on one device.
type NodeAttachment struct {
	Interface string `json:"interface"`
	Ifindex   int    `json:"ifindex"`
	Ingress   Hook   `json:"ingress"`
	Egress    Hook   `json:"egress"`
	Fallback  string `json:"fallback,omitempty"` // why ingress is not native XDP although that was tried
}

// nodeHooks are a device's links by the name of their pin.
type nodeHooks struct {
	NodeAttachment
	links map[string]link.Link
}

// The names of the pins below node-links/DEVICE. A filter of clsact has no link; the
// program pinned in its place says that there is one.
const (
	pinXDP     = "xdp"
	pinIngress = "ingress"
	pinEgress  = "egress"
)

func (h *nodeHooks) close() error {
	var errs []error
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Attach puts the programs on a device. Where ours are on it already they are
// replaced in place: no packet sees neither. Egress comes first, so that no flow is
// opened whose replies would miss the VIP. Foreign programs stay where they are.
func (n *Node) Attach(device string, mode NodeMode) (NodeAttachment, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return NodeAttachment{}, fmt.Errorf("attach to %s: %w", device, err)
	}
	h := &nodeHooks{NodeAttachment{Interface: device, Ifindex: dev.Index}, make(map[string]link.Link)}
	_, missing := os.Stat(nodePin(n.pins.Dir, device))
	if err := os.MkdirAll(nodePin(n.pins.Dir, device), 0o755); err != nil {
		return NodeAttachment{}, fmt.Errorf("attach to %s: %w", device, err)
	}
	if h.Egress, err = n.attachTC(h, pinEgress, mode == NodeClsact); err == nil {
		err = n.attachIngress(h, mode)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("attach to %s: %w", device, err), h.close())
		if missing != nil { // no program of ours was here: half of them are of no use
			err = errors.Join(err, detachNode(n.pins.Dir, device))
		}
		return NodeAttachment{}, err
	}
	if old := n.hooks[device]; old != nil {
		old.close()
	}
	n.hooks[device] = h
	return h.NodeAttachment, nil
}

func (n *Node) attachIngress(h *nodeHooks, mode NodeMode) (err error) {
	if mode != NodeTC && mode != NodeClsact {
		err := n.attachXDP(h, Mode(mode))
		if err == nil {
			return n.detachHook(h.Interface, pinIngress)
		}
		busy := errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST)
		if mode != NodeAuto && busy {
			return fmt.Errorf("another XDP program%s is on the device: see `bpftool net show dev %s`,"+
				" or set the mode to auto or tc: %w", onDevice(h.Ifindex), h.Interface, err)
		} else if mode != NodeAuto {
			return err
		}
		h.Fallback = err.Error()
		if busy {
			h.Fallback = fmt.Sprintf("another XDP program%s is on the device, see `bpftool net show dev %s`", onDevice(h.Ifindex), h.Interface)
		}
	}
	if h.Ingress, err = n.attachTC(h, pinIngress, mode == NodeClsact); err != nil {
		return err
	}
	return n.detachHook(h.Interface, pinXDP)
}

// attachXDP tries the driver first, where the mode leaves that open.
func (n *Node) attachXDP(h *nodeHooks, mode Mode) error {
	pin, prog := filepath.Join(nodePin(n.pins.Dir, h.Interface), pinXDP), n.programs[NodeXDP]
	l, err := updateLink(pin, prog, func(info *link.Info) bool {
		return info.XDP() != nil && int(info.XDP().Ifindex) == h.Ifindex &&
			(mode == Auto || mode == modeOf(h.Ifindex))
	})
	if err != nil {
		return err
	}
	if l == nil {
		if l, err = n.newXDP(h, mode); err != nil {
			return err
		}
		if err := l.Pin(pin); err != nil {
			return errors.Join(fmt.Errorf("pin link %s: %w", pin, err), l.Close())
		}
	}
	h.links[pinXDP] = l
	h.Ingress = HookXDPNative
	if modeOf(h.Ifindex) == Generic {
		h.Ingress = HookXDPGeneric
	}
	return nil
}

func (n *Node) newXDP(h *nodeHooks, mode Mode) (l link.Link, err error) {
	opts := link.XDPOptions{Program: n.programs[NodeXDP], Interface: h.Ifindex, Flags: link.XDPDriverMode}
	if mode != Generic {
		l, err = link.AttachXDP(opts)
		if err == nil || mode == Native || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			return l, err
		}
		h.Fallback = err.Error()
	}
	opts.Flags = link.XDPGenericMode
	return link.AttachXDP(opts)
}

// attachTC uses tcx where the kernel has it. On ingress ours comes first, so that a
// CNI's program sees what is in the tunnel; on egress last, so that it sees the pod's
// own address.
func (n *Node) attachTC(h *nodeHooks, name string, clsact bool) (Hook, error) {
	opts := link.TCXOptions{Interface: h.Ifindex, Program: n.programs[NodeIngress],
		Attach: ebpf.AttachTCXIngress, Anchor: link.Head()}
	if name == pinEgress {
		opts.Program, opts.Attach, opts.Anchor = n.programs[NodeEgress], ebpf.AttachTCXEgress, link.Tail()
	}
	if clsact {
		return HookClsact, n.attachClsact(h, name, opts.Program)
	}
	pin := filepath.Join(nodePin(n.pins.Dir, h.Interface), name)
	l, err := updateLink(pin, opts.Program, func(info *link.Info) bool {
		return info.TCX() != nil && int(info.TCX().Ifindex) == h.Ifindex
	})
	if err != nil {
		return "", err
	}
	if l == nil {
		l, err = link.AttachTCX(opts)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return HookClsact, n.attachClsact(h, name, opts.Program)
		} else if err != nil {
			return "", err
		}
		if err := l.Pin(pin); err != nil {
			return "", errors.Join(fmt.Errorf("pin link %s: %w", pin, err), l.Close())
		}
	}
	h.links[name] = l
	return HookTCX, n.detachClsact(h.Interface, name)
}

// updateLink swaps the program of a pinned link. It returns nil where there is none, or
// none that is as wanted; such a one is removed.
func updateLink(pin string, prog *ebpf.Program, wanted func(*link.Info) bool) (link.Link, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("pinned link %s: %w", pin, err)
	}
	if info, err := l.Info(); err != nil || !wanted(info) {
		return nil, errors.Join(l.Unpin(), l.Close())
	}
	if err := l.Update(prog); err != nil {
		return nil, errors.Join(fmt.Errorf("update pinned link %s: %w", pin, err), l.Close())
	}
	return l, nil
}

func nodePin(pins, device string) string {
	return filepath.Join(pins, "node-links", strings.ReplaceAll(device, ".", ":"))
}

// detachHook removes one of the programs of a device, whichever way it is attached.
func (n *Node) detachHook(device, name string) error {
	return errors.Join(detachNodeLink(n.pins.Dir, device, name), n.detachClsact(device, name))
}

func detachNodeLink(pins, device, name string) error {
	err := detachPin(filepath.Join(nodePin(pins, device), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Detach takes the programs off a device. Ingress goes first.
func (n *Node) Detach(device string) error {
	var errs []error
	if h := n.hooks[device]; h != nil {
		errs = append(errs, h.close())
		delete(n.hooks, device)
	}
	return errors.Join(append(errs, detachNode(n.pins.Dir, device))...)
}

func detachNode(pins, device string) error {
	var errs []error
	for _, name := range []string{pinXDP, pinIngress, pinEgress} {
		errs = append(errs, detachNodeLink(pins, device, name), detachNodeClsact(pins, device, name))
	}
	return errors.Join(append(errs, os.Remove(nodePin(pins, device)))...)
}

// Attached names the devices that our programs are on, from now or from before.
func (n *Node) Attached() []string { return nodeDevices(n.pins.Dir) }

func nodeDevices(pins string) (devices []string) {
	entries, _ := os.ReadDir(filepath.Join(pins, "node-links"))
	for _, e := range entries {
		devices = append(devices, strings.ReplaceAll(e.Name(), ":", "."))
	}
	slices.Sort(devices)
	return devices
}

// CleanupNode detaches an ingress node's programs everywhere and removes their pins.
// It refuses while an agent holds them. It returns the devices that it left. The
// clsact qdiscs stay: others may have come to use them.
func CleanupNode(dir string) ([]string, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	pins, err := OpenPins(dir)
	if err != nil {
		return nil, err
	}
	defer pins.Close()
	return removeNode(dir)
}

// Remove is CleanupNode by the agent that holds the pins, so that no other one comes between. The
// Node is to be closed all the same, and good for nothing else.
func (n *Node) Remove() ([]string, error) {
	var errs []error
	for _, h := range n.hooks { // a program stays as long as anybody holds its link
		errs = append(errs, h.close())
	}
	clear(n.hooks)
	devices, err := removeNode(n.pins.Dir)
	return devices, errors.Join(append(errs, err)...)
}

func removeNode(dir string) ([]string, error) {
	devices := nodeDevices(dir)
	var errs []error
	for _, d := range devices {
		errs = append(errs, detachNode(dir, d))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(dir, "node-links")), pruneGroups(nodeGroups, dir))
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return devices, errors.Join(errs...)
}
