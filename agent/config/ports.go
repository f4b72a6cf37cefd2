package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// PortRange is a range of ports, both ends included.
type PortRange struct {
	First, Last uint16
}

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Size is the number of ports in the range.
func (r PortRange) Size() int { return int(r.Last) - int(r.First) + 1 }

// ParsePortRange reads "1024-29999".
func ParsePortRange(s string) (PortRange, error) {
	first, last, ok := strings.Cut(s, "-")
	a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, errB := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if !ok || errA != nil || errB != nil || a < 1 || b < a {
		return PortRange{}, errors.New("write a range of ports within 1-65535, as in 1024-29999")
	}
	return PortRange{uint16(a), uint16(b)}, nil
}

// CheckPorts says whether the kernel may give a port of nat to a connection of
// the node's own, whose packets the data path would then take. localRange is the
// content of /proc/sys/net/ipv4/ip_local_port_range, as in "32768\t60999",
// reserved that of ip_local_reserved_ports, as in "8080,9148-9300".
func CheckPorts(nat PortRange, localRange, reserved string) error {
	fields := strings.Fields(localRange)
	if len(fields) != 2 {
		return fmt.Errorf("net.ipv4.ip_local_port_range is %q, not two numbers", localRange)
	}
	local, err := ParsePortRange(fields[0] + "-" + fields[1])
	if err != nil {
		return fmt.Errorf("net.ipv4.ip_local_port_range is %q: %w", localRange, err)
	}
	kept, err := parsePortSet(reserved)
	if err != nil {
		return fmt.Errorf("net.ipv4.ip_local_reserved_ports is %q: %w", reserved, err)
	}
	both := PortRange{max(nat.First, local.First), min(nat.Last, local.Last)}
	for p := int(both.First); p <= int(both.Last); p++ {
		if !kept[p] {
			return fmt.Errorf("nat.ports %s holds port %d, which the kernel gives to the node's own connections "+
				"(net.ipv4.ip_local_port_range %s): choose another range for one of them, or set net.ipv4.ip_local_reserved_ports=%s",
				nat, p, local, both)
		}
	}
	return nil
}

func parsePortSet(s string) (map[int]bool, error) {
	set := map[int]bool{}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if !strings.Contains(part, "-") {
			part += "-" + part
		}
		r, err := ParsePortRange(part)
		if err != nil {
			return nil, err
		}
		for p := int(r.First); p <= int(r.Last); p++ {
			set[p] = true
		}
	}
	return set, nil
}
