package config

// Warnings says what is valid but hardly meant, each with the way out.
func (c *Config) Warnings() []string {
	var out []string
	if len(c.VIPs) == 0 {
		out = append(out, "vips is not set: whoever may write a Service can have the traffic to any address of the network come here; set it to the networks that VIPs are of")
	}
	if c.Datapath.Seed == "" {
		out = append(out, "datapath.seed is not set: clients can compute which backend a flow goes to; set the same secret on all load balancer nodes")
	}
	if c.Datapath.Sources != "" && !c.Datapath.Compile {
		out = append(out, "datapath.sources is set but datapath.compile is false: the program that came with the binary is loaded; set datapath.compile: true")
	}
	if len(c.BGP.Peers) == 0 {
		out = append(out, "bgp.peers is empty: no VIP is announced; add the routers, or route the VIPs to this node by other means")
	}
	if c.Shutdown == ShutdownRestart && !c.BGP.GracefulRestart.Enabled {
		out = append(out, "shutdown is restart but bgp.gracefulRestart.enabled is false: routers drop the routes at once; enable it, or drain")
	}
	return out
}
