package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate checks ranges and what keys say of each other. Its error joins an
// *Error for each fault, in the order of Keys.
func (c *Config) Validate() error { return c.faults().join() }

func (c *Config) faults() (found faults) {
	found = append(found, c.general()...)
	found = append(found, c.Datapath.faults()...)
	found = append(found, c.Tunnel.faults()...)
	found = append(found, c.Chains.faults()...)
	found = append(found, c.NAT.faults()...)
	found = append(found, c.Backend.faults()...)
	found = append(found, c.BGP.faults()...)
	found = append(found, c.advertisementFaults()...)
	return append(found, c.poolFaults()...)
}

func (c *Config) general() (found faults) {
	if fault := nodeName(c.Node); fault != "" {
		found.add("node", c.Node, "%s", fault)
	}
	check(&found, "role", c.Role, []Role{RoleLB, RoleBackend})
	found = append(found, c.Source.faults()...)
	check(&found, "forwarding", c.Forwarding, []string{"auto", "dsr", "nat"})
	check(&found, "shutdown", c.Shutdown, []ShutdownMode{ShutdownDrain, ShutdownRestart, ShutdownAuto})
	within(&found, "drainTimeout", c.DrainTimeout, 0, time.Hour)
	if a := c.Metrics.Address; a != "" {
		if _, err := hostPort(a); err != nil {
			found.add("metrics.address", a, "%w", err)
		}
	}
	if s := c.API.Socket; !filepath.IsAbs(s) || len(s) > maxSocket {
		found.add("api.socket", s, "write an absolute path of at most %d bytes", maxSocket)
	}
	if a := c.API.Address; a != "" {
		host, err := hostPort(a)
		if err == nil && !isLoopback(host) {
			err = fmt.Errorf("the API has no access control; write a loopback address, as in 127.0.0.1:9471")
		}
		if err != nil {
			found.add("api.address", a, "%w", err)
		}
	}
	check(&found, "log.format", c.Log.Format, []string{"text", "json"})
	return found
}

// maxSocket is what sun_path holds, but for the final zero.
const maxSocket = 107

func (d *Datapath) faults() (found faults) {
	for i, name := range d.Interfaces {
		if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n:") || name == "." || name == ".." {
			found.add("datapath.interfaces", name, "write names of network devices, at most 15 bytes each")
		}
		if slices.Contains(d.Interfaces[:i], name) {
			found.add("datapath.interfaces", name, "it is listed twice; remove one")
		}
	}
	check(&found, "datapath.mode", d.Mode, []string{"auto", "native", "generic"})
	if d.Compile && d.Clang == "" {
		found.add("datapath.clang", "", "datapath.compile needs a compiler; write its name or path")
	}
	if !filepath.IsAbs(d.BPFFS) {
		found.add("datapath.bpffs", d.BPFFS, "write an absolute path")
	}
	check(&found, "datapath.unmatched", d.Unmatched, []string{"reject", "drop"})
	within(&found, "datapath.icmpRate", d.ICMPRate, 0, 1_000_000)
	if within(&found, "datapath.rows", d.Rows, 16, 1<<20) && d.Rows&(d.Rows-1) != 0 {
		found.add("datapath.rows", fmt.Sprint(d.Rows), "write a power of two, as in 16384")
	}
	if within(&found, "datapath.maxRows", d.MaxRows, 16, 1<<28) && d.MaxRows < d.Rows {
		found.add("datapath.maxRows", fmt.Sprint(d.MaxRows), "one table has %d rows (datapath.rows); write at least that", d.Rows)
	}
	if d.MaxRows%16 != 0 {
		found.add("datapath.maxRows", fmt.Sprint(d.MaxRows), "write a multiple of 16, the rows of a cache line")
	}
	within(&found, "datapath.maxFrontends", d.MaxFrontends, 1, 1<<20)
	within(&found, "datapath.maxBackends", d.MaxBackends, 1, 1<<20)
	within(&found, "datapath.maxSourceRanges", d.MaxSourceRanges, 1, 1<<24)
	return found
}

func (n *NAT) faults() (found faults) {
	if n.Ports.First < 1 || n.Ports.Last < n.Ports.First {
		found.add("nat.ports", n.Ports.String(), "write a range of ports within 1-65535, as in 1024-29999")
	}
	within(&found, "nat.maxFlows", n.MaxFlows, 1, 1<<25)
	return append(found, n.Timeouts.faults("nat.timeouts.")...)
}

func check[T ~string](found *faults, key string, word T, words []T) {
	if err := oneOf(word, words); err != nil {
		found.add(key, string(word), "%w", err)
	}
}

func within[T ~int64 | ~uint8 | ~uint16 | ~uint32](found *faults, key string, v, least, most T) bool {
	if v >= least && v <= most {
		return true
	}
	found.add(key, fmt.Sprint(v), "%w", &outside{fmt.Sprint(least), fmt.Sprint(most)})
	return false
}

// outside says which values a key can have. Schema reads it.
type outside struct{ least, most string }

func (o *outside) Error() string {
	return fmt.Sprintf("write a value from %s to %s", o.least, o.most)
}

func wholeSeconds(found *faults, key string, d, least, most time.Duration) {
	if within(found, key, d, least, most) && d%time.Second != 0 {
		found.add(key, d.String(), "write whole seconds")
	}
}

// hostPort checks "host:port", where the host may be empty, an IP address or
// localhost, and gives the host.
func hostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 {
		return "", fmt.Errorf("write an address and a port, as in 127.0.0.1:9470, [::1]:9470 or :9470")
	}
	return host, nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
