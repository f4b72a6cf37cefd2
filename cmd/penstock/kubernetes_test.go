package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/maps"
)

func (n *site) Object(service string) (*api.Object, bool) {
	if service != "default/web" || n.object == nil {
		return nil, false
	}
	return n.object, true
}

func (n *site) Wanted(service string) []maps.Service {
	if service != "default/web" {
		return nil
	}
	return n.wanted
}

func (n *site) Pools() api.PoolsStatus { return n.pools }

const (
	four = "default/web:http/tcp/ipv4"
	six  = "default/web:http/tcp/ipv6"
)

// inCluster is an LB node of a cluster, with a dual-stack Service of which one VIP is
// announced and the other has no endpoint.
func inCluster() *site {
	n := testNode()
	backend := func(addr string, rows uint32, mode maps.Mode) maps.BackendStatus {
		return maps.BackendStatus{Addr: netip.MustParseAddrPort(addr), Rows: rows, Mode: mode, Packets: 120, Bytes: 64000, NewFlows: 12}
	}
	frontend := func(vip string) []maps.Frontend {
		return []maps.Frontend{{VIP: netip.MustParseAddr(vip), Port: 80, Proto: maps.TCP}}
	}
	sources := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	n.services = []maps.ServiceStatus{
		{Name: four, Rows: 1024, Restricted: true, Sources: sources, Frontends: frontend("192.0.2.1"), Chained: 64, Chains: []uint64{0, 960, 64}, Backends: []maps.BackendStatus{
			backend("10.2.1.2:8080", 1024, maps.DSR), backend("10.2.1.3:8080", 0, maps.DSR), backend("10.2.1.9:8080", 0, maps.NAT)}},
		{Name: six, Restricted: true, Frontends: frontend("2001:db8::1"), Backends: []maps.BackendStatus{}},
	}
	n.wanted = []maps.Service{
		{Name: four, Restricted: true, Sources: sources, Backends: []maps.Backend{
			{Addr: netip.MustParseAddrPort("10.2.1.2:8080"), Weight: 10, Tunnel: netip.MustParseAddr("10.3.1.2")},
			{Addr: netip.MustParseAddrPort("10.2.1.3:8080"), Weight: 10, Tunnel: netip.MustParseAddr("10.3.1.2"), Draining: true},
			{Addr: netip.MustParseAddrPort("10.2.2.2:8080"), Weight: 1, Tunnel: netip.MustParseAddr("10.3.2.2")}}},
		{Name: six, Restricted: true},
	}
	endpoint := func(addr, pod, node string) api.Endpoint {
		return api.Endpoint{Addr: netip.MustParseAddr(addr), Pod: pod, Node: node, Zone: "z1", Slice: "web-x", Ready: true, Serving: true}
	}
	ending := endpoint("10.2.1.3", "default/web-b", "ing-1")
	ending.Ready, ending.Terminating = false, true
	n.object = &api.Object{
		Service: "default/web", UID: "0c1d", Created: noon.Add(-72 * time.Hour), Type: "LoadBalancer", Class: "penstock.dev/xdp",
		FamilyPolicy: "PreferDualStack", Families: []string{"IPv4", "IPv6"}, Ports: []string{"http 80/TCP"},
		TrafficPolicy: "Local", Affinity: "ClientIP", SourceRanges: []string{"198.51.100.0/24"},
		Annotations: map[string]string{"penstock.dev/ips": "192.0.2.1", "penstock.dev/forwarding": "dsr"},
		Ignored:     map[string]string{"penstock.dev/wieght": "1"},
		Held:        []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Condition:   &api.Condition{Status: "True", Reason: "Allocated", Message: "192.0.2.1 of pool main, 2001:db8::1 of pool main6", Since: noon.Add(-70 * time.Hour)},
		Endpoints:   []api.Endpoint{endpoint("10.2.1.2", "default/web-a", "ing-1"), ending, endpoint("10.2.2.2", "default/web-c", "ing-2")},
	}
	s := &n.status
	s.Datapath.Usage.Sources = maps.Fill{Used: 1, Total: 1024}
	s.Source = api.SourceStatus{Name: "kubernetes", Kind: "kubernetes", Synced: true, Changed: noon.Add(-5 * time.Minute), Problems: []desired.Problem{},
		API: &api.Link{Server: "https://10.96.0.1:443", Connected: true, Since: noon.Add(-50 * time.Hour)}}
	s.VIPs = []api.VIPStatus{
		{VIP: netip.MustParseAddr("192.0.2.1"), Prefix: netip.MustParsePrefix("192.0.2.1/32"), Announced: true, Reason: desired.Announceable, Services: []string{four}},
		{VIP: netip.MustParseAddr("2001:db8::1"), Prefix: netip.MustParsePrefix("2001:db8::1/128"), Reason: desired.NoEndpoints, Detail: six + ": no EndpointSlice lists an IPv6 endpoint", Services: []string{}},
	}
	s.Services = []api.ServiceStatus{{Name: four, InKernel: true, Frontends: n.services[0].Frontends}, {Name: six, InKernel: true, Frontends: n.services[1].Frontends}}
	s.Reasons = []desired.ServiceReason{
		{Service: "default/web", Subject: "port http/tcp/ipv6", Reason: desired.NoEndpoints, Detail: "no EndpointSlice lists an IPv6 endpoint"},
		{Service: "shop/web", Reason: desired.NoAddress, Detail: "no pool has one"},
		{Service: "shop/cart", Reason: desired.OtherClass, Detail: "loadBalancerClass is example.com/lb"},
		{Service: "shop/a", Reason: desired.OtherClass, Detail: "loadBalancerClass is example.com/lb"},
		{Service: "shop/b", Reason: desired.OtherClass, Detail: "loadBalancerClass is example.com/lb"},
		{Service: "shop/c", Reason: desired.OtherClass, Detail: "loadBalancerClass is example.com/lb"},
		{Service: "shop/d", Reason: desired.OtherClass, Detail: "loadBalancerClass is example.com/lb"},
	}
	s.Backends = []desired.Backend{
		{Service: four, Addr: netip.MustParseAddrPort("10.2.1.2:8080"), Node: "ing-1", Mode: desired.ModeDSR, Reason: desired.Answering, Detail: "node ing-1 answers at 10.3.1.2"},
		{Service: four, Addr: netip.MustParseAddrPort("10.2.1.3:8080"), Node: "ing-1", Mode: desired.ModeDSR, Reason: desired.Answering, Detail: "node ing-1 answers at 10.3.1.2"},
		{Service: four, Addr: netip.MustParseAddrPort("10.2.2.2:8080"), Node: "ing-2", Mode: desired.ModeDSR, Reason: desired.Answering, Detail: "node ing-2 answers at 10.3.2.2"},
		{Service: four, Addr: netip.MustParseAddrPort("10.9.9.9:8080"), Mode: desired.ModeNone, Reason: desired.NodeUnknown, Detail: "neither the EndpointSlice nor a Pod object names its node"},
	}
	s.Nodes, s.Tunnels = published()
	n.pools = api.PoolsStatus{Leader: "lb-1", Self: true, Pools: []ipam.Usage{
		{Pool: "main", Family: "ipv4", Total: 256, Allocated: 64}, {Pool: "main6", Family: "ipv6", Total: ^uint64(0), Allocated: 64}}}
	s.Warnings = nil
	s.Assess()
	return n
}

// published is what nodes say of themselves, with what probes find.
func published() ([]api.NodeStatus, *api.TunnelStatus) {
	says := func(version string, port uint16, why string) *desired.Published {
		return &desired.Published{Version: version, TunnelPort: port, Ready: why == "", Reason: why, Datapath: "native"}
	}
	alive := func(ago time.Duration) *desired.Published {
		p := says("v1.2.3", 6082, "")
		p.Alive = noon.Add(-ago)
		return p
	}
	return []api.NodeStatus{
			{Name: "ing-1", Role: "backend", Published: says("v1.2.3", 6082, "")},
			{Name: "ing-2", Role: "backend", Published: says("v1.2.4", 6083, "")},
			{Name: "ing-3", Role: "backend"},
			{Name: "ing-4", Role: "backend", Problem: "annotation penstock.dev/backend cannot be read: unexpected end of JSON input; restart the agent there, which writes it anew"},
			{Name: "ing-5", Role: "backend", Published: says("v1.2.3", 6082, "")}, // has no address
			{Name: "lb-1", Role: "lb", Published: says("v1.2.3", 6082, "")},
			{Name: "lb-2", Role: "lb", Published: says("v1.2.3", 6082, "no interface attached")},
			{Name: "lb-3", Role: "lb", Published: says("v1.2.3", 6082, ""), Drained: "it is cordoned"},
			{Name: "lb-4", Role: "lb", Published: alive(5 * time.Minute)},
			{Name: "lb-5", Role: "lb", Published: alive(30 * time.Second)},
		}, &api.TunnelStatus{Port: 6082, Nodes: []api.IngressNode{
			ingressNode("ing-1", "10.3.1.2", probe.Alive, ""),
			ingressNode("ing-3", "10.3.3.2", probe.Dead, "has not answered 40 probes"),
		}}
}

func TestGoldenInCluster(t *testing.T) {
	lost := inCluster()
	lost.status.Source.API = &api.Link{Server: "https://10.96.0.1:443", Since: noon.Add(-3 * time.Hour), Error: "dial tcp 10.96.0.1:443: connect: connection refused"}
	lost.status.Warnings = nil
	lost.status.Assess()
	unread := inCluster()
	unread.object, unread.wanted, unread.status.Reasons = nil, nil, nil
	unread.status.Source.Synced, unread.status.Source.API = false, lost.status.Source.API
	unread.status.Warnings = nil
	unread.status.Assess()
	follower, nobody, off, broken, unready, bare := inCluster(), inCluster(), inCluster(), inCluster(), inCluster(), inCluster()
	bare.pools = api.PoolsStatus{Leader: "lb-2", Error: "no pool is configured here"}
	follower.pools = api.PoolsStatus{Leader: "lb-2", Pools: []ipam.Usage{}}
	nobody.pools = api.PoolsStatus{}
	off.pools = api.PoolsStatus{Error: "no address is allocated: source.kind is manifests"}
	broken.pools.Error = "services \"web\" is forbidden"
	unready.object = &api.Object{Service: "default/web", Type: "ClusterIP", Ports: []string{"80/TCP"}}
	unready.services, unready.wanted, unready.status.VIPs, unready.status.Services, unready.status.Reasons = nil, nil, nil, nil, nil
	tunnelled := inCluster()
	said := tunnelled.status.Nodes
	tunnelled.status = ingress()
	tunnelled.status.Nodes = said
	for _, tt := range []struct {
		name string
		node *site
		up   bool
		args string
		code int
	}{
		{"nodes-published-of-ingress", tunnelled, true, "nodes", exitOK},
		{"explain", inCluster(), true, "services -n default web", exitOK},
		{"explain-wide", inCluster(), true, "services default/web -o wide", exitOK},
		{"explain-json", inCluster(), true, "services -n default web -o json", exitOK},
		{"explain-lost", lost, true, "services -n default web", exitOK},
		{"explain-unread", unread, true, "services -n default web", exitOK},
		{"status-unread", unread, true, "status", exitDegraded},
		{"explain-down", inCluster(), false, "services -n default web", exitOK},
		{"explain-not-served", unready, true, "services -n default web", exitOK},
		{"explain-reason-only", inCluster(), true, "services -n shop cart", exitOK},
		{"explain-unknown", inCluster(), true, "services -n default wbe", exitError},
		{"explain-unknown-down", inCluster(), false, "services -n shop web", exitError},
		{"explain-no-namespace", inCluster(), true, "services web", exitError},
		{"explain-half-a-name", inCluster(), true, "services default/", exitError},
		{"explain-two-namespaces", inCluster(), true, "services -n shop default/web", exitError},
		{"services-of-namespace", inCluster(), true, "services -n default", exitOK},
		{"backends-of-namespace", inCluster(), true, "backends -n default web", exitOK},
		{"backends-of-table", inCluster(), true, "backends -n default web:http/tcp/ipv4", exitOK},
		{"backends-no-namespace", inCluster(), true, "backends web", exitError},
		{"backends-near", inCluster(), true, "backends default/wbe", exitError},
		{"backends-without-tables", inCluster(), true, "backends shop/cart", exitError},
		{"services-of-two", inCluster(), true, "services -n default web nope", exitError},
		{"status-kubernetes", inCluster(), true, "status", exitDegraded},
		{"status-lost", lost, true, "status", exitDegraded},
		{"nodes-published", inCluster(), true, "nodes", exitOK},
		{"nodes-published-json", inCluster(), true, "nodes -o json", exitOK},
		{"pools", inCluster(), true, "pools", exitOK},
		{"pools-json", inCluster(), true, "pools -o json", exitOK},
		{"pools-follower", follower, true, "pools", exitOK},
		{"pools-nobody", nobody, true, "pools", exitOK},
		{"pools-broken", broken, true, "pools", exitOK},
		{"pools-off", off, true, "pools", exitError},
		{"pools-bare", bare, true, "pools", exitError},
		{"pools-down", off, false, "pools", exitError},
		{"reasons-one", inCluster(), false, "reasons poolexhausted", exitOK},
		{"reasons-unknown", inCluster(), false, "reasons PoolExausted", exitError},
		{"help-services", inCluster(), false, "services --help", exitOK},
		{"help-nodes", inCluster(), false, "nodes --help", exitOK},
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

// A VIP that is announced as a part of a prefix says so where one looks for it.
func TestAggregatesAreNamed(t *testing.T) {
	n := inCluster()
	n.status.VIPs[0].Suppressed, n.status.VIPs[0].Within = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, args := range []string{"status", "services -n default web"} {
		if _, stdout, _ := call(t, n, true, strings.Fields(args)...); !strings.Contains(stdout, "by aggregate 192.0.2.0/24") {
			t.Errorf("%s:\n%s", args, stdout)
		}
	}
}

func TestStatusOfManyVIPs(t *testing.T) {
	n := inCluster()
	for i := range 10000 {
		vip := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		table := fmt.Sprintf("many/s%d:http/tcp/ipv4", i)
		n.status.VIPs = append(n.status.VIPs, api.VIPStatus{VIP: vip, Announced: true, Reason: desired.Announceable, Services: []string{table}})
		n.status.Services = append(n.status.Services, api.ServiceStatus{Name: table, InKernel: true, Frontends: []maps.Frontend{{VIP: vip, Port: 80, Proto: maps.TCP}}})
	}
	_, stdout, _ := call(t, n, true, "status")
	if lines := strings.Count(stdout, "\n"); lines > 70 || !strings.Contains(stdout, "and 9981 more  ") || !strings.Contains(stdout, "2001:db8::1  ") {
		t.Errorf("%d lines:\n%s", lines, stdout[:min(len(stdout), 4000)])
	}
	if _, stdout, _ := call(t, n, true, "status", "-o", "wide"); strings.Count(stdout, "many/s") != 10000 {
		t.Errorf("-o wide has %d of 10000", strings.Count(stdout, "many/s"))
	}
}

// TestNothingCommandsTheTerminal: whoever writes a Service or a Node says what is printed.
func TestNothingCommandsTheTerminal(t *testing.T) {
	const evil = "x\x1b]0;owned\a\nDegraded:\tnone\u202e\x9b\xff"
	n := inCluster()
	n.object.Annotations["penstock.dev/pool"], n.object.Annotations["penstock.dev/ips"] = evil, evil
	n.object.Condition.Message, n.object.Class, n.object.Requested = evil, evil, evil
	n.status.Reasons = append(n.status.Reasons, desired.ServiceReason{Service: "default/web", Subject: evil, Reason: desired.InvalidAddress, Detail: evil})
	n.status.Nodes[0].Published.Version, n.status.Nodes[0].Published.Reason, n.status.Nodes[0].Published.Ready = evil, evil, false
	n.status.Source.API = &api.Link{Server: evil, Error: evil}
	n.status.Warnings = nil
	n.status.Assess()
	for _, args := range []string{"services -n default web", "services -n default", "status", "nodes", "backends"} {
		_, stdout, _ := call(t, n, true, strings.Fields(args)...)
		if strings.ContainsAny(stdout, "\x1b\a\t\u202e\u009b") || strings.Contains(stdout, "\nDegraded:none") || !utf8.ValidString(stdout) {
			t.Errorf("%s: %q", args, stdout)
		}
		if args != "backends" && args != "services -n default" && !strings.Contains(stdout, `x\x1b]0;owned\a\nDegraded:`) {
			t.Errorf("%s does not show it:\n%s", args, stdout)
		}
	}
	if got := printable("grün 192.0.2.1 µs"); got != "grün 192.0.2.1 µs" {
		t.Errorf("letters became %q", got)
	}
}

func TestCompletionOfNamespaces(t *testing.T) {
	socket := listen(t, inCluster())
	for _, tt := range []struct{ args, want string }{
		{"services -n ", "default shop"},
		{"services -n shop ", "a b c cart d web"},
		{"services -n default web ", ""},
		{"services ", "default/web shop/a shop/b shop/c shop/cart shop/d shop/web"},
		{"backends -n default ", "web"},
		{"services -n default web:", "web:http/tcp/ipv4 web:http/tcp/ipv6"},
	} {
		var out bytes.Buffer
		args := append([]string{"__completeNoDesc", "--socket", socket}, strings.Split(tt.args, " ")...)
		if code := run(t.Context(), args, env{stdout: &out, stderr: io.Discard}); code != exitOK {
			t.Errorf("%s: exit code %d", tt.args, code)
		}
		offered, _, _ := strings.Cut(out.String(), ":4\n")
		if got := strings.Join(strings.Fields(offered), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

// listen serves n until the test ends.
func listen(t *testing.T, n *site) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	server, err := api.Listen(api.Options{Socket: socket}, n, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(serving) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// TestEveryReasonHasAMeaning compares the list with the constants of type Reason in the
// packages that define them.
func TestEveryReasonHasAMeaning(t *testing.T) {
	if offered, _ := completeReasons(nil, []string{"PoolShrunk"}, ""); len(offered) != len(reasons)-1 {
		t.Errorf("%d of %d are offered after one", len(offered), len(reasons))
	}
	defined := map[string]bool{}
	for _, dir := range []string{"desired", "ipam", "api", "kube", ""} {
		files, err := filepath.Glob(filepath.Join("../../agent", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", dir, files, err)
		}
		for _, file := range files {
			reasonsOf(t, file, defined)
		}
	}
	if !defined["NoEndpoints"] || !defined["PoolExhausted"] || !defined["NoSession"] || !defined["NotInKernel"] {
		t.Fatalf("found %v", defined)
	}
	for _, r := range reasons {
		if !defined[r.Name] {
			t.Errorf("%s is explained, and nothing has this reason", r.Name)
		}
		delete(defined, r.Name)
		if r.Meaning == "" || r.Of == "" {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
	for name := range defined {
		t.Errorf("%s has no meaning; write one into reasons.go", name)
	}
}

// reasonsOf adds the constants of one file whose type is Reason, of whichever package.
func reasonsOf(t *testing.T, file string, found map[string]bool) {
	t.Helper()
	if strings.HasSuffix(file, "_test.go") {
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name := ""
		switch typed := spec.Type.(type) {
		case *ast.Ident:
			name = typed.Name
		case *ast.SelectorExpr:
			name = typed.Sel.Name
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok && name == "Reason" {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[text] = true
		}
		return true
	})
}

// TestAgentHelpNamesWhatIsNoFlag: lists of entries are written in a file only.
func TestAgentHelpNamesWhatIsNoFlag(t *testing.T) {
	_, stdout, _ := call(t, inCluster(), false, "agent", "--help")
	about, flags, _ := strings.Cut(stdout, "Flags:")
	for _, key := range []string{"peers", "pools", "seed"} {
		if !strings.Contains(about, key) || strings.Contains(flags, "-"+key+" ") {
			t.Errorf("%s: %s", key, about)
		}
	}
}

// TestCleanupOfAnIngressNode has nothing to say of routes, which such a node has not.
func TestCleanupOfAnIngressNode(t *testing.T) {
	for role, warned := range map[string]bool{"lb": true, "backend": false} {
		dir := t.TempDir()
		file := filepath.Join(dir, "penstock.yaml")
		if err := os.WriteFile(file, []byte("role: "+role+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, stderr bytes.Buffer
		args := []string{"cleanup", "--config", file, "--socket", filepath.Join(dir, "none.sock"), "--bpffs", dir}
		code := run(t.Context(), args, env{stdout: &out, stderr: &stderr, cleanup: func(string) ([]string, error) { return []string{"eth0"}, nil }})
		if code != exitOK || strings.Contains(stderr.String(), "keep its routes") != warned {
			t.Errorf("%s: exit code %d\n%s%s", role, code, &out, &stderr)
		}
	}
}
