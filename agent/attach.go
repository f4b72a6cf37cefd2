package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bpf"
)

// attachments keep the program on the configured devices. Only the loop uses
// them.
type attachments struct {
	datapath Datapath
	system   System
	martians AcceptLocal
	mode     bpf.Mode
	log      *slog.Logger

	devices []device // in the order of the configuration
	settled bool     // what older programs left is removed
}

type device struct {
	api.InterfaceStatus
	ifindex int // of the attachment, 0 before the first
}

// ensure attaches what is not attached, and anew what was made anew under its
// name. A device that fails does not hold up the others. Those that are no longer
// configured are detached last, so that packets always find the program, and not before
// all that are have it.
//
// With no name configured the devices of the default routes are taken. Those
// once attached stay then, because a default route may be away for a while.
func (a *attachments) ensure(configured []string, now time.Time) error {
	names, err := a.wanted(configured)
	errs := []error{err}
	next := make([]device, len(names))
	for i, name := range names {
		next[i] = a.one(name, now)
		if next[i].Error != "" {
			errs = append(errs, fmt.Errorf("interface %s: %s", name, next[i].Error))
		}
	}
	before := a.devices
	a.devices = next
	switch {
	case len(configured) == 0:
	case a.attached() == len(names):
		errs = append(errs, a.detachOthers(names))
	default:
		a.devices = append(a.devices, stillAttached(before, names)...)
	}
	if a.attached() == len(names) && len(names) > 0 && !a.settled && errors.Join(errs...) == nil {
		err := a.datapath.Settle()
		a.settled = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *attachments) wanted(configured []string) ([]string, error) {
	if len(configured) > 0 {
		return configured, nil
	}
	names, err := a.system.DefaultDevices()
	names = append(names, a.datapath.Attached()...)
	slices.Sort(names)
	names = slices.Compact(names)
	if err == nil && len(names) == 0 {
		err = errors.New("no default route says which devices to attach to; set datapath.interfaces")
	}
	return names, err
}

// one returns how the device of that name is, after having tried to attach.
func (a *attachments) one(name string, now time.Time) device {
	var d device
	if i := slices.IndexFunc(a.devices, func(d device) bool { return d.Name == name }); i >= 0 {
		d = a.devices[i]
	}
	index, err := a.system.Ifindex(name)
	if err != nil {
		return device{InterfaceStatus: api.InterfaceStatus{Name: name, Error: err.Error()}}
	}
	if d.Attached && d.ifindex == index && d.Error == "" {
		return d
	}
	replaced := d.ifindex != 0 && d.ifindex != index
	at, err := a.datapath.Attach(name, a.mode)
	if err != nil {
		// A program that ran here before goes on running where its link is.
		survives := !replaced && slices.Contains(a.datapath.Attached(), name)
		return device{api.InterfaceStatus{Name: name, Attached: survives, Mode: d.Mode, Since: d.Since, Error: err.Error()}, index}
	}
	a.prepare(name)
	if at.Fallback != "" {
		a.log.Warn("the driver refuses the program: it runs in generic mode, which is many times slower",
			"interface", name, "err", at.Fallback)
	}
	a.log.Info("attached", "interface", name, "ifindex", at.Ifindex, "mode", at.Mode)
	return device{api.InterfaceStatus{
		Name: name, Attached: true, Mode: string(at.Mode), Fallback: at.Fallback, Since: now,
	}, index}
}

// prepare lets the kernel take what the program hands to it. A packet whose next
// hop is not known yet goes up the stack finished, with our own address as its
// source, and the kernel resolves and forwards it. Without accept_local it would
// drop such a packet as a martian.
func (a *attachments) prepare(name string) {
	if err := a.martians.Set(name); err != nil {
		a.log.Warn("packets without a known next hop will be lost", "interface", name, "err", err)
	}
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

func (a *attachments) detachOthers(names []string) error {
	var errs []error
	for _, name := range a.datapath.Attached() {
		if slices.Contains(names, name) {
			continue
		}
		if err := a.datapath.Detach(name); err != nil {
			errs = append(errs, fmt.Errorf("detach from %s: %w", name, err))
			continue
		}
		errs = append(errs, a.martians.Reset(name))
		a.log.Info("detached: no longer configured", "interface", name)
	}
	return errors.Join(errs...)
}

func (a *attachments) attached() int {
	n := 0
	for _, d := range a.devices {
		if d.Attached {
			n++
		}
	}
	return n
}

func (a *attachments) status() []api.InterfaceStatus {
	out := make([]api.InterfaceStatus, len(a.devices))
	for i, d := range a.devices {
		out[i] = d.InterfaceStatus
	}
	return out
}
