package agent

import (
	"fmt"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
)

// checkPorts refuses translated ports that the kernel gives to the node's own
// connections: the data path would take their packets.
func checkPorts(system System, ports config.PortRange) error {
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

// forwardingOff returns the families, of those that have a VIP, that the kernel
// does not forward. The data path asks the kernel's FIB for the way of replies,
// which answers only where the device that they came in by forwards
// (bpf_fib_lookup). A family is lost where no attached device does.
func forwardingOff(system System, used map[string]bool, interfaces []api.InterfaceStatus) []api.ForwardingStatus {
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
			"%[1]s is 0: the kernel does not forward, and %[2]s replies are lost; run 'sysctl -w %[3]s=1'",
			strings.Join(off, ", "), familyNames[f.family], strings.Join(off, "=1 "))})
	}
	return out
}

var familyNames = map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}

// path is a dotted sysctl's name in /proc/sys.
func path(dotted string) string { return strings.ReplaceAll(dotted, ".", "/") }

// sysctlWarnings says which settings of the kernel lose some of the packets that
// the data path hands to it.
func sysctlWarnings(system System, interfaces []api.InterfaceStatus) []string {
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
