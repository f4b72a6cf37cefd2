package config

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/penstock-lb/penstock/agent/advertise"
)

// Warnings says what is valid but hardly meant, each with the way out.
func (c *Config) Warnings() []string {
	var out []string
	for _, w := range c.warnings() {
		out = append(out, w.Err.Error())
	}
	return out
}

// warnings have the key that each is about, which their texts begin with.
func (c *Config) warnings() (found faults) {
	if c.Tunnel.Port == genevePort {
		found.add("tunnel.port", "", "tunnel.port is 6081, which CNIs use: their packets and ours would be mistaken for each other; set another on all nodes")
	}
	if c.Datapath.Sources != "" && !c.Datapath.Compile {
		found.add("datapath.sources", "", "datapath.sources is set but datapath.compile is false: the program that came with the binary is loaded; set datapath.compile: true")
	}
	if c.Shutdown == ShutdownAuto && (c.Source.Kind != SourceKubernetes || c.Source.DaemonSet == "") {
		found.add("shutdown", "", "shutdown is auto, but nothing names the DaemonSet that decides, so that it is restart: set source.daemonSet, in a pod of one with source.kind: kubernetes, or set shutdown to restart or drain")
	}
	if c.Role == RoleBackend {
		return found // VIPs, routers and the seed are LB nodes' affair
	}
	switch {
	case c.Source.Kind == SourceKubernetes && len(c.Pools) == 0:
		found.add("pools", "", "pools is empty: no Service gets an address; add a pool")
	case c.Source.Kind == SourceManifests && len(c.Pools) > 0 && !c.selectsPools():
		found.add("pools", "", "pools is of no use with source.kind manifests, whose Services have the addresses that they ask for; set source.kind: kubernetes, or remove it")
	}
	if len(c.VIPs) == 0 && c.Source.Kind == SourceManifests {
		found.add("vips", "", "vips is not set: whoever may write a Service can have the traffic to any address of the network come here; set it to the networks that VIPs are of")
	}
	if c.Datapath.Seed == "" {
		found.add("datapath.seed", "", "datapath.seed is not set: clients can compute which backend a flow goes to; set the same secret on all load balancer nodes")
	}
	if len(c.BGP.Peers) == 0 {
		found.add("bgp.peers", "", "bgp.peers is empty: no VIP is announced; add the routers, or route the VIPs to this node by other means")
	}
	if c.Shutdown != ShutdownDrain && !c.BGP.GracefulRestart.Enabled {
		found.add("shutdown", "", "shutdown is %s but bgp.gracefulRestart.enabled is false: routers drop the routes at once; enable it, or drain", c.Shutdown)
	}
	return append(found, c.unreached()...)
}

// selectsPools tells whether pools have a use beside giving addresses.
func (c *Config) selectsPools() bool {
	return slices.ContainsFunc(c.BGP.Advertisements, func(e advertise.Entry) bool { return len(e.Pools) > 0 })
}

// genevePort is what IANA has for Geneve (RFC 8926).
const genevePort = 6081

// Inspect is Load for a check by hand: it also says what is hardly meant and what
// an agent on this machine would refuse or miss, in the order of lines.
func Inspect(path string, flags *pflag.FlagSet) (*Config, []string, error) {
	cfg, l, err := load(path, flags)
	if err != nil {
		return nil, nil, err
	}
	return cfg, l.notes(append(cfg.warnings(), cfg.misfits(thisMachine)...)), nil
}

// notes places warnings, whose texts name their keys.
func (l *loader) notes(found faults) []string {
	for _, w := range found {
		w.Source, w.line = l.origin(w.Key)
		w.Key = ""
	}
	found.sort()
	out := make([]string, len(found))
	for i, w := range found {
		out[i] = w.Error()
	}
	return out
}
