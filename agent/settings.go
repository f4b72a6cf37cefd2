package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/damping"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
)

// bpfConfig is what the program is loaded with.
func bpfConfig(c *config.Config) bpf.Config {
	d, n := c.Datapath, c.NAT
	return bpf.Config{
		Pins:            d.BPFFS,
		DiscardFlows:    d.DiscardFlows,
		Compile:         d.Compile,
		Clang:           d.Clang,
		Sources:         d.Sources,
		Seed:            d.SeedBytes(),
		Ports:           bpf.PortRange{First: n.Ports.First, Last: n.Ports.Last},
		UnmatchedReject: d.Unmatched == "reject",
		ICMPRate:        d.ICMPRate,
		Timeouts:        timeouts(c),
		TunnelPort:      c.Tunnel.Port,
		BounceRate:      c.Tunnel.BounceRate,
		MaxFlows:        n.MaxFlows, MaxFrontends: d.MaxFrontends, MaxBackends: d.MaxBackends, MaxRows: d.MaxRows,
		MaxSourceRanges: d.MaxSourceRanges,
		MaxChains:       c.Chains.Max, MaxLearned: c.Chains.MaxLearned,
	}
}

func timeouts(c *config.Config) bpf.Timeouts {
	t := c.NAT.Timeouts
	return bpf.Timeouts{SYN: t.SYN, Established: t.Established, Closing: t.Closing, Closed: t.Closed, UDP: t.UDP}
}

// mapsOptions is what the tables are opened with.
func mapsOptions(c *config.Config) maps.Options {
	return maps.Options{
		Rows: c.Datapath.Rows, Seed: c.Datapath.SeedBytes(), Timeouts: timeouts(c),
		Chain: chain.Options{
			Retention: c.Chains.Retention, Slack: c.Chains.Slack,
			Longest: int(c.Chains.Longest), ExtraRanks: int(c.Chains.ExtraRanks),
		},
	}
}

// placement is a short digest of all that decides where flows go: LB nodes with different
// ones break the flows that ECMP moves between them. It is public, and says so little that
// nobody learns a weak seed from it.
func placement(c *config.Config) string {
	return digest(c.Datapath.SeedBytes(), mapsOptions(c).Chain, c.Forwarding, c.Datapath.Rows)
}

// allocation is the same of all that decides which addresses Services have: where it differs,
// the next leader judges them otherwise.
func allocation(c *config.Config) string { return digest(c.Pools, c.VIPs, c.DefaultClass) }

func digest(values ...any) string {
	sum := sha256.Sum256(fmt.Append(nil, values...))
	return hex.EncodeToString(sum[:2])
}

// probeOptions is what ingress nodes are asked with.
func probeOptions(c *config.Config) probe.Options {
	t := c.Tunnel
	return probe.Options{
		Port: t.Port, Interval: t.ProbeInterval, Failures: int(t.ProbeFailures), Recoveries: int(t.ProbeRecoveries),
		FailOpen: int(t.FailOpen),
	}
}

// bgpConfig is what the speaker starts with. restarting says that the data plane
// forwarded on while no agent ran.
func bgpConfig(c *config.Config, routerID netip.Addr, restarting bool) bgp.Config {
	return bgp.Config{
		ASN:      c.BGP.ASN,
		RouterID: routerID,
		GracefulRestart: bgp.GracefulRestart{
			Enabled: c.BGP.GracefulRestart.Enabled, RestartTime: c.BGP.GracefulRestart.RestartTime,
			LongLived: c.BGP.GracefulRestart.LongLivedTime,
		},
		ListenPort: c.BGP.ListenPort,
		Peers:      firstPeers(c).BGP(),
		Restarting: restarting,
	}
}

// drainOptions is what routes have beside GRACEFUL_SHUTDOWN while they are the last choice.
func drainOptions(c *config.Config) drain.Options {
	return drain.Options{MED: c.BGP.Drain.MED, Prepend: c.BGP.Drain.Prepend}
}

func dampingOptions(c *config.Config) damping.Options {
	d := c.BGP.Damping
	return damping.Options{HalfLife: d.HalfLife, Max: d.Max, Suppress: float64(d.Suppress), Reuse: float64(d.Reuse)}
}
