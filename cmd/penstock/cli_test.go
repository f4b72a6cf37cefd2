package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/peers"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var usage = maps.Usage{
	Rows: maps.Fill{Used: 768, Total: 4096}, Backends: maps.Fill{Used: 5, Total: 64}, Frontends: maps.Fill{Used: 4, Total: 256},
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// site is a node with an agent, and with tables that can be read without it.
type site struct {
	routes   []bgp.Route // nil: the usual ones
	mu       sync.Mutex
	status   api.Status
	services []maps.ServiceStatus
	verdicts []maps.VerdictCount
	cleaned  string
	viewErr  error

	object *api.Object // what the source has of default/web
	wanted []maps.Service
	pools  api.PoolsStatus
}

func (n *site) Status() api.Status { return n.status }
func (n *site) Services() ([]maps.ServiceStatus, error) {
	if n.status.Ingress != nil {
		return []maps.ServiceStatus{}, nil
	}
	return n.services, nil
}
func (n *site) ServicesOf(names ...string) (out []maps.ServiceStatus, err error) {
	all, err := n.Services()
	for _, s := range api.Select(api.InKernel(all), names) {
		out = append(out, s.ServiceStatus)
	}
	return out, err
}
func (n *site) Verdicts() ([]maps.VerdictCount, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.verdicts[0].Packets += 1000 // traffic, seen by --watch
	n.verdicts[0].Bytes += 64000
	return append([]maps.VerdictCount{}, n.verdicts...), nil
}
func (n *site) Peers() []bgp.PeerState { return n.status.BGP.Peers }
func (n *site) Flows() (maps.FlowStats, error) {
	return maps.FlowStats{Entries: 24, Capacity: 2048}, nil
}
func (n *site) Usage() (maps.Usage, error) { return usage, nil }
func (n *site) Alive() error               { return nil }
func (n *site) Close() error               { return nil }
func (n *site) Routes() []bgp.Route {
	if n.routes != nil {
		return n.routes
	}
	since := noon.Add(-3 * time.Minute)
	return []bgp.Route{
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Since: since, Peers: []bgp.RoutePeer{
			{Peer: "tor-1", NextHop: netip.MustParseAddr("10.0.0.1")}, {Peer: "tor-2", NextHop: netip.MustParseAddr("10.0.1.1")}}},
		{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Since: since},
	}
}

func testNode() *site {
	frontend := func(vip string) maps.Frontend {
		return maps.Frontend{VIP: netip.MustParseAddr(vip), Port: 80, Proto: maps.TCP}
	}
	backend := func(addr string, rows uint32, packets uint64) maps.BackendStatus {
		return maps.BackendStatus{Addr: netip.MustParseAddrPort(addr), Rows: rows, Mode: maps.NAT, Packets: packets, Bytes: packets * 1000, NewFlows: packets / 10}
	}
	resolved := backend("10.1.0.2:8080", 768, 12345678)
	resolved.NextHop = maps.NextHop{Ifindex: 1, VLAN: 7, DstMAC: maps.MAC{2, 0, 0, 0, 0, 1}}
	dead := backend("10.1.0.4:8080", 0, 5)
	dead.Mode, dead.Tunnel, dead.Dead = maps.DSR, netip.MustParseAddr("10.3.2.2"), true
	n := &site{
		services: []maps.ServiceStatus{
			{Name: "default/web:http/tcp/ipv4", Rows: 1024, Affinity: maps.AffinityClientIP,
				Frontends: []maps.Frontend{frontend("192.0.2.1"), frontend("192.0.2.2"), frontend("192.0.2.3"), frontend("192.0.2.4")},
				Backends:  []maps.BackendStatus{resolved, backend("10.1.0.3:8080", 256, 20), dead},
				Chained:   64, Chains: []uint64{0, 960, 60, 4}},
			{Name: "default/web6:http/tcp/ipv6", Frontends: []maps.Frontend{frontend("2001:db8::1")}},
		},
		verdicts: []maps.VerdictCount{
			{Name: "forward", Action: "forward", Packets: 99000, Bytes: 6336000},
			{Name: "drop_malformed", Action: "drop"},
			{Name: "reject_port", Action: "reject", Packets: 3, Bytes: 180},
		},
	}
	n.status = healthy()
	return n
}

func healthy() api.Status {
	s := api.Status{
		Config:  api.ConfigStatus{File: "/etc/penstock/penstock.yaml", Loaded: noon.Add(-50 * time.Hour)},
		Version: "v1.2.3", Node: "lb-1", Role: "lb", Since: noon.Add(-50 * time.Hour), State: api.Running,
		Source: api.SourceStatus{Name: "/etc/penstock/manifests", Synced: true, Changed: noon.Add(-5 * time.Minute), Problems: []desired.Problem{}},
		Datapath: api.DatapathStatus{
			Loaded: true, Schema: "tables-01234567 state-89abcdef", Flows: maps.FlowStats{Entries: 24, Capacity: 2048}, Usage: usage,
			Interfaces: []api.InterfaceStatus{{Name: "eth0", Attached: true, Mode: "native"}},
		},
		BGP: api.BGPStatus{ASN: 64512, RouterID: netip.MustParseAddr("10.0.0.1"), Peers: []bgp.PeerState{
			{Name: "tor-1", Address: netip.MustParseAddr("10.0.0.254"), ASN: 64513, State: bgp.Established, Since: noon.Add(-49 * time.Hour),
				Families: []bgp.FamilyState{{Family: bgp.IPv4, Announced: 1}, {Family: bgp.IPv6, Announced: 1, Received: 2}}},
		}},
		VIPs:     []api.VIPStatus{{VIP: netip.MustParseAddr("192.0.2.1"), Announced: true, Reason: desired.Announceable, Services: []string{"default/web:http/tcp/ipv4"}}},
		Services: []api.ServiceStatus{{Name: "default/web:http/tcp/ipv4", InKernel: true}},
		Reasons:  []desired.ServiceReason{{Service: "default/web6", Subject: "port http/tcp/ipv6", Reason: desired.NoEndpoints, Detail: "no slice lists one"}},
		Sync:     api.SyncStatus{Synced: true, At: noon.Add(-12 * time.Second), Duration: 0.00345},
		Tunnels:  &api.TunnelStatus{Port: 6082, Nodes: []api.IngressNode{ingressNode("ing-1", "10.3.1.2", probe.Alive, "")}},
		Backends: []desired.Backend{
			{Service: "default/web:http/tcp/ipv4", Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Node: "node-1", Mode: desired.ModeNAT, Reason: desired.NotIngressNode, Detail: "node node-1 has no annotation penstock.dev/role: backend"},
			{Service: "default/web:http/tcp/ipv4", Addr: netip.MustParseAddrPort("10.1.0.4:8080"), Node: "ing-2", Mode: desired.ModeDSR, Reason: desired.NodeDead, Detail: "node ing-2 has not answered"},
			{Service: "default/web:http/tcp/ipv4", Addr: netip.MustParseAddrPort("10.1.0.5:8080"), Mode: desired.ModeNone, Reason: desired.NodeUnknown, Detail: "nothing names its node"},
		},
	}
	s.Assess()
	return s
}

func ingressNode(name, addr string, state probe.State, reason string) api.IngressNode {
	n := api.IngressNode{MTU: 1500}
	n.Name, n.Addr, n.State, n.Since, n.Reason = name, netip.MustParseAddr(addr), state, noon.Add(-time.Hour), reason
	if state != probe.Silent {
		n.RTT = 0.000123
	}
	return n
}

// ingress is an ingress node with its agent.
func ingress() api.Status {
	s := healthy()
	s.Node, s.Role = "ing-1", "backend"
	s.Tunnels, s.BGP, s.VIPs, s.Services, s.Reasons, s.Backends = nil, api.BGPStatus{Peers: []bgp.PeerState{}}, nil, nil, nil, nil
	s.Datapath.Usage = maps.Usage{}
	s.Datapath.Flows = maps.FlowStats{Entries: 12, Capacity: 262144, Young: 3, YoungCapacity: 65536}
	s.Datapath.Interfaces = []api.InterfaceStatus{
		{Name: "eth0", Attached: true, Mode: "xdp-native", Egress: "tcx"},
		{Name: "eth1", Attached: true, Mode: "tcx", Egress: "tcx", Fallback: "another XDP program is on the device"},
	}
	s.Ingress = &api.IngressStatus{
		Port: 6082, MTU: 1500, MTUFrom: "eth0", LBs: []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00:0:1::2")},
		Own:    []netip.Addr{netip.MustParseAddr("10.3.1.2")},
		Pods:   []maps.Pod{{Addr: netip.MustParseAddr("10.2.1.1"), Netns: 3}, {Addr: netip.MustParseAddr("10.2.1.2"), Netns: -2}},
		Events: maps.NodeEvents{Collisions: 1, Witnessed: 2, Clamped: 12},
	}
	s.Assess()
	return s
}

// ingressSite has the tables of an ingress node.
type ingressSite struct{ *site }

func (ingressSite) Members() ([]maps.Member, error) {
	return []maps.Member{{Addr: netip.MustParseAddr("10.0.1.2"), LB: true}, {Addr: netip.MustParseAddr("10.3.1.2"), Self: true, Backend: true}}, nil
}
func (i ingressSite) Pods() ([]maps.Pod, error)             { return i.status.Ingress.Pods, nil }
func (i ingressSite) MTU() (uint32, error)                  { return i.status.Ingress.MTU, nil }
func (i ingressSite) Events() (maps.NodeEvents, error)      { return i.status.Ingress.Events, nil }
func (i ingressSite) Flows() (maps.FlowStats, error)        { return i.status.Datapath.Flows, nil }
func (ingressSite) Services() ([]maps.ServiceStatus, error) { return []maps.ServiceStatus{}, nil }
func (ingressSite) ServicesOf(...string) ([]maps.ServiceStatus, error) {
	return []maps.ServiceStatus{}, nil
}

func degraded() api.Status {
	s := healthy()
	s.Source.Problems = []desired.Problem{{File: "web.yaml", Document: 2, Kind: "Service", Name: "web", Field: "spec.ports[0].port", Value: "0", Message: "give 1 to 65535"}}
	s.Datapath.Interfaces = append(s.Datapath.Interfaces,
		api.InterfaceStatus{Name: "eth1", Attached: true, Mode: "generic", Fallback: "operation not supported"},
		api.InterfaceStatus{Name: "eth2", Error: "no such interface"})
	s.BGP.Peers = append(s.BGP.Peers, bgp.PeerState{Name: "tor-2", Address: netip.MustParseAddr("2001:db8::fe"), ASN: 64513, State: bgp.Active, Since: noon.Add(-9 * time.Second), Flaps: 3, DownReason: "hold timer expired"})
	s.VIPs = append(s.VIPs, api.VIPStatus{VIP: netip.MustParseAddr("2001:db8::1"), Reason: desired.NoUsableEndpoints, Detail: "default/web6:http/tcp/ipv6: 2 endpoints, none ready"})
	s.Services = append(s.Services, api.ServiceStatus{Name: "default/big:http/tcp/ipv4", Error: "no room for 65536 rows"})
	s.Reasons = append(s.Reasons, desired.ServiceReason{Service: "default/old", Reason: desired.NoAddress, Detail: "give it one"})
	s.Tunnels = &api.TunnelStatus{Port: 6082, Nodes: []api.IngressNode{
		ingressNode("ing-1", "10.3.1.2", probe.Alive, ""),
		ingressNode("ing-2", "10.3.2.2", probe.Dead, "has not answered 18000 probes"),
		ingressNode("ing-3", "fd00:3:3::2", probe.Silent, "has answered none of 40 probes"),
	}}
	s.Warnings = nil
	s.Config.Restart, s.Config.Error = []string{"nat.ports"}, "penstock.yaml:3: bgp.asn = \"many\": want a number"
	s.Assess()
	return s
}

// crowded is a node whose tables are full, with a dual-stack Service of three
// ports that has no endpoint.
func crowded() api.Status {
	s := healthy()
	s.Datapath.Program = api.ProgramStatus{Compiled: true, Sources: "/etc/penstock/bpf", Digest: "01234567", Changed: true}
	s.VIPs, s.Reasons = nil, nil
	for i := range 344 {
		name := fmt.Sprintf("team-%03d/web:http/tcp/ipv4", i)
		vip := netip.AddrFrom4([4]byte{198, 51, byte(100 + i/256), byte(i)})
		const why = "3 more backends, and there is room for 0 of 65536: raise datapath.maxBackends"
		s.Services = append(s.Services, api.ServiceStatus{Name: name, Frontends: []maps.Frontend{{VIP: vip, Port: 80, Proto: maps.TCP}}, Error: why})
		s.VIPs = append(s.VIPs, api.VIPStatus{VIP: vip, Reason: api.Refused, Services: []string{name}, Detail: name + ": " + why})
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		vip := netip.MustParseAddr(map[string]string{"ipv4": "203.0.113.1", "ipv6": "2001:db8::1"}[family])
		var details []string
		for _, port := range []string{"dns/udp", "http/tcp", "https/tcp"} {
			name := "default/shop:" + port + "/" + family
			s.Services = append(s.Services, api.ServiceStatus{Name: name, InKernel: true, Frontends: []maps.Frontend{{VIP: vip, Port: 80, Proto: maps.TCP}}})
			s.Reasons = append(s.Reasons, desired.ServiceReason{Service: "default/shop", Subject: "port " + port + "/" + family, Reason: desired.NoEndpoints, Detail: "no slice lists one"})
			details = append(details, name+": no slice lists one")
		}
		s.VIPs = append(s.VIPs, api.VIPStatus{VIP: vip, Reason: desired.NoEndpoints, Detail: strings.Join(details, "; ")})
	}
	s.Reasons = append(s.Reasons,
		desired.ServiceReason{Service: "default/six", Subject: "port a/tcp/ipv6", Reason: desired.NoEndpoints, Detail: "x"},
		desired.ServiceReason{Service: "default/six", Subject: "port b/tcp/ipv6", Reason: desired.NoEndpoints, Detail: "y"},
		desired.ServiceReason{Service: "default/six", Subject: "port c/tcp/ipv6", Reason: desired.PortNotFound, Detail: "z"},
		desired.ServiceReason{Service: "default/taken", Subject: "192.0.2.1:80/tcp", Reason: desired.FrontendTaken, Detail: "Service default/web has it"})
	s.Assess()
	return s
}

// watched is a node with peers of every kind, and routes with every attribute.
func watched() *site {
	n := testNode()
	pref, med := uint32(200), uint32(10)
	n.routes = n.Routes()
	n.routes[0].Peers = []bgp.RoutePeer{
		{Peer: "tor-1", NextHop: netip.MustParseAddr("10.0.0.1"), Since: noon.Add(-time.Minute), Attributes: bgp.Attributes{
			Communities: []bgp.Community{64512<<16 | 100, bgp.NoExport}, LargeCommunities: []bgp.LargeCommunity{{Global: 64512, Local1: 1, Local2: 2}},
			LocalPref: &pref, MED: &med, Prepend: 2, Bandwidth: 1_250_000_000,
		}},
		{Peer: "eth1", NextHop: netip.MustParseAddr("fe80::1"), Since: noon.Add(-time.Second)},
	}
	both := []bgp.FamilyState{{Family: bgp.IPv4, Announced: 1}, {Family: bgp.IPv6}}
	up := &n.status.BGP.Peers[0]
	up.LocalAddress, up.HoldTime, up.Flaps, up.DownReason = netip.MustParseAddr("10.0.0.1"), 9*time.Second, 3, "BFD found the path dead"
	up.Causes = map[bgp.Cause]uint32{bgp.CauseBFD: 2, bgp.CauseHoldTimer: 1, bgp.CauseConfig: 0}
	up.Malformed, up.BFD = 1, &bgp.BFDState{State: "up", Since: noon.Add(-48 * time.Hour), Detection: 900 * time.Millisecond, Detections: 2, Reason: "no packet came for 900ms"}
	n.status.BGP.Peers = append(n.status.BGP.Peers,
		bgp.PeerState{Name: "eth1", Address: netip.MustParseAddr("fe80::fe%eth1"), Interface: "eth1", LocalAddress: netip.MustParseAddr("fe80::1%eth1"), ASN: 64514,
			State: bgp.Established, HoldTime: 9 * time.Second, Since: noon.Add(-time.Second), Families: both},
		bgp.PeerState{Name: "eth2", Interface: "eth2", ASN: 64514, State: bgp.Idle, Since: noon.Add(-time.Hour), Families: both,
			DownReason: "no router advertises itself on eth2", BFD: &bgp.BFDState{State: "off"}},
	)
	n.status.BGP.Problems = []peers.Problem{{Peer: "gw", Text: "this node has no ipv6 default route with a gateway; add one, or give the router's address"}}
	n.status.Assess()
	return n
}

// call runs the command line against n. up says whether its agent runs.
func call(t *testing.T, n *site, up bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return callWith(t.Context(), t, n, up, args...)
}

// callAgent is call with an agent that runs, and says more than a site does.
func callAgent(t *testing.T, n configured, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return callOn(t.Context(), t, n.site, n, true, args...)
}

func callWith(ctx context.Context, t *testing.T, n *site, up bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return callOn(ctx, t, n, n, up, args...)
}

// serve has an agent answer on a socket, and returns what ends that.
func serve(t *testing.T, socket string, agent api.Agent) (end func()) {
	t.Helper()
	server, err := api.Listen(api.Options{Socket: socket}, agent, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func callOn(ctx context.Context, t *testing.T, n *site, agent api.Agent, up bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	if up {
		defer serve(t, socket, agent)()
	}
	var out, errs bytes.Buffer
	code = run(ctx, append(args, "--socket", socket, "--bpffs", "/pins"), env{
		stdout: &out, stderr: &errs, now: func() time.Time { return noon },
		openView: func(pins string) (view, error) {
			if n.viewErr != nil {
				return nil, n.viewErr
			}
			if n.status.Ingress != nil {
				return ingressSite{n}, nil
			}
			return n, nil
		},
		pinned: func(pins string) []api.InterfaceStatus {
			return []api.InterfaceStatus{
				{Name: "eth0", Attached: true, Mode: "native"},
				{Name: "eth1", Error: "a link is pinned, but the device is gone"},
			}
		},
		cleanup: func(pins string) ([]string, error) {
			n.cleaned = pins
			return []string{"eth0", "eth1"}, n.viewErr
		},
	})
	hide := func(b bytes.Buffer) string { return strings.ReplaceAll(b.String(), socket, "SOCKET") }
	return code, hide(out), hide(errs)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: want -, got +\n%s", path, d)
	}
}

func TestGolden(t *testing.T) {
	broken := testNode()
	broken.status = degraded()
	down := api.Status{State: api.Starting, Node: "lb-1", Source: api.SourceStatus{Name: "/etc/penstock/manifests"}}
	down.Assess()
	many := testNode()
	many.status = crowded()
	starting := testNode()
	starting.status = down
	node, alone := testNode(), testNode()
	node.status, alone.status = ingress(), ingress()
	lonely := *alone.status.Ingress
	lonely.LBs, alone.status.Ingress, alone.status.Warnings = nil, &lonely, nil
	alone.status.Assess()
	for _, tt := range []struct {
		name string
		node *site
		up   bool
		args string
		code int
	}{
		{"status", testNode(), true, "status", exitOK},
		{"status-degraded", broken, true, "status", exitDegraded},
		{"status-crowded", many, true, "status", exitDegraded},
		{"status-down-json", testNode(), false, "status -o json", exitDegraded},
		{"help-status", testNode(), false, "status --help", exitOK},
		{"status-starting", starting, true, "status", exitDegraded},
		{"status-json", testNode(), true, "status -o json", exitOK},
		{"status-down", testNode(), false, "status", exitDegraded},
		{"services", testNode(), true, "services", exitOK},
		{"services-down", testNode(), false, "services default/web6", exitOK},
		{"services-unknown", testNode(), true, "services default/nope", exitError},
		{"backends", testNode(), true, "backends default/web", exitOK},
		{"backends-json", testNode(), true, "backends -o json default/web:http/tcp/ipv4", exitOK},
		{"backends-down", testNode(), false, "backends", exitOK},
		{"backends-wide", testNode(), true, "backends -o wide", exitOK},
		{"services-wide", testNode(), true, "services -o wide default/web:http/tcp/ipv4", exitOK},
		{"backends-unknown", testNode(), false, "backends default/nope", exitError},
		{"nodes", broken, true, "nodes", exitOK},
		{"nodes-json", testNode(), true, "nodes -o json", exitOK},
		{"nodes-of-ingress", node, true, "nodes", exitError},
		{"services-of-ingress", node, true, "services", exitError},
		{"backends-of-ingress", node, true, "backends -o json", exitError},
		{"backends-of-ingress-down", node, false, "backends", exitError},
		{"peers-of-ingress", node, true, "bgp peers", exitError},
		{"ingress-status", node, true, "status", exitOK},
		{"ingress-status-json", node, true, "status -o json", exitOK},
		{"ingress-status-down", node, false, "status", exitDegraded},
		{"ingress-status-alone", alone, true, "status", exitDegraded},
		{"ingress-verdicts-down", node, false, "verdicts", exitOK},
		{"bgp-peers", broken, true, "bgp peers", exitOK},
		{"bgp-peers-watched", watched(), true, "bgp peers", exitOK},
		{"bgp-peers-wide", watched(), true, "bgp peers -o wide", exitOK},
		{"bgp-routes-watched", watched(), true, "bgp routes", exitOK},
		{"bgp-routes-wide", watched(), true, "bgp routes -o wide", exitOK},
		{"bgp-routes-broken", broken, true, "bgp routes", exitOK},
		{"explain-attributes", watched(), true, "services -n default web", exitOK},
		{"bgp-peers-down", testNode(), false, "bgp peers", exitError},
		{"bgp-routes", testNode(), true, "bgp routes", exitOK},
		{"bgp-routes-json", testNode(), true, "bgp routes -o json", exitOK},
		{"verdicts", testNode(), true, "verdicts", exitOK},
		{"verdicts-all", testNode(), true, "verdicts --all", exitOK},
		{"verdicts-json-down", testNode(), false, "verdicts -o json", exitOK},
		{"cleanup", testNode(), false, "cleanup", exitOK},
		{"help", testNode(), false, "help", exitOK},
		{"help-bgp", testNode(), false, "bgp", exitOK},
		{"help-drain", testNode(), false, "drain --help", exitOK},
		{"usage-unknown-command", testNode(), false, "statsu", exitUsage},
		{"usage-unknown-subcommand", testNode(), false, "bgp sessions", exitUsage},
		{"usage-mistyped-subcommand", testNode(), false, "bgp route", exitUsage},
		{"usage-unknown-flag", testNode(), false, "status --what", exitUsage},
		{"usage-format", testNode(), false, "status -o yaml", exitUsage},
		{"usage-argument", testNode(), false, "status now", exitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, tt.node, tt.up, strings.Fields(tt.args)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			golden(t, tt.name, "$ penstock "+tt.args+"\n"+stdout+"--- stderr\n"+stderr)
		})
	}
}

func TestNothingRunsAndNothingIsPinned(t *testing.T) {
	n := testNode()
	n.viewErr = errors.New("no data path is pinned in /pins")
	code, stdout, stderr := call(t, n, false, "status")
	if code != exitError || stdout != "" {
		t.Errorf("exit code %d, output %q", code, stdout)
	}
	for _, want := range []string{"SOCKET", "/pins", "penstock agent", "--socket", "--bpffs"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in the error: %s", want, stderr)
		}
	}
}

func TestEveryVerdictHasAMeaning(t *testing.T) {
	names, err := bpf.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	texts, err := meanings()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if text := texts[n.Name]; text == "" || strings.Contains(text, "VERDICT") || strings.Contains(text, "*") {
			t.Errorf("%s means %q; give it a comment of its own in enum verdict", n.Name, text)
		}
	}
	if len(texts) != len(names) {
		t.Errorf("%d meanings of %d verdicts", len(texts), len(names))
	}
}

func TestSourcesAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := call(t, testNode(), false, "sources", dir); code != exitOK || !strings.Contains(stdout, dir) {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "nat.h"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, testNode(), false, "sources", dir); code != exitError || !strings.Contains(stderr, "name an empty directory") {
		t.Errorf("%d, %q", code, stderr)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "nat.h")); string(b) != "mine" {
		t.Errorf("a file was overwritten: %q", b)
	}
}

func TestCleanupWhileAnAgentRuns(t *testing.T) {
	n := testNode()
	n.viewErr = fmt.Errorf("in use: %w", syscall.EWOULDBLOCK)
	if code, _, stderr := call(t, n, true, "cleanup"); code != exitError || !strings.Contains(stderr, "stop the agent first (systemctl stop penstock, or let its DaemonSet want no pod on this Node)") {
		t.Errorf("%d, %q", code, stderr)
	}
}

func TestCleanupRemovesAStaleSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "stale.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := run(t.Context(), []string{"cleanup", "--socket", socket, "--bpffs", "/pins"}, env{
		stdout: &out, stderr: io.Discard, cleanup: func(string) ([]string, error) { return nil, nil },
	})
	if _, err := os.Stat(socket); code != exitOK || !errors.Is(err, os.ErrNotExist) || !strings.Contains(out.String(), socket) {
		t.Errorf("%d, %q, socket: %v", code, out.String(), err)
	}
}

func TestSecondSignal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, first := context.WithCancel(t.Context())
	done, end := context.WithCancel(t.Context())
	exited := make(chan int)
	go endAtOnce(ctx, done, socket, slog.New(slog.DiscardHandler), func(code int) { exited <- code })
	signal.Ignore(os.Interrupt) // until endAtOnce asks for it
	defer signal.Reset(os.Interrupt)
	first()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for code := -1; code < 0; {
		select {
		case code = <-exited:
			if _, err := os.Stat(socket); code != exitError || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("exit code %d, socket: %v", code, err)
			}
		case <-again.C:
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	end()
}

func TestNoSecondSignal(t *testing.T) {
	done, end := context.WithCancel(t.Context())
	end()
	endAtOnce(t.Context(), done, "/nonexistent", slog.New(slog.DiscardHandler), func(int) { t.Error("ended") })
	endAtOnce(done, done, "/nonexistent", slog.New(slog.DiscardHandler), func(int) { t.Error("ended") })
}

func TestFlagValues(t *testing.T) {
	for name, values := range flagValues {
		for _, v := range append(values, "nonsense") {
			c := &cli{env: env{stdout: io.Discard, stderr: io.Discard}}
			cmd, rest, err := c.root().Find([]string{"agent", "--" + name, v})
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load("", cmd.Flags()); (err == nil) != (v != "nonsense") {
				t.Errorf("--%s %s: %v", name, v, err)
			}
			if _, there := cmd.GetFlagCompletionFunc(name); !there {
				t.Errorf("--%s is not completed", name)
			}
		}
	}
}

func TestFlagsAreInTheOrderOfTheFile(t *testing.T) {
	_, stdout, _ := call(t, testNode(), false, "agent", "--help")
	last := -1
	for _, flag := range []string{"--node ", "--source-directory ", "--datapath-interfaces ", "--nat-ports ", "--bgp-asn ", "--log-format "} {
		at := strings.Index(stdout, "  "+flag)
		if at <= last {
			t.Errorf("%s is at %d, after %d", flag, at, last)
		}
		last = at
	}
}

func TestWatchShowsRates(t *testing.T) {
	n := testNode()
	ctx, cancel := context.WithCancel(t.Context())
	at := noon
	var out bytes.Buffer
	writes := writerFunc(func(p []byte) (int, error) {
		out.Write(p)
		if bytes.Count(out.Bytes(), []byte("\n")) == 2 {
			cancel()
		}
		return len(p), nil
	})
	code := run(ctx, []string{"verdicts", "--watch", "--interval", "1ms", "-o", "json", "--socket", "/nonexistent", "--bpffs", "/pins"}, env{
		stdout: writes, stderr: &bytes.Buffer{}, openView: func(string) (view, error) { return n, nil },
		now: func() time.Time { at = at.Add(2 * time.Second); return at },
	})
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	var got []rate
	if err := json.Unmarshal(bytes.SplitN(out.Bytes(), []byte("\n"), 2)[0], &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != "forward" || got[0].PacketsPerSecond != 500 || got[0].BytesPerSecond != 32000 {
		t.Errorf("got %+v, want 500 packets and 32000 bytes per second of forward alone", got)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCountersThatWereMadeAnew(t *testing.T) {
	before := []maps.VerdictCount{{Name: "forward", Packets: 100, Bytes: 10000}}
	now := []maps.VerdictCount{{Name: "forward", Packets: 10, Bytes: 1000}}
	if got := rates(before, now, false, time.Second); got[0].PacketsPerSecond != 10 {
		t.Errorf("got %+v", got)
	}
}

func TestPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "penstock.yaml")
	if err := os.WriteFile(file, []byte("api: {socket: /file.sock}\ndatapath: {bpffs: /file-pins}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(what string, c cli, socket, pins string) {
		t.Helper()
		c.stderr = &bytes.Buffer{}
		gotSocket, gotPins := c.places()
		if gotSocket != socket || gotPins != pins {
			t.Errorf("%s: %s, %s, want %s, %s", what, gotSocket, gotPins, socket, pins)
		}
	}
	check("defaults", cli{}, "/run/penstock/agent.sock", "/sys/fs/bpf/penstock")
	check("file", cli{config: file}, "/file.sock", "/file-pins")
	check("flag over file", cli{config: file, socket: "/flag.sock"}, "/flag.sock", "/file-pins")
	t.Setenv("PENSTOCK_API_SOCKET", "/env.sock")
	t.Setenv("PENSTOCK_DATAPATH_BPFFS", "/env-pins")
	check("environment without a file", cli{}, "/env.sock", "/env-pins")
	t.Setenv("PENSTOCK_API_SOCKET", "")
	t.Setenv("PENSTOCK_DATAPATH_BPFFS", "")
	t.Setenv("PENSTOCK_CONFIG", file)
	check("file from the environment", cli{}, "/file.sock", "/file-pins")
	t.Setenv("PENSTOCK_API_SOCKET", "/env.sock")
	check("environment over file", cli{}, "/env.sock", "/file-pins")
	check("flag over environment", cli{socket: "/flag.sock"}, "/flag.sock", "/file-pins")
}

func TestPlacesOfAConfigurationWithMistakes(t *testing.T) {
	dir := t.TempDir()
	const socket, pins = "/run/penstock/agent.sock", "/sys/fs/bpf/penstock"
	for name, tt := range map[string]struct{ text, socket, pins, said string }{
		"another key":        {"natt: {}\napi: {socket: /a.sock}\ndatapath: {bpffs: /pins}\n", "/a.sock", "/pins", "natt"},
		"two mistakes":       {"natt: {}\nbgp: {asn: many}\napi: {socket: /a.sock}\n", "/a.sock", pins, "natt"},
		"the key itself":     {"api: {socket: [a]}\ndatapath: {bpffs: /pins}\n", socket, "/pins", "api.socket"},
		"YAML broken below":  {"api: {socket: /a.sock}\nbgp: {asn: [\n", "/a.sock", pins, ":"},
		"YAML broken at all": {"{", socket, pins, ":"},
		"no such file":       {"", socket, pins, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if tt.text != "" {
				if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var said bytes.Buffer
			c := &cli{env: env{stderr: &said}, config: file}
			gotSocket, gotPins := c.places()
			if gotSocket != tt.socket || gotPins != tt.pins {
				t.Errorf("%s, %s, want %s, %s", gotSocket, gotPins, tt.socket, tt.pins)
			}
			if s := said.String(); !strings.Contains(s, tt.said) || !strings.Contains(s, file) || strings.Count(s, "\n") != 1 {
				t.Errorf("said %q", s)
			}
		})
	}
}

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "penstock.yaml")
	code, text, _ := call(t, testNode(), false, "config", "default")
	if code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, testNode(), false, "config", "validate", file)
	if code != exitOK || stdout != file+" is valid\n" || !strings.Contains(stderr, "bgp.peers is empty") {
		t.Errorf("the default file: %d, %q, %q", code, stdout, stderr)
	}
	if err := os.WriteFile(file, []byte("natt: {}\nbgp: {asn: many}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = call(t, testNode(), false, "config", "validate", "--config", file)
	for _, want := range []string{file + ":1", "natt", file + ":2", "many"} {
		if code != exitError || !strings.Contains(stderr, want) {
			t.Errorf("a bad file: %d, %q is not in %q", code, want, stderr)
		}
	}
}

func TestCompletion(t *testing.T) {
	c := &cli{env: env{stderr: &bytes.Buffer{}, openView: func(string) (view, error) { return testNode(), nil }}, socket: "/nonexistent", bpffs: "/pins"}
	cmd := c.servicesCmd()
	cmd.SetContext(t.Context())
	got, _ := c.completeServices(cmd, []string{"default/web"}, "")
	if d := cmp.Diff([]string{"default/web6"}, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	got, _ = c.completeServices(cmd, nil, "default/web:h")
	if d := cmp.Diff([]string{"default/web:http/tcp/ipv4"}, got); d != "" {
		t.Errorf("tables: want -, got +\n%s", d)
	}
}

func TestShortFlagsOfTheAgent(t *testing.T) {
	c := &cli{env: env{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}}
	root := c.root()
	cmd, rest, err := root.Find([]string{"agent", "--interface", "eth7", "--socket=/s", "--bpffs=/b", "--compile", "--drain-timeout=3s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("", cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	got := []any{cfg.Datapath.Interfaces, cfg.API.Socket, cfg.Datapath.BPFFS, cfg.Datapath.Compile, cfg.DrainTimeout}
	if d := cmp.Diff([]any{[]string{"eth7"}, "/s", "/b", true, 3 * time.Second}, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestEveryCommandTeaches(t *testing.T) {
	c := &cli{}
	root := c.root()
	for _, cmd := range append(root.Commands(), root) {
		for _, sub := range append(cmd.Commands(), cmd) {
			if sub.Short == "" || sub.Example == "" {
				t.Errorf("%s: no short description or no example", sub.CommandPath())
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 3 * time.Hour: "3h0m", 49 * time.Hour: "2d1h"} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
}
