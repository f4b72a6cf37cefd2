package agent

import (
	"fmt"
	"slices"

	"github.com/penstock-lb/penstock/agent/advertise"
)

// capacity is what this node's devices can take, in bytes per second, where an advertisement tells
// routers; 0 without one, and where it is not known, which warning says.
type capacity struct {
	bytes   uint64
	warning string
}

// measure finds the capacity of the attached devices, before the first attempt to attach of those that
// are to be. A sum with a device left out would have routers send this node too little, so that one of
// unknown speed makes all of it unknown.
func (a *Agent) measure() capacity {
	asks := func(e advertise.Entry) bool { return e.LinkBandwidth.Auto }
	if !slices.ContainsFunc(a.cfg.BGP.Advertisements, asks) {
		return capacity{}
	}
	names := a.attachments.names()
	if a.attachments.devices == nil {
		names, _ = a.attachments.wanted(a.cfg.Datapath.Interfaces) // attach reports the error
	}
	const remedy = ", so that linkBandwidth auto of bgp.advertisements has no community; set a rate there"
	var bits uint64
	for _, name := range a.attachments.disjoint(names) {
		link, err := a.deps.System.Link(name)
		switch {
		case err != nil:
			return capacity{warning: err.Error() + remedy}
		case !link.Carrier:
		case link.Speed == 0:
			return capacity{warning: fmt.Sprintf("the speed of %s is not known%s", name, remedy)}
		default:
			bits += link.Speed
		}
	}
	if bits == 0 {
		return capacity{warning: "no attached device has a carrier" + remedy}
	}
	return capacity{bytes: bits / 8}
}

// disjoint leaves out devices whose packets come by another one of them: ports of a bond, and VLANs,
// of which several on one device count as that.
func (a *attachments) disjoint(names []string) (out []string) {
	indices := map[int]bool{}
	for _, name := range names {
		if index, err := a.system.Ifindex(name); err == nil {
			indices[index] = true
		}
	}
	lower := map[int]bool{}
	for _, name := range names {
		index, err := a.system.Ifindex(name)
		if err != nil {
			continue
		}
		info, err := a.system.Device(index)
		switch {
		case err == nil && (indices[info.Bond] || indices[info.Lower] || lower[info.Lower]):
			continue
		case err == nil && info.Lower != 0:
			lower[info.Lower] = true
		}
		out = append(out, name)
	}
	return out
}

// remeasure notes the capacity, and tells whether it is another than the last pass had.
func (a *Agent) remeasure() bool {
	before := a.capacity
	a.capacity = a.measure()
	return a.capacity.bytes != before.bytes
}

// capacityWarnings says why there is no capacity to tell routers of.
func (a *Agent) capacityWarnings() []string {
	if a.capacity.warning == "" {
		return nil
	}
	return []string{a.capacity.warning}
}
