package node

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bpf"
)

// uplinks keep the programs on the devices towards the network. Only the loop uses them.
type uplinks struct {
	datapath Datapath
	system   System
	mode     bpf.NodeMode
	log      *slog.Logger

	devices []device // in the order of the configuration
	settled bool     // what older programs left is removed
}

type device struct {
	api.InterfaceStatus
	ifindex int // of the attachment, 0 before the first
}

// ensure attaches what is not attached, and anew what was made anew under its name. A
// device that fails does not hold up the others. Those that are no longer configured are
// detached last, and not before all that are have the programs.
//
// With no name configured the devices of the default routes are taken. Those once attached
// stay then, because a default route may be away for a while.
func (u *uplinks) ensure(configured []string, now time.Time) error {
	names, err := u.wanted(configured)
	errs := []error{err}
	next := make([]device, len(names))
	for i, name := range names {
		next[i] = u.one(name, now)
		if next[i].Error != "" {
			errs = append(errs, fmt.Errorf("interface %s: %s", name, next[i].Error))
		}
	}
	before := u.devices
	u.devices = next
	switch {
	case len(configured) == 0:
	case len(u.attached()) == len(names):
		errs = append(errs, u.detachOthers(names))
	default:
		u.devices = append(u.devices, stillAttached(before, names)...)
	}
	if len(u.attached()) == len(names) && len(names) > 0 && !u.settled && errors.Join(errs...) == nil {
		err := u.datapath.Settle()
		u.settled = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (u *uplinks) wanted(configured []string) ([]string, error) {
	if len(configured) > 0 {
		return configured, nil
	}
	names, err := u.system.DefaultDevices()
	names = append(names, u.datapath.Attached()...)
	slices.Sort(names)
	names = slices.Compact(names)
	if err == nil && len(names) == 0 {
		err = errors.New("no default route says which devices are the uplinks; set datapath.interfaces")
	}
	return names, err
}

// one returns how the device of that name is, after having tried to attach.
func (u *uplinks) one(name string, now time.Time) device {
	var d device
	if i := slices.IndexFunc(u.devices, func(d device) bool { return d.Name == name }); i >= 0 {
		d = u.devices[i]
	}
	index, err := u.system.Ifindex(name)
	if err != nil {
		return device{InterfaceStatus: api.InterfaceStatus{Name: name, Error: err.Error()}}
	}
	if d.Attached && d.ifindex == index && d.Error == "" {
		return d
	}
	replaced := d.ifindex != 0 && d.ifindex != index
	at, err := u.datapath.Attach(name, u.mode)
	if err != nil {
		// Programs that ran here before go on where their links are.
		survive := !replaced && slices.Contains(u.datapath.Attached(), name)
		return device{api.InterfaceStatus{Name: name, Attached: survive, Mode: d.Mode, Egress: d.Egress, Since: d.Since, Error: err.Error()}, index}
	}
	if at.Fallback != "" {
		u.log.Warn("no native XDP on the uplink, which costs speed", "interface", name, "instead", at.Ingress, "err", at.Fallback)
	}
	u.log.Info("attached", "interface", name, "ifindex", at.Ifindex, "ingress", at.Ingress, "egress", at.Egress)
	return device{api.InterfaceStatus{
		Name: name, Attached: true, Mode: string(at.Ingress), Egress: string(at.Egress), Fallback: at.Fallback, Since: now,
	}, index}
}

// stillAttached are those of the devices that are attached and not among the names. They
// stay as they are while not all of the named ones are attached: a name may be wrong.
func stillAttached(devices []device, names []string) (out []device) {
	for _, d := range devices {
		if d.Attached && !slices.Contains(names, d.Name) {
			out = append(out, d)
		}
	}
	return out
}

func (u *uplinks) detachOthers(names []string) error {
	var errs []error
	for _, name := range u.datapath.Attached() {
		if slices.Contains(names, name) {
			continue
		}
		if err := u.datapath.Detach(name); err != nil {
			errs = append(errs, fmt.Errorf("detach from %s: %w", name, err))
			continue
		}
		u.log.Info("detached: no longer configured", "interface", name)
	}
	return errors.Join(errs...)
}

func (u *uplinks) attached() (names []string) {
	for _, d := range u.devices {
		if d.Attached {
			names = append(names, d.Name)
		}
	}
	return names
}

func (u *uplinks) status() []api.InterfaceStatus {
	out := make([]api.InterfaceStatus, len(u.devices))
	for i, d := range u.devices {
		out[i] = d.InterfaceStatus
	}
	return out
}

// leastMTU is that of the uplink with the least, and 0 where none can be read.
func (u *uplinks) leastMTU(names []string) (mtu uint32, name string, err error) {
	var errs []error
	for _, n := range names {
		m, err := u.system.MTU(n)
		if err != nil {
			errs = append(errs, err)
		} else if mtu == 0 || uint32(m) < mtu {
			mtu, name = uint32(m), n
		}
	}
	if len(errs) > 0 {
		err = fmt.Errorf("MTU of the uplinks %s: %w", strings.Join(names, ", "), errors.Join(errs...))
	}
	return mtu, name, err
}
