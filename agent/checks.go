package agent

import (
	"fmt"

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

// sysctlWarnings says which settings of the kernel lose the packets that the
// data path hands to it.
func sysctlWarnings(system System, has struct{ v4, v6 bool }, interfaces []api.InterfaceStatus) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, s := range []struct {
		used         bool
		path, dotted string
	}{
		{has.v4, "net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		{has.v6, "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"},
	} {
		if v, err := system.Sysctl(s.path); s.used && err != nil {
			add("%v", err)
		} else if s.used && v == "0" {
			add("%s is 0: the kernel loses packets whose next hop the data path does not know; set it to 1", s.dotted)
		}
	}
	all, _ := system.Sysctl("net/ipv4/conf/all/rp_filter") // where it cannot be read the device's is asked alone
	for _, i := range interfaces {
		own, err := system.Sysctl("net/ipv4/conf/" + i.Name + "/rp_filter")
		if i.Attached && err == nil && max(all, own) == "1" {
			add("net.ipv4.conf.%s.rp_filter is strict: the kernel drops what the data path hands to it; set it to 2 or 0", i.Name)
		}
	}
	return out
}
