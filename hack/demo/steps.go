package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

const patience = 10 * time.Second

// steps is the whole show.
func steps(s *stage, binary string) {
	l := stepBuild(s, binary)
	stepAnnounce(l)
	stepClient(l)
	stepNAT(l)
	stepSpread(l)
	stepBulk(l)
	stepLook(l)
	stepIngress(l)
	stepCrash(l)
	stepDrain(l)
	stepChurn(l)
	s.say.title("Clean up")
}

func stepBuild(s *stage, binary string) *site {
	s.say.title("A small data centre in network namespaces")
	s.say.line("A client, a router (FRR, AS %d), two load balancer nodes and a spare (AS %d), three ingress nodes with two pods", lab.RouterASN, lab.LBASN)
	s.say.line("each: plain nginx, in namespaces and on addresses of their own. And an old node without an agent.")
	start := time.Now()
	l := buildSite(s, binary)
	for _, vip := range vips {
		if via := l.pathsTo(vip); len(via) != 0 {
			s.Fatalf("the router has a route to %s before anybody announced it: %v", vip, via)
		}
	}
	l.showRoute(lab.VIP4)
	s.say.ok("The router knows no way to the VIPs %s and %s. Built in %s", lab.VIP4, lab.VIP6, seconds(time.Since(start)))
	return l
}

func stepAnnounce(l *site) {
	l.say.title("The agents start, the same binary on load balancer nodes and ingress nodes")
	l.say.line("Each fills its tables in the kernel and attaches its XDP program; load balancer nodes then announce the VIPs by BGP.")
	l.startAgents()
	took := l.awaitPaths(2)
	for _, vip := range vips {
		l.showRoute(vip)
	}
	l.say.ok("Two equal paths in the router, in IPv4 and IPv6, %s after the start of five processes", seconds(took))
	took = l.awaitPods()
	l.say.ok("%s later both load balancer nodes have every pod behind a tunnel", seconds(took))
}

// curl asks as the client, shows it, and returns the answer.
func (l *site) curl(vip netip.Addr, port uint16) answer {
	out, err := l.Client.Output("curl", "-sS", "--max-time", "5", "-H", "Host: shop.example", url(vip, port, "/"))
	l.must(err)
	l.say.output("client", fmt.Sprintf("curl -H 'Host: shop.example' %s", url(vip, port, "/")), out, 1)
	a, err := parseAnswer(strings.NewReader(out), "shop.example")
	l.must(err)
	return a
}

// logged waits until the last line of a server's access log is of a client, and shows it.
func (l *site) logged(n *fixture.Netns, nginx *fixture.Nginx, client netip.Addr) {
	var line string
	l.wait(5*time.Second, "a line in the access log of "+n.Host, func() (err error) {
		line, err = n.Output("tail", "-n1", nginx.AccessLog())
		if err == nil && !strings.HasPrefix(line, client.String()+" ") {
			err = fmt.Errorf("its last line is %q, want one of %s", line, client)
		}
		return err
	})
	l.say.output(n.Host, "tail -n1 access.log", line, 1)
}

func stepClient(l *site) {
	l.say.title("Direct server return: the server sees the client, and answers it directly")
	for _, vip := range vips {
		a := l.curl(vip, webPort)
		at := slices.IndexFunc(l.pods, func(p *pod) bool { return p.Name == a.server })
		if at < 0 {
			l.Fatalf("%q answered, want a pod", a.server)
		}
		if a.client.Addr() != clientOf(vip) {
			l.Fatalf("%s saw %s, want the client %s", a.server, a.client, clientOf(vip))
		}
		l.logged(l.pods[at].Netns, l.pods[at].nginx, clientOf(vip))
	}
	l.say.ok("The pods' logs have the client's own addresses, %s and %s", lab.Client4, lab.Client6)
}

func stepNAT(l *site) {
	l.say.title("A node without an agent is served too, by NAT")
	for _, vip := range vips {
		a := l.curl(vip, natPort)
		node := l.Nodes[0]
		if a.server != node.Name {
			l.Fatalf("%q answered, want %s", a.server, node.Name)
		}
		seen := a.client.Addr()
		if !slices.ContainsFunc(l.up, func(lb *lab.LB) bool { return seen == lb.Addr4 || seen == lb.Addr6 }) {
			l.Fatalf("%s saw %s, want a load balancer node", node.Name, seen)
		}
		l.logged(node.Netns, node.Nginx, seen)
	}
	l.say.ok("It answers, and sees a load balancer node's address")
}

func stepSpread(l *site) {
	const requests = 1000
	l.say.title("A thousand connections to the pods")
	before := l.forwardedByNode()
	start := time.Now()
	count := l.spread(requests)
	took := time.Since(start)
	for _, p := range l.pods {
		l.say.line("%s on %s  %3d  %s", p.Name, p.Node.Name, count[p.Name], strings.Repeat("▇", count[p.Name]/5))
		// Binomial with p = 1/6, and each family's table: six standard deviations are 7 %.
		if share := float64(count[p.Name]) / requests; share < 0.09 || share > 0.25 {
			l.Fatalf("%s answered %d of %d requests, want a sixth", p.Name, count[p.Name], requests)
		}
	}
	after := l.forwardedByNode()
	for i, lb := range l.up {
		if after[i] == before[i] {
			l.Fatalf("no packet went through %s, although the router has two equal paths", lb.Name)
		}
	}
	l.say.ok("%d of %d answered in %s, each to a client that the pod saw; %d and %d packets went through lb1 and lb2",
		requests, requests, seconds(took), after[0]-before[0], after[1]-before[1])
}

func (l *site) forwardedByNode() (packets []uint64) {
	for _, lb := range l.up {
		packets = append(packets, l.forwarded(lb))
	}
	return packets
}

func stepDrain(l *site) {
	lb, other := l.up[0], l.up[1]
	l.say.title("%s is drained for maintenance", lb.Name)
	start := time.Now()
	l.must(lb.Agent.Signal(syscall.SIGTERM))
	took := l.awaitPaths(1)
	if via := l.pathsTo(lab.VIP4); !slices.Equal(via, []netip.Addr{other.Addr4}) {
		l.Fatalf("the router sends to %v, want %s alone", via, other.Name)
	}
	l.showRoute(lab.VIP4)
	code, err := lb.Agent.Wait(patience)
	l.must(err)
	if code != 0 {
		l.Fatalf("the agent of %s ended with exit code %d: %s", lb.Name, code, lb.Agent.Output())
	}
	idle := l.forwarded(lb)
	l.spread(300)
	if now := l.forwarded(lb); now != idle {
		l.Fatalf("%d packets still went through %s", now-idle, lb.Name)
	}
	l.say.ok("The router's last choice, so out of its paths, after %s, ended after %s; 300 of 300 connections go through %s",
		seconds(took), seconds(time.Since(start)), other.Name)
	lb.StartAgent(l)
	took = l.awaitPaths(2)
	l.spread(100)
	l.say.ok("Started again: two paths after %s", seconds(took))
}
