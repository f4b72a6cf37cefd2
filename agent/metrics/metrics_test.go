package metrics

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

type fakeAgent struct {
	status   api.Status
	services []maps.ServiceStatus
	verdicts []maps.VerdictCount
	pools    api.PoolsStatus
	err      error
}

func (f fakeAgent) Pools() api.PoolsStatus { return f.pools }

func (f fakeAgent) Status() api.Status                      { return f.status }
func (f fakeAgent) Services() ([]maps.ServiceStatus, error) { return f.services, f.err }
func (f fakeAgent) Verdicts() ([]maps.VerdictCount, error)  { return f.verdicts, f.err }

// full is an agent that has every metric.
func full() fakeAgent {
	at := time.Unix(1_700_000_000, 0)
	alive := api.IngressNode{MTU: 1500, Node: probe.Node{State: probe.Alive, RTT: 0.25, Sent: 9, Answered: 8, Deaths: 1}}
	alive.Name, alive.Addr = "ing-1", netip.MustParseAddr("10.3.1.2")
	silent := api.IngressNode{Node: probe.Node{State: probe.Silent}}
	silent.Name, silent.Addr = "ing-2", netip.MustParseAddr("fd00::2")
	return fakeAgent{
		status: api.Status{
			Drain:   &api.DrainStatus{Stage: drain.GracefulShutdown, Asks: []drain.Ask{{By: drain.Command}}},
			Tunnels: &api.TunnelStatus{Nodes: []api.IngressNode{alive, silent}},
			Version: "v1.2.3", Node: "lb-1", Role: "lb", Since: at, State: api.Running,
			Config: api.ConfigStatus{Loaded: at, Restart: []string{"nat.ports"}},
			Source: api.SourceStatus{Synced: true, Problems: make([]desired.Problem, 3), API: &api.Link{Since: at}},
			Nodes: []api.NodeStatus{
				{Name: "lb-2", Role: "lb", Published: &desired.Published{Version: "v1.2.4", Ready: true}}, {Name: "old", Role: "lb"}},
			Datapath: api.DatapathStatus{
				Loaded: true, Survived: true, Flows: maps.FlowStats{Entries: 12, Capacity: 1024},
				Usage: maps.Usage{
					Rows: maps.Fill{Used: 768, Total: 4096}, Backends: maps.Fill{Used: 5, Total: 64}, Frontends: maps.Fill{Used: 4, Total: 256},
				},
				Program:  api.ProgramStatus{Compiled: true, Sources: "/etc/penstock/bpf", Digest: "01234567", Changed: true},
				Bypassed: []api.BypassStatus{{Service: "default/web", Interface: "eth9", Backends: make([]netip.Addr, 3)}},
				Interfaces: []api.InterfaceStatus{
					{Name: "eth0", Attached: true, Mode: "native"},
					{Name: "eth1", Attached: true, Mode: "generic", Fallback: "not supported"},
					{Name: "eth2", Error: "no such interface"},
				},
			},
			BGP: api.BGPStatus{Peers: []bgp.PeerState{
				{Name: "tor-1", State: bgp.Established, Flaps: 2, Causes: map[bgp.Cause]uint32{bgp.CauseBFD: 2}, Malformed: 3, BFD: &bgp.BFDState{State: "up", Detections: 2}, Families: []bgp.FamilyState{{Family: bgp.IPv4, Announced: 5, Received: 1}}},
				{Name: "tor-2", State: bgp.Active, BFD: &bgp.BFDState{State: "off"}},
			}},
			VIPs: []api.VIPStatus{
				{VIP: netip.MustParseAddr("192.0.2.1"), Announced: true, Reason: desired.Announceable},
				{VIP: netip.MustParseAddr("2001:db8::1"), Reason: desired.NoUsableEndpoints},
			},
			Services: []api.ServiceStatus{{Name: "default/web:http/tcp/ipv4"}, {Name: "default/api:http/tcp/ipv4", Error: "no room"}},
			Reasons:  append(make([]desired.ServiceReason, 4), desired.ServiceReason{Reason: desired.OtherClass}, desired.ServiceReason{Reason: desired.AddressPending}),
			Sync:     api.SyncStatus{Synced: true, At: at, Passes: 10, TotalDuration: 0.5, Errors: 1},
		},
		pools: api.PoolsStatus{Self: true, Pools: []ipam.Usage{{Pool: "main", Family: "ipv4", Total: 256, Allocated: 3}}},
		services: []maps.ServiceStatus{{Name: "default/web:http/tcp/ipv4", Rows: 1024, Chains: []uint64{0, 1000, 24}, Backends: []maps.BackendStatus{
			{Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Rows: 1024, Mode: maps.DSR, Packets: 7, Bytes: 700, NewFlows: 3},
		}}},
		verdicts: []maps.VerdictCount{{Name: "drop_malformed", Action: "drop", Packets: 4, Bytes: 240}},
	}
}

const wanted = `
penstock_backend_bytes_total{backend="10.1.0.2:8080",service="default/web:http/tcp/ipv4"} 700
penstock_backend_new_flows_total{backend="10.1.0.2:8080",service="default/web:http/tcp/ipv4"} 3
penstock_backend_packets_total{backend="10.1.0.2:8080",service="default/web:http/tcp/ipv4"} 7
penstock_backend_series 1
penstock_backend_rows{backend="10.1.0.2:8080",service="default/web:http/tcp/ipv4"} 1024
penstock_bypassed_backends{interface="eth9",service="default/web"} 3
penstock_table_used{table="rows"} 768
penstock_table_used{table="backends"} 5
penstock_table_capacity{table="frontends"} 256
penstock_leader 1
penstock_node_ready{agent_node="lb-2",agent_role="lb",version="v1.2.4"} 1
penstock_pool_addresses{family="ipv4",pool="main"} 256
penstock_pool_addresses_allocated{family="ipv4",pool="main"} 3
penstock_source_connected 0
penstock_source_connection_timestamp_seconds 1.7e+09
penstock_program_info{changed="true",digest="01234567",origin="compiled",sources="/etc/penstock/bpf"} 1
penstock_bgp_paths_announced{family="ipv4",peer="tor-1"} 5
penstock_bgp_paths_received{family="ipv4",peer="tor-1"} 1
penstock_bgp_session_flaps_total{peer="tor-1",reason="bfd"} 2
penstock_bgp_session_flaps_total{peer="tor-1",reason="config"} 0
penstock_bgp_session_flaps_total{peer="tor-2",reason="holdTimer"} 0
penstock_bgp_malformed_messages_total{peer="tor-1"} 3
penstock_bgp_malformed_messages_total{peer="tor-2"} 0
penstock_bfd_session_up{peer="tor-1"} 1
penstock_bfd_session_up{peer="tor-2"} 0
penstock_bfd_detections_total{peer="tor-1"} 2
penstock_bgp_session_up{peer="tor-1"} 1
penstock_bgp_session_up{peer="tor-2"} 0
penstock_backend_mode{backend="10.1.0.2:8080",mode="dsr",service="default/web:http/tcp/ipv4"} 1
penstock_build_info{version="v1.2.3"} 1
penstock_chain_rows{length="1",service="default/web:http/tcp/ipv4"} 1000
penstock_chain_rows{length="2",service="default/web:http/tcp/ipv4"} 24
penstock_tunnel_up{address="10.3.1.2",ingress_node="ing-1"} 1
penstock_tunnel_up{address="fd00::2",ingress_node="ing-2"} 0
penstock_tunnel_rtt_seconds{address="10.3.1.2",ingress_node="ing-1"} 0.25
penstock_tunnel_deaths_total{address="10.3.1.2",ingress_node="ing-1"} 1
penstock_tunnel_answers_total{address="10.3.1.2",ingress_node="ing-1"} 8
penstock_tunnel_fail_open 0
penstock_drain_stage{stage="announced"} 0
penstock_drain_stage{stage="gracefulShutdown"} 1
penstock_draining{by="command"} 1
penstock_draining{by="node"} 0
penstock_config_reload_success 1
penstock_config_reload_timestamp_seconds 1.7e+09
penstock_config_restart_keys 1
penstock_datapath_survived 1
penstock_flows 12
penstock_flows_capacity 1024
penstock_interface_attached{interface="eth0",mode="native"} 1
penstock_interface_attached{interface="eth1",mode="generic"} 1
penstock_interface_attached{interface="eth2",mode=""} 0
penstock_interface_fallback{interface="eth0"} 0
penstock_interface_fallback{interface="eth1"} 1
penstock_ready 1
penstock_scrape_errors 0
penstock_service_problems 5
penstock_service_rows{service="default/web:http/tcp/ipv4"} 1024
penstock_services 2
penstock_source_problems 3
penstock_source_synced 1
penstock_start_time_seconds 1.7e+09
penstock_state{state="running"} 1
penstock_state{state="draining"} 0
penstock_sync_duration_seconds_count 10
penstock_sync_duration_seconds_sum 0.5
penstock_sync_errors_total 1
penstock_sync_timestamp_seconds 1.7e+09
penstock_verdict_bytes_total{action="drop",verdict="drop_malformed"} 240
penstock_verdict_packets_total{action="drop",verdict="drop_malformed"} 4
penstock_vip_announced{reason="Announceable",vip="192.0.2.1"} 1
penstock_vip_announced{reason="NoUsableEndpoints",vip="2001:db8::1"} 0
`

// ingress is an ingress node's agent that has every metric of that role.
func ingress() fakeAgent {
	a := full()
	a.status.Tunnels, a.services = nil, nil
	a.status.Role = "backend"
	a.status.Datapath.Flows = maps.FlowStats{Entries: 12, Capacity: 1024, Young: 3, YoungCapacity: 64}
	a.status.Ingress = &api.IngressStatus{
		MTU: 1500, LBs: make([]netip.Addr, 2), Pods: []maps.Pod{{Netns: 1}, {Netns: -2}}, Events: maps.NodeEvents{Collisions: 4, Witnessed: 5},
	}
	return a
}

const wantedOfIngress = `
penstock_node_flows{table="established"} 12
penstock_node_flows{table="young"} 3
penstock_node_flows_capacity{table="young"} 64
penstock_node_flow_events_total{event="collision"} 4
penstock_node_flow_events_total{event="witness"} 5
penstock_node_pods 2
penstock_node_pods_unplaced 1
penstock_node_lb_addresses 2
penstock_node_mtu_bytes 1500
penstock_verdict_packets_total{action="drop",verdict="drop_malformed"} 4
`

func scrape(t *testing.T, agent Agent) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(agent).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", w.Code, err, body)
	}
	return string(body)
}

func TestScrape(t *testing.T) {
	text := scrape(t, full())
	for line := range strings.Lines(wanted) {
		if line != "\n" && !strings.Contains(text, "\n"+line) {
			t.Errorf("no %s", line)
		}
	}
	node := scrape(t, ingress())
	for line := range strings.Lines(wantedOfIngress) {
		if line != "\n" && !strings.Contains(node, "\n"+line) {
			t.Errorf("an ingress node has no %s", line)
		}
	}
	if strings.Contains(node, "penstock_table_used{") || strings.Contains(text, "penstock_node_flows") {
		t.Error("a role has the other's metrics")
	}
	if !strings.Contains(text, "go_goroutines") || !strings.Contains(text, "process_start_time_seconds") {
		t.Error("metrics of Go or of the process are missing")
	}
}

func TestEveryMetricIsEmittedAndClean(t *testing.T) {
	emitted := map[string]bool{}
	for _, agent := range []fakeAgent{full(), ingress()} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(New(agent))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			emitted[f.GetName()] = true
		}
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if len(emitted) != len(descs) {
		t.Errorf("%d metrics are described, %d emitted", len(descs), len(emitted))
	}
}

func TestSingleBackendsOfALargeSite(t *testing.T) {
	agent := full()
	for i := range 2001 {
		s := maps.ServiceStatus{Name: fmt.Sprintf("many/s%d:http/tcp/ipv4", i), Rows: 2048}
		for e := range 10 {
			addr := netip.AddrFrom4([4]byte{10, byte(e), byte(i >> 8), byte(i)})
			s.Backends = append(s.Backends, maps.BackendStatus{Addr: netip.AddrPortFrom(addr, 80)})
		}
		agent.services = append(agent.services, s)
	}
	text := scrape(t, agent)
	if !strings.Contains(text, "\npenstock_backend_series 0\n") || strings.Contains(text, "penstock_backend_rows{") ||
		!strings.Contains(text, `penstock_service_rows{service="many/s2000:http/tcp/ipv4"} 2048`) {
		t.Errorf("%d bytes were scraped", len(text))
	}
	agent.services = agent.services[:2001] // one has a single backend
	if text := scrape(t, agent); !strings.Contains(text, "\npenstock_backend_series 0\n") {
		t.Error("20001 are not too many")
	}
	agent.services = agent.services[1:]
	if text := scrape(t, agent); !strings.Contains(text, "\npenstock_backend_series 1\n") || !strings.Contains(text, "penstock_backend_rows{") {
		t.Error("20000 are too many")
	}
}

func TestOnlyTheLeaderCountsPools(t *testing.T) {
	agent := full()
	agent.pools.Self, agent.pools.Leader = false, "lb-2"
	text := scrape(t, agent)
	if !strings.Contains(text, "\npenstock_leader 0\n") || strings.Contains(text, "penstock_pool_") {
		t.Errorf("scraped\n%s", text)
	}
	agent.status.Source.API = nil
	if text := scrape(t, agent); strings.Contains(text, "penstock_leader") || strings.Contains(text, "penstock_source_connected") {
		t.Errorf("without an API server\n%s", text)
	}
}

func TestTablesThatCannotBeRead(t *testing.T) {
	agent := full()
	agent.err = errors.New("no such map")
	text := scrape(t, agent)
	if !strings.Contains(text, "\npenstock_scrape_errors 2\n") || strings.Contains(text, "penstock_verdict_packets_total{") {
		t.Errorf("scraped\n%s", text)
	}
	if !strings.Contains(text, `penstock_bgp_session_up{peer="tor-1"} 1`) {
		t.Error("what can be read is missing too")
	}
}

func TestAgentThatJustStarted(t *testing.T) {
	text := scrape(t, fakeAgent{err: errors.New("not loaded"), status: api.Status{State: api.Starting, NotReady: []string{"all"}}})
	for _, line := range []string{"penstock_ready 0", "penstock_scrape_errors 0", `penstock_state{state="starting"} 1`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(text, "penstock_sync_timestamp_seconds ") {
		t.Error("a pass that never was has a time")
	}
}

// A cause that package bgp has and that is not counted would be seen by nobody.
func TestEveryCauseIsCounted(t *testing.T) {
	source, err := os.ReadFile("../../bgp/state.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\s+Cause\w+\s+Cause\s*=\s*"(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(declared) == 0 {
		t.Fatal("bgp/state.go has no causes")
	}
	for _, d := range declared {
		if !slices.Contains(causes, bgp.Cause(d[1])) {
			t.Errorf("%s is not counted", d[1])
		}
	}
}
