package config

import (
	"log/slog"
	"time"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// Key is one setting.
type Key struct {
	Name    string // as in "datapath.bpffs"; "bgp.peers[].asn" is of each peer
	Default string // empty: none
	Live    bool   // a running agent applies a change; otherwise it needs a restart
	Doc     string // meaning and unit, in Markdown, without a full stop
}

// Keys gives every key in the order of the documentation.
func Keys() []Key {
	var out []Key
	for _, s := range settings {
		k := s.Key
		k.Default = s.at(Default()).String()
		out = append(out, k)
	}
	out = append(out, entryKeys(peersKey, defaultPeer, peerSettings)...)
	out = append(out, entryKeys(advertisementsKey, defaultAdvertisement, advertisementSettings)...)
	return append(out, entryKeys(poolsKey, defaultPool, poolSettings)...)
}

func entryKeys[C any](key string, empty func() C, settings []setting[C]) (out []Key) {
	for _, s := range settings {
		k := s.Key
		k.Name = key + "[]." + k.Name
		k.Default = s.at(new(empty())).String()
		out = append(out, k)
	}
	return out
}

// setting ties a key to its place in a C.
type setting[C any] struct {
	Key
	at func(*C) value
}

// Default gives the configuration that an empty file stands for, but for the
// name of the node, which Load looks up.
func Default() *Config {
	return &Config{
		Role: RoleLB,
		Source: Source{
			Kind: SourceManifests, Directory: "/etc/penstock/manifests", Namespace: "penstock-system", History: "/run/penstock/history.json", Copy: "/run/penstock/objects.json",
		},
		Forwarding: "auto",
		Datapath: Datapath{
			Mode:         "auto",
			Clang:        "clang",
			BPFFS:        "/sys/fs/bpf/penstock",
			Unmatched:    "reject",
			ICMPRate:     1000,
			Rows:         1 << 14,
			MaxRows:      1 << 22,
			MaxFrontends: 1 << 16,
			MaxBackends:  1 << 16,

			MaxSourceRanges: 1 << 16,
		},
		Tunnel: Tunnel{
			Port:            6082,
			BounceRate:      100000,
			ProbeInterval:   200 * time.Millisecond,
			ProbeFailures:   3,
			ProbeRecoveries: 5,
			FailOpen:        50,
		},
		Chains: Chains{
			Retention:  time.Hour,
			Slack:      5 * time.Second,
			ExtraRanks: 3,
			Longest:    15,
			Max:        1 << 19,
			MaxLearned: 1 << 18,
		},
		NAT:     NAT{Ports: PortRange{1024, 29999}, MaxFlows: 1 << 19, Timeouts: defaultTimeouts()},
		Backend: Backend{MaxFlows: 1 << 18, MaxYoungFlows: 1 << 16, Timeouts: defaultTimeouts()},
		BGP: BGP{
			ListenPort:      bgpPort,
			GracefulRestart: GracefulRestart{Enabled: true, RestartTime: 120 * time.Second},
			Drain:           defaultDrain(),
			Damping:         defaultDamping(),
		},
		Shutdown:     ShutdownDrain,
		DrainTimeout: 10 * time.Second,
		Metrics:      Metrics{Address: ":9470"},
		API:          API{Socket: "/run/penstock/agent.sock"},
		Log:          Log{Level: slog.LevelInfo, Format: "text"},
	}
}

func defaultTimeouts() Timeouts {
	return Timeouts{
		SYN:         30 * time.Second,
		Established: 3 * time.Hour,
		Closing:     60 * time.Second,
		Closed:      5 * time.Second,
		UDP:         3 * time.Minute,
	}
}

func defaultPool() ipam.Pool { return ipam.Pool{AutoAssign: true} }

const (
	live    = true
	restart = false
)

var settings = []setting[Config]{
	{Key{"node", "", restart, "Name of this node's Node object; empty: the host name"},
		func(c *Config) value { return stringValue{&c.Node} }},
	{Key{"role", "", restart, "What this node is: `lb` takes clients' packets and announces the VIPs, `backend` is an ingress node, which takes LB nodes' packets out of their tunnels. The keys of `source` but its `history`, `lbNodes`, `datapath.interfaces`, `datapath.mode`, `datapath.compile` and `datapath.bpffs` are of both"},
		func(c *Config) value { return choiceValue[Role]{&c.Role, []Role{RoleLB, RoleBackend}} }},
	{Key{"source.kind", "", restart, "Where Kubernetes objects come from: `manifests`, files in a directory, or `kubernetes`, the API server, where Services get their addresses from the `pools` too"},
		func(c *Config) value {
			return choiceValue[SourceKind]{&c.Source.Kind, []SourceKind{SourceManifests, SourceKubernetes}}
		}},
	{Key{"source.directory", "", restart, "Directory of Kubernetes YAML for `source.kind: manifests`: Service, EndpointSlice, Pod, Node and Namespace objects"},
		func(c *Config) value { return stringValue{&c.Source.Directory} }},
	{Key{"source.kubeconfig", "", restart, "File that says where the API server is and how to log in, for `source.kind: kubernetes`; empty: the ServiceAccount of the agent's pod"},
		func(c *Config) value { return stringValue{&c.Source.Kubeconfig} }},
	{Key{"source.namespace", "", restart, "Namespace of the Leases by which LB nodes agree on who hands out addresses. The same on all LB nodes"},
		func(c *Config) value { return stringValue{&c.Source.Namespace} }},
	{Key{"source.daemonSet", "", restart, "Name of the DaemonSet that the agent's pod is of, in `source.namespace`, for `shutdown: auto`; empty: none"},
		func(c *Config) value { return stringValue{&c.Source.DaemonSet} }},
	{Key{"source.history", "", restart, "File in which an LB node remembers what the objects do not tell: since when it knows an endpoint, its former weights and the like; empty: nowhere. Without it, displaced flows cost more for `chains.retention` after a restart"},
		func(c *Config) value { return stringValue{&c.Source.History} }},
	{Key{"source.copy", "", restart, "File with a copy of the objects that the API server has, with which an agent goes on that starts while the API server is away; empty: none, and such an agent announces nothing until it answers"},
		func(c *Config) value { return stringValue{&c.Source.Copy} }},
	{Key{"defaultClass", "", live, "Take Services that have no `spec.loadBalancerClass` too, not only those of class `penstock.dev/xdp`; `source.kind: manifests` always does. Turned off, it takes their addresses away from such Services. The same on all LB nodes"},
		func(c *Config) value { return boolValue{&c.DefaultClass} }},
	{Key{"lbNodes", "", live, "Label selector of the Nodes that may be LB nodes, as in `penstock.dev/role=lb`; empty: any Node. The same on all nodes"},
		func(c *Config) value { return selectorTextValue{&c.LBNodes} }},
	{Key{"vips", "", live, "Networks in CIDR notation that Services may have addresses of; empty: any address but those of nodes, peers and endpoints"},
		func(c *Config) value { return prefixesValue{&c.VIPs} }},
	{Key{"forwarding", "", live, "How packets reach the pods of a Service that has no annotation `penstock.dev/forwarding`: `dsr` through tunnels, `nat` translated, `auto` through tunnels where the pod's node is an ingress node that answers. The same on all LB nodes"},
		func(c *Config) value {
			return choiceValue[string]{&c.Forwarding, []string{"auto", "dsr", "nat"}}
		}},

	{Key{"datapath.interfaces", "", live, "Devices that take clients' packets and backends' replies, of an ingress node its uplinks; empty: those of the default routes"},
		func(c *Config) value { return listValue{&c.Datapath.Interfaces} }},
	{Key{"datapath.mode", "", restart, "Mode of XDP: `native` needs the driver's support for XDP, `generic` is slow and works everywhere, `auto` takes the best that a device can"},
		func(c *Config) value {
			return choiceValue[string]{&c.Datapath.Mode, []string{"auto", "native", "generic"}}
		}},
	{Key{"datapath.compile", "", restart, "Compile the program on this node instead of loading the one that came with the binary"},
		func(c *Config) value { return boolValue{&c.Datapath.Compile} }},
	{Key{"datapath.clang", "", restart, "C compiler for `datapath.compile`: a name in PATH or a path"},
		func(c *Config) value { return stringValue{&c.Datapath.Clang} }},
	{Key{"datapath.sources", "", restart, "Directory of the C files that `datapath.compile` takes, as `penstock sources` writes them; empty: those in the binary"},
		func(c *Config) value { return stringValue{&c.Datapath.Sources} }},
	{Key{"datapath.bpffs", "", restart, "Directory for pinned maps and links, on a bpf file system"},
		func(c *Config) value { return stringValue{&c.Datapath.BPFFS} }},
	{Key{"datapath.unmatched", "", restart, "What a packet to a VIP gets where no service is or none is usable: `reject` answers with ICMP port unreachable, `drop` does not answer"},
		func(c *Config) value {
			return choiceValue[string]{&c.Datapath.Unmatched, []string{"reject", "drop"}}
		}},
	{Key{"datapath.icmpRate", "", restart, "Most ICMP errors that the data path sends, per second and CPU; 0: none"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.ICMPRate} }},
	{Key{"datapath.seed", "", restart, "Secret key of the hash that places flows: 32 hexadecimal digits, or any text, which is hashed. The same on all load balancer nodes. Not a flag, as others could read it"},
		func(c *Config) value { return secretValue{&c.Datapath.Seed} }},
	{Key{"datapath.seedFile", "", restart, "File that holds the secret of `datapath.seed` instead"},
		func(c *Config) value { return stringValue{&c.Datapath.SeedFile} }},
	{Key{"datapath.rows", "", restart, "Rows of the smallest lookup table, a power of two. More rows share the load more evenly: with 16384, the shares of 10 endpoints differ by 2.3 % (standard deviation). The same on all load balancer nodes"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.Rows} }},
	{Key{"datapath.maxRows", "", restart, "Rows of all lookup tables together, 20 bytes of kernel memory each, taken at the start. Each Service port takes a table for each address family: by default 256 tables of `datapath.rows` fit, in 80 MiB"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.MaxRows} }},
	{Key{"datapath.maxFrontends", "", restart, "Most frontends: VIP, port and protocol"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.MaxFrontends} }},
	{Key{"datapath.maxBackends", "", restart, "Most backends of all services together"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.MaxBackends} }},
	{Key{"datapath.maxSourceRanges", "", restart, "Most source ranges of all Service ports together (`loadBalancerSourceRanges`). While ranges change, those of before count too"},
		func(c *Config) value { return uintValue[uint32]{&c.Datapath.MaxSourceRanges} }},
	{Key{"datapath.discardFlows", "", restart, "Permission to drop the pinned flow table, and with it the translated flows, where an upgrade changed its layout"},
		func(c *Config) value { return boolValue{&c.Datapath.DiscardFlows} }},

	{Key{"tunnel.port", "", restart, "UDP port of the tunnels, not in use for anything else, such as a CNI's Geneve (6081). The same on all nodes"},
		func(c *Config) value { return uintValue[uint16]{&c.Tunnel.Port} }},
	{Key{"tunnel.bounceRate", "", restart, "Most packets of displaced flows that an LB node sends on from one ingress node to another, per second and CPU"},
		func(c *Config) value { return uintValue[uint32]{&c.Tunnel.BounceRate} }},
	{Key{"tunnel.probeInterval", "", restart, "Interval at which an LB node probes each ingress node's data path"},
		func(c *Config) value { return durationValue{&c.Tunnel.ProbeInterval} }},
	{Key{"tunnel.probeFailures", "", restart, "Unanswered probes in a row after which an ingress node gets no new flows"},
		func(c *Config) value { return uintValue[uint32]{&c.Tunnel.ProbeFailures} }},
	{Key{"tunnel.probeRecoveries", "", restart, "Answered probes in a row after which an ingress node gets new flows again"},
		func(c *Config) value { return uintValue[uint32]{&c.Tunnel.ProbeRecoveries} }},
	{Key{"tunnel.failOpen", "", restart, "Where more than so many percent of the ingress nodes do not answer, all count as alive, as the fault is likely to be elsewhere"},
		func(c *Config) value { return uintValue[uint32]{&c.Tunnel.FailOpen} }},

	{Key{"chains.retention", "", restart, "How long a flow is looked for on former owners after other endpoints took its place; it can be found as long as it lives if that is longer than any flow. 0: never. The same on all LB nodes"},
		func(c *Config) value { return durationValue{&c.Chains.Retention} }},
	{Key{"chains.slack", "", restart, "By how much LB nodes' views of the endpoints, and the clocks of all nodes, may differ. The same on all LB nodes"},
		func(c *Config) value { return durationValue{&c.Chains.Slack} }},
	{Key{"chains.extraRanks", "", restart, "How many endpoints are asked for a flow after its chain, at most 3. The same on all LB nodes"},
		func(c *Config) value { return uintValue[uint8]{&c.Chains.ExtraRanks} }},
	{Key{"chains.longest", "", restart, "Most owners of a chain, at most 15. The same on all LB nodes"},
		func(c *Config) value { return uintValue[uint8]{&c.Chains.Longest} }},
	{Key{"chains.max", "", restart, "Most different chains of all services together, 64 bytes of kernel memory each; a row beyond that has its primary alone"},
		func(c *Config) value { return uintValue[uint32]{&c.Chains.Max} }},
	{Key{"chains.maxLearned", "", restart, "Most displaced flows whose owner an LB node remembers; the others take the way over the primary with each packet"},
		func(c *Config) value { return uintValue[uint32]{&c.Chains.MaxLearned} }},

	{Key{"nat.ports", "", restart, "Source ports of translated flows. Apart from `net.ipv4.ip_local_port_range`, or listed in `net.ipv4.ip_local_reserved_ports`"},
		func(c *Config) value { return portsValue{&c.NAT.Ports} }},
	{Key{"nat.maxFlows", "", restart, "Most translated flows, about 270 bytes of kernel memory each; beyond it the least recently used goes"},
		func(c *Config) value { return uintValue[uint32]{&c.NAT.MaxFlows} }},
	{Key{"nat.timeouts.syn", "", restart, "Idle time after which a TCP flow is forgotten whose handshake is not complete"},
		func(c *Config) value { return durationValue{&c.NAT.Timeouts.SYN} }},
	{Key{"nat.timeouts.established", "", restart, "Idle time after which an open TCP flow is forgotten"},
		func(c *Config) value { return durationValue{&c.NAT.Timeouts.Established} }},
	{Key{"nat.timeouts.closing", "", restart, "Idle time after which a TCP flow is forgotten with FINs from both sides, or a RST from the client"},
		func(c *Config) value { return durationValue{&c.NAT.Timeouts.Closing} }},
	{Key{"nat.timeouts.closed", "", restart, "Idle time after which a TCP flow is forgotten with a RST from the backend, or one that began in the middle"},
		func(c *Config) value { return durationValue{&c.NAT.Timeouts.Closed} }},
	{Key{"nat.timeouts.udp", "", restart, "Idle time after which a UDP flow is forgotten"},
		func(c *Config) value { return durationValue{&c.NAT.Timeouts.UDP} }},

	{Key{"backend.maxFlows", "", restart, "Most flows of an ingress node; no more begin while all of them live"},
		func(c *Config) value { return uintValue[uint32]{&c.Backend.MaxFlows} }},
	{Key{"backend.maxYoungFlows", "", restart, "Most flows of an ingress node whose client has yet to confirm them, or that are about to end; beyond it the least recently used goes"},
		func(c *Config) value { return uintValue[uint32]{&c.Backend.MaxYoungFlows} }},
	{Key{"backend.mtu", "", restart, "Largest IP packet, tunnel included, that every path from an LB node to this ingress node carries, in bytes; 0: the least MTU of its uplinks"},
		func(c *Config) value { return uintValue[uint16]{&c.Backend.MTU} }},
	{Key{"backend.timeouts.syn", "", restart, "Idle time after which on an ingress node a TCP flow is forgotten whose handshake is not complete"},
		func(c *Config) value { return durationValue{&c.Backend.Timeouts.SYN} }},
	{Key{"backend.timeouts.established", "", restart, "Idle time after which on an ingress node an open TCP flow is forgotten"},
		func(c *Config) value { return durationValue{&c.Backend.Timeouts.Established} }},
	{Key{"backend.timeouts.closing", "", restart, "Idle time after which on an ingress node a TCP flow is forgotten with FINs from both sides, or a RST from the client"},
		func(c *Config) value { return durationValue{&c.Backend.Timeouts.Closing} }},
	{Key{"backend.timeouts.closed", "", restart, "Idle time after which on an ingress node a TCP flow is forgotten with a RST from the backend, or one that began in the middle"},
		func(c *Config) value { return durationValue{&c.Backend.Timeouts.Closed} }},
	{Key{"backend.timeouts.udp", "", restart, "Idle time after which on an ingress node a UDP flow is forgotten"},
		func(c *Config) value { return durationValue{&c.Backend.Timeouts.UDP} }},

	{Key{"bgp.asn", "", restart, "This node's autonomous system number; needed where there are BGP peers"},
		func(c *Config) value { return uintValue[uint32]{&c.BGP.ASN} }},
	{Key{"bgp.routerID", "", restart, "BGP identifier, written as an IPv4 address; empty: this node's first IPv4 address"},
		func(c *Config) value { return addrValue{&c.BGP.RouterID} }},
	{Key{"bgp.listenPort", "", restart, "TCP port where routers connect to that are `passive` here; without such a peer nothing listens"},
		func(c *Config) value { return uintValue[uint16]{&c.BGP.ListenPort} }},
	{Key{"bgp.gracefulRestart.enabled", "", restart, "Ask the BGP peers to keep the routes while the agent restarts (RFC 4724)"},
		func(c *Config) value { return boolValue{&c.BGP.GracefulRestart.Enabled} }},
	{Key{"bgp.gracefulRestart.restartTime", "", restart, "How long BGP peers keep the routes while the agent restarts (RFC 4724), whole seconds"},
		func(c *Config) value { return durationValue{&c.BGP.GracefulRestart.RestartTime} }},
	{Key{"bgp.gracefulRestart.longLivedTime", "", restart, "How long after that BGP peers keep the routes as the last choice (RFC 9494), whole seconds, at most 194 days; 0: not at all"},
		func(c *Config) value { return durationValue{&c.BGP.GracefulRestart.LongLivedTime} }},
	{Key{"bgp.drain.med", "", live, "MED of the routes while the node drains or warms up; 0: leave it as it is. For routers that do not know the community GRACEFUL_SHUTDOWN (RFC 8326), of which most prefer the lower one of paths from one AS"},
		func(c *Config) value { return uintValue[uint32]{&c.BGP.Drain.MED} }},
	{Key{"bgp.drain.prepend", "", live, "How many times more this node's AS is in the AS path of the routes while the node drains or warms up, for routers that compare no MED, as where each LB node has an AS of its own"},
		func(c *Config) value { return uintValue[uint8]{&c.BGP.Drain.Prepend} }},
	{Key{"bgp.warmup", "", live, "For how long after a start the routes are the last choice, as while the node drains; 0: not at all. Not where the data path has forwarded on meanwhile"},
		func(c *Config) value { return durationValue{&c.BGP.Warmup} }},
	{Key{"bgp.damping.enabled", "", live, "Hold back the return of a VIP that is withdrawn again and again (RFC 2439). All LB nodes see endpoints alike, so that all may hold it back"},
		func(c *Config) value { return boolValue{&c.BGP.Damping.Enabled} }},
	{Key{"bgp.damping.halfLife", "", live, "Time after which half of a VIP's penalty is forgotten. Each withdrawal adds 1000"},
		func(c *Config) value { return durationValue{&c.BGP.Damping.HalfLife} }},
	{Key{"bgp.damping.suppress", "", live, "Penalty above which a VIP that is withdrawn does not come back at once: 2500 takes three withdrawals within about half of a half-life"},
		func(c *Config) value { return uintValue[uint32]{&c.BGP.Damping.Suppress} }},
	{Key{"bgp.damping.reuse", "", live, "Penalty below which a VIP that was held back comes back"},
		func(c *Config) value { return uintValue[uint32]{&c.BGP.Damping.Reuse} }},
	{Key{"bgp.damping.max", "", live, "How long a VIP is held back at most after its last withdrawal"},
		func(c *Config) value { return durationValue{&c.BGP.Damping.Max} }},

	{Key{"shutdown", "", live, "What SIGTERM does: `drain` has routers prefer other LB nodes, waits for traffic to cease, and withdraws the routes; `restart` leaves them to graceful restart; `auto` is for pods: `restart` if the DaemonSet of `source.daemonSet` still wants a pod on this Node, else `drain`, and then all is removed that the agent made here"},
		func(c *Config) value {
			return choiceValue[ShutdownMode]{&c.Shutdown, []ShutdownMode{ShutdownDrain, ShutdownRestart, ShutdownAuto}}
		}},
	{Key{"drainTimeout", "", live, "How long a drain waits at most for traffic to cease before the routes are withdrawn, whatever began it: SIGTERM, the Node, or `penstock drain` without `--timeout`"},
		func(c *Config) value { return durationValue{&c.DrainTimeout} }},

	{Key{"metrics.address", "", restart, "Where Prometheus metrics, `/healthz` and `/readyz` are served; empty: nowhere"},
		func(c *Config) value { return stringValue{&c.Metrics.Address} }},
	{Key{"api.socket", "", restart, "Unix socket that `penstock status` and the other commands use"},
		func(c *Config) value { return stringValue{&c.API.Socket} }},
	{Key{"api.address", "", restart, "Loopback address and port where the API of `api.socket` is served too; empty: nowhere"},
		func(c *Config) value { return stringValue{&c.API.Address} }},
	{Key{"log.level", "", live, "Least level that is logged: `debug`, `info`, `warn` or `error`"},
		func(c *Config) value { return levelValue{&c.Log.Level} }},
	{Key{"log.format", "", restart, "Format of the log: `text` or `json`"},
		func(c *Config) value { return choiceValue[string]{&c.Log.Format, []string{"text", "json"}} }},
}
