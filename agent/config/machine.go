package config

import (
	"fmt"
	"net"
	"os"
	"os/exec"
)

// machine is what the fit of a configuration depends on beside itself.
type machine struct {
	read    func(path string) ([]byte, error) // a file of /proc/sys
	program func(name string) (string, error) // found in PATH
	device  func(name string) (*net.Interface, error)
}

var thisMachine = machine{os.ReadFile, exec.LookPath, net.InterfaceByName}

// misfits says what an agent on m would refuse or miss. They are no faults of
// the configuration, which may be for another machine.
func (c *Config) misfits(m machine) (found faults) {
	for _, name := range c.Datapath.Interfaces {
		if _, err := m.device(name); err != nil {
			found.add("datapath.interfaces", "", "datapath.interfaces: this machine has no %s, which is not attached until it appears; `ip link` lists what there is", name)
		}
	}
	if c.Datapath.Compile {
		if _, err := m.program(c.Datapath.Clang); err != nil {
			found.add("datapath.clang", "", "datapath.clang: this machine has no %s, without which the agent does not start; install it, or set datapath.compile: false", c.Datapath.Clang)
		}
	}
	if c.Role == RoleBackend {
		return found // translates nothing
	}
	if err := c.portMisfit(m); err != nil {
		found.add("nat.ports", "", "nat.ports: the agent would not start on this machine: %w", err)
	}
	return found
}

func (c *Config) portMisfit(m machine) error {
	local, err := m.read("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	reserved, err := m.read("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	return CheckPorts(c.NAT.Ports, string(local), string(reserved))
}
