package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
)

var four, six = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")

// healthy is a status that is ready, not degraded and without a warning.
func healthy() Status {
	return Status{
		State:    Running,
		Source:   SourceStatus{Name: "/etc/penstock/manifests", Synced: true},
		Datapath: DatapathStatus{Interfaces: []InterfaceStatus{{Name: "eth0", Attached: true, Mode: "native"}}},
		BGP:      BGPStatus{Peers: []bgp.PeerState{{Name: "tor-1", State: "established"}}},
		Sync:     SyncStatus{Synced: true},
	}
}

func TestAssess(t *testing.T) {
	for _, tt := range []struct {
		name                         string
		spoil                        func(*Status)
		notReady, degraded, warnings string
	}{
		{"healthy", func(*Status) {}, "", "", ""},
		{"draining", func(s *Status) { s.State = Draining }, "draining", "agent is draining", ""},
		{"source", func(s *Status) { s.Source.Synced = false }, "source not synced", "source /etc/penstock/manifests is not synced", ""},
		{"document", func(s *Status) { s.Source.Problems = make([]desired.Problem, 2) }, "", "source: 2 problems: " + desired.Problem{}.String() + " (and 1 more)", ""},
		{"API server lost", func(s *Status) {
			s.Source.API = &Link{Server: "https://x", Since: time.Unix(0, 0), Error: "refused"}
		}, "", "API server https://x does not answer since 1970-01-01T00:00:00Z: refused; forwarding, tables and announcements stay as they are until it does", ""},
		{"API server away from the beginning", func(s *Status) {
			s.Source.Synced, s.Source.API = false, &Link{Server: "https://x"}
		}, "source not synced", "source /etc/penstock/manifests is not synced; API server https://x does not answer; " +
			"this agent has read no object yet, so that it announces nothing; tables from before go on forwarding", ""},
		{"API server", func(s *Status) { s.Source.API = &Link{Server: "https://x", Connected: true} }, "", "", ""},
		{"versions", func(s *Status) {
			s.Version, s.Node = "v1", "lb-1"
			s.Nodes = []NodeStatus{{Name: "ing-1", Published: &desired.Published{Version: "v2"}}, {Name: "hand"}, {Name: "lb-1", Published: &desired.Published{Version: "v0"}}}
		}, "", "", "agents of different versions run: v1 on lb-1; v2 on ing-1"},
		{"one version", func(s *Status) {
			s.Version, s.Node, s.Nodes = "v1", "lb-1", []NodeStatus{{Name: "ing-1", Published: &desired.Published{Version: "v1"}}}
		}, "", "", ""},
		{"tables", func(s *Status) { s.Sync = SyncStatus{Error: "no memory"} }, "tables not synced", "sync: no memory", ""},
		{"later sync", func(s *Status) { s.Sync.Error = "no memory" }, "", "sync: no memory", ""},
		{"interface", func(s *Status) { s.Datapath.Interfaces[0] = InterfaceStatus{Name: "eth0", Error: "no such device"} },
			"no interface attached: eth0: no such device", "interface eth0 is not attached: no such device", ""},
		{"one of two interfaces", func(s *Status) {
			s.Datapath.Interfaces = append(s.Datapath.Interfaces, InterfaceStatus{Name: "eth1", Error: "gone"})
		}, "", "interface eth1 is not attached: gone", ""},
		{"generic", func(s *Status) { s.Datapath.Interfaces[0].Fallback = "driver lacks XDP" }, "", "",
			"interface eth0 runs in generic mode, which is slow: driver lacks XDP"},
		{"peer", func(s *Status) { s.BGP.Peers[0].State = "active" }, "no BGP session up: tor-1 is active", "BGP peer tor-1 is active", ""},
		{"peer with a reason", func(s *Status) {
			s.BGP.Peers[0] = bgp.PeerState{Name: "tor-1", State: "idle", DownReason: "connect: refused"}
		},
			"no BGP session up: tor-1 is idle: connect: refused", "BGP peer tor-1 is idle: connect: refused", ""},
		{"BFD down", func(s *Status) { s.BGP.Peers[0].BFD = &bgp.BFDState{State: "down", Reason: "nothing heard"} }, "", "",
			"BGP peer tor-1 is not watched by BFD, which is down: nothing heard; turn BFD on at the router too, bfdMultihop where it has it so, or set bfd: false"},
		{"BFD about to come up", func(s *Status) { s.BGP.Peers[0].Since, s.BGP.Peers[0].BFD = time.Now(), &bgp.BFDState{State: "down"} }, "", "", ""},
		{"BFD up", func(s *Status) { s.BGP.Peers[0].BFD = &bgp.BFDState{State: "up"} }, "", "", ""},
		{"BFD without a session", func(s *Status) {
			s.BGP.Peers = append(s.BGP.Peers, bgp.PeerState{Name: "tor-2", State: "idle", BFD: &bgp.BFDState{State: bgp.BFDOff}})
		}, "", "BGP peer tor-2 is idle", ""},
		{"one of two peers", func(s *Status) { s.BGP.Peers = append(s.BGP.Peers, bgp.PeerState{Name: "tor-2", State: "idle"}) },
			"", "BGP peer tor-2 is idle", ""},
		{"no peer configured", func(s *Status) { s.BGP.Peers = nil }, "", "", ""},
		{"service", func(s *Status) { s.Services = []ServiceStatus{{Name: "a/b", Error: "no room"}} }, "", "service a/b is refused: no room", ""},
		{"three services", func(s *Status) {
			s.Services = []ServiceStatus{{Name: "a/b", Error: "no room"}, {Name: "a/c"}, {Name: "a/d", Error: "x"}, {Name: "a/e", Error: "y"}}
		}, "", "service a/b is refused: no room (and 2 more)", ""},
		{"VIP without endpoint", func(s *Status) { s.VIPs = []VIPStatus{{Reason: desired.NoUsableEndpoints}} }, "", "", ""},
		{"reload", func(s *Status) { s.Config.Error = "bgp.asn: want a number" }, "", "newest configuration not valid, the one before it stays in force: bgp.asn: want a number", ""},
		{"reload with two mistakes", func(s *Status) { s.Config.Error = "a: one\nb: two" }, "", "newest configuration not valid, the one before it stays in force: a: one; b: two", ""},
		{"forwarding", func(s *Status) { s.Datapath.Forwarding = []ForwardingStatus{{"ipv4", true, "ip_forward is 0"}} },
			"ip_forward is 0", "ip_forward is 0", ""},
		{"forwarding of one device", func(s *Status) { s.Datapath.Forwarding = []ForwardingStatus{{"ipv4", false, "eth1.forwarding is 0"}} },
			"", "eth1.forwarding is 0", ""},
		{"bypassed", func(s *Status) { s.Datapath.Bypassed = []BypassStatus{{Text: "reached by eth1"}} }, "", "reached by eth1", ""},
		{"family without a session", func(s *Status) { s.VIPs = []VIPStatus{{VIP: six, Reason: NoSession}, {VIP: four, Announced: true}} },
			"no BGP session up for ipv6", "no router has the ipv6 routes: no session that carries them is up", ""},
		{"one VIP that no router has yet", func(s *Status) { s.VIPs = []VIPStatus{{VIP: four, Reason: NoSession}, {VIP: four, Announced: true}} },
			"", "", ""},
		{"probe", func(s *Status) { s.VIPs = []VIPStatus{{VIP: six, Reason: ProbeFailed, Detail: "drop_table"}} },
			"the data path forwards to no VIP; to " + six.String() + ": drop_table", "", ""},
		{"probe of one of two", func(s *Status) {
			s.VIPs = []VIPStatus{{VIP: six, Reason: ProbeFailed, Detail: "drop_no_route"}, {VIP: four, Announced: true}}
		}, "", "", ""},
		{"restart", func(s *Status) { s.Config.Restart = []string{"nat.ports", "bgp.asn"} }, "", "",
			"restart the agent to apply nat.ports, bgp.asn"},
		{"dead node", func(s *Status) { s.Tunnels = tunnels(false, probe.Dead) }, "", "ingress node ing-1 at 10.0.0.1 is dead: why", ""},
		{"silent node", func(s *Status) { s.Tunnels = tunnels(false, probe.Silent) }, "", "",
			"ingress node ing-1 at 10.0.0.1 is silent, and its endpoints with forwarding auto get new flows by NAT: why"},
		{"fail open", func(s *Status) { s.Tunnels = tunnels(true, probe.Alive) }, "",
			"more ingress nodes are dead than tunnel.failOpen allows: all count as alive, as the fault is likely to be here: see that " +
				"tunnel.port is theirs, that they know this node, and that no firewall drops what goes to that UDP port, either way", ""},
		{"sweep", func(s *Status) { s.Datapath.SweepError = "no map" }, "", "sweep of flows: no map", ""},
		{"own warning", func(s *Status) { s.Warnings = []string{"ip_forward is 0"} }, "", "", "ip_forward is 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := healthy()
			tt.spoil(&s)
			s.Assess()
			got := []string{strings.Join(s.NotReady, "; "), strings.Join(s.Degraded, "; "), strings.Join(s.Warnings, "; ")}
			if d := cmp.Diff([]string{tt.notReady, tt.degraded, tt.warnings}, got); d != "" {
				t.Errorf("want -, got +\n%s", d)
			}
		})
	}
}

func tunnels(open bool, state probe.State) *TunnelStatus {
	node := probe.Node{Target: probe.Target{Name: "ing-1", Addr: netip.MustParseAddr("10.0.0.1")}, State: state, Reason: "why"}
	return &TunnelStatus{Open: open, Nodes: []IngressNode{{Node: node}}}
}
