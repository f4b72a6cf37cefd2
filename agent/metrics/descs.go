package metrics

import "github.com/prometheus/client_golang/prometheus"

var descs []*prometheus.Desc

// desc describes a metric and lists it for Describe.
func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("penstock_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

var (
	buildInfo    = desc("build_info", "Version of the agent; always 1.", "version")
	startTime    = desc("start_time_seconds", "When the agent started, Unix time.")
	state        = desc("state", "1 for the state that the agent is in.", "state")
	ready        = desc("ready", "Whether the agent is ready.")
	scrapeErrors = desc("scrape_errors", "Tables that could not be read at this scrape.")

	verdictPackets = desc("verdict_packets_total", "Packets by what became of them.", "verdict", "action")
	verdictBytes   = desc("verdict_bytes_total", "Bytes of IP packet by what became of them.", "verdict", "action")

	backendPackets = desc("backend_packets_total", "Packets sent to a backend.", "service", "backend")
	backendBytes   = desc("backend_bytes_total", "Bytes of IP packet sent to a backend.", "service", "backend")
	backendFlows   = desc("backend_new_flows_total", "Flows begun at a backend.", "service", "backend")
	backendRows    = desc("backend_rows", "Rows of the service's table that name the backend; 0 takes no new flow.", "service", "backend")
	backendSeries  = desc("backend_series", "Whether single backends have metrics: above 20000 of them none has, for a scrape would cost too much; 'penstock backends' has them all.")
	serviceRows    = desc("service_rows", "Rows of the service's table; 0 where no backend is usable.", "service")

	flows         = desc("flows", "Entries of the flow table after its last sweep; a flow has two.")
	flowsCapacity = desc("flows_capacity", "Entries that fit the flow table.")

	programInfo   = desc("program_info", "Where the loaded program comes from; always 1. Origin is binary or compiled, changed says that its sources are others than the binary's.", "origin", "sources", "digest", "changed")
	tableUsed     = desc("table_used", "Entries of a table that are in use: rows, backends, frontends, sources, chains, tunnels or learned.", "table")
	tableCapacity = desc("table_capacity", "Entries that fit the table.", "table")

	interfaceAttached = desc("interface_attached", "Whether the program runs on a configured interface.", "interface", "mode")
	interfaceFallback = desc("interface_fallback", "Whether an interface is on a slower path than asked for: generic XDP or, on an ingress node, tc.", "interface")
	datapathSurvived  = desc("datapath_survived", "Whether the agent found the data path running when it started.")

	tunnelUp      = desc("tunnel_up", "Whether an ingress node answers probes.", "ingress_node", "address")
	tunnelRTT     = desc("tunnel_rtt_seconds", "Smoothed time that an ingress node's answers to probes take.", "ingress_node", "address")
	tunnelDeaths  = desc("tunnel_deaths_total", "How often an ingress node stopped answering.", "ingress_node", "address")
	tunnelProbes  = desc("tunnel_probes_total", "Probes sent to an ingress node.", "ingress_node", "address")
	tunnelAnswers = desc("tunnel_answers_total", "Probes that an ingress node answered.", "ingress_node", "address")
	tunnelMTU     = desc("tunnel_path_mtu_bytes", "MTU of the path to an ingress node, tunnel included.", "ingress_node", "address")
	tunnelOpen    = desc("tunnel_fail_open", "Whether so many ingress nodes are dead that all count as alive.")

	chainRows   = desc("chain_rows", "Rows of a service's table by how many owners their flows can have.", "service", "length")
	backendMode = desc("backend_mode", "How packets reach a backend, dsr or nat; always 1.", "service", "backend", "mode")

	nodeFlows         = desc("node_flows", "Flows of an ingress node by table: established, or young, which can be evicted.", "table")
	nodeFlowsCapacity = desc("node_flows_capacity", "Flows that fit the table.", "table")
	nodeFlowEvents    = desc("node_flow_events_total", "What happened to flows on an ingress node: collision, witness, full or clamp.", "event")
	nodePods          = desc("node_pods", "Addresses on an ingress node that flows may be delivered to.")
	nodePodsUnplaced  = desc("node_pods_unplaced", "Of those, the ones whose network namespace is not known.")
	nodeLBs           = desc("node_lb_addresses", "Addresses of LB nodes that an ingress node takes tunnel packets from.")
	nodeMTU           = desc("node_mtu_bytes", "Largest tunnel packet that an ingress node has LB nodes send.")

	bypassed = desc("bypassed_backends", "Usable backends reached by a device without a program, so that their replies are not translated.", "service", "interface")

	sessionUp      = desc("bgp_session_up", "Whether the session is established.", "peer")
	sessionFlaps   = desc("bgp_session_flaps_total", "Established sessions that ended, by reason: holdTimer, bfd, connection, notification, maxPrefixes, protocol or config.", "peer", "reason")
	malformed      = desc("bgp_malformed_messages_total", "Messages of the peer that were not as they should be, and were left out.", "peer")
	pathsAnnounced = desc("bgp_paths_announced", "Paths that the peer has from us.", "peer", "family")
	pathsReceived  = desc("bgp_paths_received", "Paths that the peer sent; they are not used.", "peer", "family")

	bfdUp         = desc("bfd_session_up", "Whether BFD has the path to a peer for alive; only of peers with BFD.", "peer")
	bfdDetections = desc("bfd_detections_total", "How often BFD found the path to a peer dead.", "peer")

	vipAnnounced    = desc("vip_announced", "Whether a VIP is announced, and why it is not.", "vip", "reason")
	draining        = desc("draining", "Whether a command, the Node or the agent's shutdown has the node drain.", "by")
	drainStage      = desc("drain_stage", "1 for the stage of the drain: announced without one, gracefulShutdown, withdrawn.", "stage")
	services        = desc("services", "Wanted services, each one port in one address family.")
	serviceProblems = desc("service_problems", "Parts of Services that are not in force, and services that the tables refused; not Services of other implementations, nor those that wait for an address.")
	sourceProblems  = desc("source_problems", "Objects of the source that could not be used.")
	sourceSynced    = desc("source_synced", "Whether the source has been read completely once.")

	sourceConnected = desc("source_connected", "Whether the API server answers.")
	sourceLink      = desc("source_connection_timestamp_seconds", "Since when the API server has answered or, where penstock_source_connected is 0, has not, Unix time.")
	nodeReady       = desc("node_ready", "Whether the agent of a node says that it is ready, by role and version.", "agent_node", "agent_role", "version")

	poolAddresses = desc("pool_addresses", "Addresses of a pool in one family; of the agent that leads alone.", "pool", "family")
	poolAllocated = desc("pool_addresses_allocated", "Addresses of a pool that Services hold; of the agent that leads alone.", "pool", "family")
	leader        = desc("leader", "Whether this agent allocates addresses for the cluster.")

	reloadSuccess   = desc("config_reload_success", "Whether the newest configuration is in force.")
	reloadTimestamp = desc("config_reload_timestamp_seconds", "When the configuration in force was loaded, Unix time.")
	restartNeeded   = desc("config_restart_keys", "Changed keys that wait for a restart.")

	syncDuration  = desc("sync_duration_seconds", "Time that passes took.")
	syncErrors    = desc("sync_errors_total", "Passes in which something failed.")
	syncTimestamp = desc("sync_timestamp_seconds", "When the last pass began, Unix time.")
)
