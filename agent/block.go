package agent

import (
	"cmp"
	"fmt"
	stdmaps "maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/maps"
)

// block is what keeps VIPs from being announced although the tables have them.
// The zero value blocks nothing.
type block struct {
	all        desired.Reason            // why nothing at all may be announced, or ""
	detail     string                    // of all
	forwarding []api.ForwardingStatus    // the families whose forwarding is off
	coverage   *coverage                 // the ways by which a program sees what comes back; nil: all
	device     func(index uint32) string // its name, "" if it is gone
}

// same tells whether two blocks keep the same from being announced.
func (b block) same(o block) bool {
	if (b.coverage == nil) != (o.coverage == nil) || b.all != o.all || b.detail != o.detail || !slices.Equal(b.forwarding, o.forwarding) {
		return false
	}
	return b.coverage == nil || stdmaps.Equal(b.coverage.whole, o.coverage.whole) && stdmaps.Equal(b.coverage.vlans, o.coverage.vlans)
}

// why returns why a VIP may not be announced whatever the tables have, or "".
func (b block) why(vip netip.Addr) (desired.Reason, string) {
	if b.all != "" {
		return b.all, b.detail
	}
	for _, f := range b.forwarding {
		if f.Lost && f.Family == system.FamilyOf(vip) {
			return ForwardingOff, f.Text
		}
	}
	return "", ""
}

// bypassed lists the usable backends whose replies come in where no program is
// attached, by Service and device.
func (b block) bypassed(services []maps.Service, hops map[netip.Addr]maps.NextHop) []api.BypassStatus {
	type place struct{ service, device string }
	at := map[place][]netip.Addr{}
	for _, s := range services {
		for _, be := range s.Backends {
			if !be.Eligible() || be.Tunnel.IsValid() { // it answers the client by itself
				continue
			}
			if device := b.bypass(hops[be.Addr.Addr()]); device != "" {
				p := place{desired.ServiceOf(s.Name), device}
				at[p] = append(at[p], be.Addr.Addr())
			}
		}
	}
	var out []api.BypassStatus
	for p, addrs := range at {
		slices.SortFunc(addrs, netip.Addr.Compare)
		out = append(out, api.BypassStatus{Service: p.service, Interface: p.device, Backends: slices.Compact(addrs)})
	}
	slices.SortFunc(out, func(a, b api.BypassStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Interface, b.Interface))
	})
	return out
}

// bypass names the device without a program that replies come in by, "" for none.
// A next hop that is unresolved, or by a device that is gone, tells nothing of
// where they will come in.
func (b block) bypass(hop maps.NextHop) string {
	if b.coverage == nil || hop.Ifindex == 0 || b.coverage.sees(hop) {
		return ""
	}
	return b.device(hop.Ifindex)
}

// unseen tells whether all usable backends of a VIP's services are bypassed, and by which
// devices they are reached. They are as the tables have them.
func (b block) unseen(services []maps.Service, hops map[netip.Addr]maps.NextHop) (devices []string, all bool) {
	for _, s := range services {
		for _, be := range s.Backends {
			if !be.Eligible() {
				continue
			}
			device := b.bypass(hops[be.Addr.Addr()])
			if device == "" || be.Tunnel.IsValid() {
				return nil, false
			}
			devices = append(devices, device)
		}
	}
	slices.Sort(devices)
	return slices.Compact(devices), len(devices) > 0
}

// coverage tells which ways lead to a device with a program. A program sees what
// its own device receives. On a VLAN device it sees that VLAN of the lower one;
// on a port of a bond, part of what the bond receives, which counts as all since
// the other ports are likely to have it as well.
type coverage struct {
	whole map[uint32]bool
	vlans map[vlan]bool
}

type vlan struct {
	lower uint32
	id    uint16
}

func (c coverage) sees(hop maps.NextHop) bool {
	return c.whole[hop.Ifindex] || c.vlans[vlan{hop.Ifindex, hop.VLAN}]
}

// coverage asks for each attached device what is below and above it. Where that
// cannot be told nothing is judged.
func (a *attachments) coverage() (c coverage, known bool) {
	c = coverage{whole: map[uint32]bool{}, vlans: map[vlan]bool{}}
	for _, d := range a.devices {
		if !d.Attached {
			continue
		}
		info, err := a.system.Device(d.ifindex)
		if err != nil {
			return coverage{}, false
		}
		c.whole[uint32(d.ifindex)] = true
		switch {
		case info.VLAN != 0:
			c.vlans[vlan{uint32(info.Lower), info.VLAN}] = true
		case info.Bond != 0:
			c.whole[uint32(info.Bond)] = true
		}
	}
	return c, len(c.whole) > 0
}

// deviceName is "" for a device that is gone.
func (a *attachments) deviceName(index uint32) string {
	info, _ := a.system.Device(int(index))
	return info.Name
}

// bypass says what is wrong with bypassed backends, and the way out.
func (a *Agent) bypass(b api.BypassStatus) string {
	var addrs []string
	for _, addr := range b.Backends[:min(3, len(b.Backends))] {
		addrs = append(addrs, addr.String())
	}
	text := strings.Join(addrs, ", ")
	if more := len(b.Backends) - len(addrs); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	configured := a.cfg.Datapath.Interfaces
	where, remedy := "is not in datapath.interfaces", "add "+b.Interface
	switch {
	case slices.Contains(configured, b.Interface):
		where, remedy = "has no program attached", "see why it is not attached"
	case len(configured) == 0:
		where = "is not one of the default routes' devices"
		remedy = fmt.Sprintf("set datapath.interfaces: [%s]", strings.Join(append(a.attachments.names(), b.Interface), ", "))
	}
	return fmt.Sprintf("backends of %s (%s) are reached by %s, which %s: their replies are not translated; %s",
		b.Service, text, b.Interface, where, remedy)
}

func (a *attachments) names() []string {
	var names []string
	for _, d := range a.devices {
		if d.Attached {
			names = append(names, d.Name)
		}
	}
	return names
}
