package system

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
)

// Sysctls reads settings, their names in slashes: "net/ipv4/ip_forward".
type Sysctls interface {
	Sysctl(name string) (string, error)
}

// CheckPorts refuses translated ports that the kernel gives to the node's own
// connections: the data path would take their packets.
func CheckPorts(system Sysctls, ports config.PortRange) error {
	local, err := system.Sysctl("net/ipv4/ip_local_port_range")
	if err != nil {
		return err
	}
	reserved, err := system.Sysctl("net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return err
	}
	return config.CheckPorts(ports, local, reserved)
}

// ForwardingOff returns the families, of those that are in use, that the kernel does
// not forward from the attached devices, and says which packets are lost by it. A family
// is lost where no attached device forwards it.
func ForwardingOff(system Sysctls, used map[string]bool, interfaces []api.InterfaceStatus, packets string) []api.ForwardingStatus {
	var out []api.ForwardingStatus
	for _, f := range []struct{ family, global, devices string }{
		{"ipv4", "net.ipv4.ip_forward", "net.ipv4.conf."},
		{"ipv6", "net.ipv6.conf.all.forwarding", "net.ipv6.conf."},
	} {
		if !used[f.family] {
			continue
		}
		global, err := system.Sysctl(path(f.global))
		if err != nil {
			out = append(out, api.ForwardingStatus{Family: f.family, Text: err.Error()})
			continue
		}
		var off []string
		attached := 0
		for _, i := range interfaces {
			if !i.Attached {
				continue
			}
			attached++
			own, err := system.Sysctl(path(f.devices) + i.Name + "/forwarding")
			if err != nil {
				own = global
			}
			if own == "0" {
				off = append(off, f.devices+strings.ReplaceAll(i.Name, ".", "/")+".forwarding") // as sysctl writes it
			}
		}
		if len(off) == 0 {
			continue
		}
		lost := len(off) == attached
		if lost && global == "0" {
			off = []string{f.global}
		}
		out = append(out, api.ForwardingStatus{Family: f.family, Lost: lost, Text: fmt.Sprintf(
			"%[1]s is 0: the kernel does not forward, and %[2]s %[4]s are lost; run 'sysctl -w %[3]s=1'",
			strings.Join(off, ", "), familyNames[f.family], strings.Join(off, "=1 "), packets)})
	}
	return out
}

var familyNames = map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}

// path is a dotted sysctl's name in /proc/sys.
func path(dotted string) string { return strings.ReplaceAll(dotted, ".", "/") }

// Warnings says which settings of the kernel lose some of the packets that the data
// path hands to it.
func Warnings(system Sysctls, interfaces []api.InterfaceStatus) []string {
	var out []string
	all, _ := system.Sysctl("net/ipv4/conf/all/rp_filter") // where it cannot be read the device's is asked alone
	for _, i := range interfaces {
		own, err := system.Sysctl("net/ipv4/conf/" + i.Name + "/rp_filter")
		if i.Attached && err == nil && max(all, own) == "1" {
			out = append(out, fmt.Sprintf("net.ipv4.conf.%s.rp_filter is strict: the kernel drops what the data path hands to it; set it to 2 or 0", i.Name))
		}
	}
	return out
}

// FamilyOf is the name of an address's family.
func FamilyOf(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}
