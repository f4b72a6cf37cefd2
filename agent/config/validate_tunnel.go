package config

import (
	"fmt"
	"time"
)

func (t *Tunnel) faults() (found faults) {
	within(&found, "tunnel.port", t.Port, 1, 65535)
	within(&found, "tunnel.bounceRate", t.BounceRate, 0, 10_000_000)
	within(&found, "tunnel.probeInterval", t.ProbeInterval, 10*time.Millisecond, 10*time.Second)
	within(&found, "tunnel.probeFailures", t.ProbeFailures, 1, 100)
	within(&found, "tunnel.probeRecoveries", t.ProbeRecoveries, 1, 100)
	within(&found, "tunnel.failOpen", t.FailOpen, 1, 100)
	return found
}

// The limits of a chain are the data path's (CHAIN_MAX, RANKS_MAX).
func (c *Chains) faults() (found faults) {
	within(&found, "chains.retention", c.Retention, 0, 30*24*time.Hour)
	within(&found, "chains.slack", c.Slack, 0, time.Minute)
	within(&found, "chains.extraRanks", c.ExtraRanks, 0, 3)
	within(&found, "chains.longest", c.Longest, 1, 15)
	within(&found, "chains.max", c.Max, 1, 1<<24)
	within(&found, "chains.maxLearned", c.MaxLearned, 1, 1<<24)
	return found
}

// leastMTU leaves IPv6's least (RFC 8200) inside of the longest tunnel header: 80
// bytes.
const leastMTU = 1280 + 80

func (b *Backend) faults() (found faults) {
	within(&found, "backend.maxFlows", b.MaxFlows, 1, 1<<25)
	within(&found, "backend.maxYoungFlows", b.MaxYoungFlows, 1, 1<<25)
	if b.MTU != 0 && b.MTU < leastMTU {
		found.add("backend.mtu", fmt.Sprint(b.MTU), "write 0, or at least %d", leastMTU)
	}
	return append(found, b.Timeouts.faults("backend.timeouts.")...)
}

// faults of the timeouts below a section, which ends in a dot.
func (t *Timeouts) faults(section string) (found faults) {
	for _, one := range []struct {
		key string
		d   time.Duration
	}{
		{"syn", t.SYN}, {"established", t.Established}, {"closing", t.Closing}, {"closed", t.Closed}, {"udp", t.UDP},
	} {
		within(&found, section+one.key, one.d, 100*time.Millisecond, 7*24*time.Hour)
	}
	return found
}
