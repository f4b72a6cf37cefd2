package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

const patience = 10 * time.Second

// steps is the whole show.
func steps(s *stage, binary string) {
	l := stepBuild(s, binary)
	stepAnnounce(l)
	stepCurl(l)
	stepSpread(l)
	stepBulk(l)
	stepBackendGone(l)
	stepCrash(l)
	stepDrain(l)
	stepLook(l)
	s.say.title("Clean up")
}

func stepBuild(s *stage, binary string) *lab {
	s.say.title("A small data centre in network namespaces")
	s.say.line("A client, a ToR router (FRR, AS %d), two load balancer nodes (AS %d), three ingress nodes with nginx.", torASN, lbASN)
	start := time.Now()
	l := buildLab(s, binary)
	for _, vip := range []string{vip4, vip6} {
		if got := l.routeTo(vip); got != nil {
			s.Fatalf("the router has a route to %s before anybody announced it: %v", vip, got)
		}
	}
	s.say.output("tor", "ip route show exact "+vip4, "(nothing)", 1)
	s.say.ok("The router knows no way to the VIPs %s and %s. Built in %s", vip4, vip6, seconds(time.Since(start)))
	return l
}

func stepAnnounce(l *lab) {
	l.say.title("The agents start")
	l.say.line("Each fills its tables in the kernel, attaches its XDP program, then announces the VIPs by BGP.")
	l.startAgents()
	took := l.awaitPaths(2)
	for _, vip := range []string{vip4, vip6} {
		l.say.output("tor", "ip route show exact "+vip, strings.Join(l.routeTo(vip), "\n"), 4)
	}
	l.say.ok("Two equal paths in the router, in IPv4 and IPv6, %s after the start of two processes", seconds(took))
}

func stepCurl(l *lab) {
	l.say.title("A request for each virtual host, in IPv4 and IPv6")
	for i, vip := range []string{vip4, vip6} {
		for _, site := range sites {
			argv := []string{"curl", "-sS", "--max-time", "5", "-H", "Host: " + site + ".example", url(vip, "/")}
			out, err := l.client.Output(argv...)
			l.must(err)
			if !strings.HasPrefix(out, site+" on web") {
				l.Fatalf("%s answered %q, want the %s", url(vip, "/"), out, site)
			}
			if i == 0 || site == sites[0] {
				l.say.output("client", fmt.Sprintf("curl -H 'Host: %s.example' %s", site, url(vip, "/")), out, 1)
			}
		}
	}
	l.say.ok("nginx answers for both sites. It sees the load balancer node's address: the nodes translate (NAT)")
}

func stepSpread(l *lab) {
	const requests = 1000
	l.say.title("A thousand connections")
	before := l.forwardedByNode()
	start := time.Now()
	count := l.spread(requests)
	took := time.Since(start)
	for _, w := range l.webs {
		l.say.line("%s  %3d  %s", w.Name, count[w.Name], strings.Repeat("▇", count[w.Name]/10))
		// Binomial with p = 1/3: six standard deviations are 9 %.
		if share := float64(count[w.Name]) / requests; share < 0.24 || share > 0.43 {
			l.Fatalf("%s answered %d of %d requests, want a third", w.Name, count[w.Name], requests)
		}
	}
	after := l.forwardedByNode()
	for i, lb := range l.lbs {
		if after[i] == before[i] {
			l.Fatalf("no packet went through %s, although the router has two equal paths", lb.Name)
		}
	}
	l.say.ok("%d of %d answered in %s; %d and %d packets went through lb1 and lb2",
		requests, requests, seconds(took), after[0]-before[0], after[1]-before[1])
}

func stepBulk(l *lab) {
	l.say.title("%d MiB down by IPv4, and up by IPv6", bigFile>>20)
	want := l.addFile()
	dir := l.TempDir()
	host := []string{"-sS", "--fail", "--max-time", "60", "-H", "Host: shop.example"}
	start := time.Now()
	_, err := l.client.Output(append([]string{"curl", "-o", dir + "/big", url(vip4, "/files/big")}, host...)...)
	l.must(err)
	down := time.Since(start)
	out, err := l.client.Output("sha256sum", dir+"/big")
	l.must(err)
	if !strings.HasPrefix(out, want) {
		l.Fatalf("the download's SHA-256 is %s, want %s", out, want)
	}
	start = time.Now()
	_, err = l.client.Output(append([]string{"curl", "-T", dir + "/big", url(vip6, "/files/upload")}, host...)...)
	l.must(err)
	up := time.Since(start)
	server, got := l.uploaded("upload")
	if got != want {
		l.Fatalf("what arrived at %s has SHA-256 %s, want %s", server, got, want)
	}
	l.say.ok("Both arrived unharmed: down in %s, up in %s, to %s", seconds(down), seconds(up), server)
}

func stepBackendGone(l *lab) {
	gone := l.webs[1]
	l.say.title("%s leaves the EndpointSlices, and its nginx stops", gone.Name)
	took := l.setInSlice(gone, false)
	gone.stop(l)
	count := l.spread(300)
	if count[gone.Name] != 0 {
		l.Fatalf("%s still answered %d requests", gone.Name, count[gone.Name])
	}
	l.say.line("Both nodes had it out of their tables %s after the file changed.", seconds(took))
	l.say.ok("300 of 300 connections answered: %s", counts(l, count))
	gone.start(l)
	took = l.setInSlice(gone, true)
	count = l.spread(300)
	if count[gone.Name] == 0 {
		l.Fatalf("%s is back and gets no request", gone.Name)
	}
	l.say.ok("Back again, in the tables after %s: %s", seconds(took), counts(l, count))
}

func stepCrash(l *lab) {
	const load, down = 9 * time.Second, 2500 * time.Millisecond
	lb := l.lbs[0]
	l.say.title("kill -9 of %s's agent, under load", lb.Name)
	l.say.line("wrk keeps 32 connections busy, another client opens new ones all the time.")
	monitor := l.tor.Start(l, "stdbuf", "-oL", "ip", "-ts", "monitor", "route")
	wrk := l.client.Start(l, "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", int(load.Seconds())), "--timeout", "5s",
		"-H", "Host: shop.example", url(vip4, "/"))
	newcomers := l.startNewcomers()
	l.pause(2 * time.Second)
	killed := l.forwarded(lb)
	lb.agent.Stop(l, syscall.SIGKILL)
	l.pause(down)
	carried := l.forwarded(lb) - killed
	if carried == 0 {
		l.Fatalf("no packet went through %s without its agent", lb.Name)
	}
	lb.startAgent(l)
	back := l.awaitReady(lb)
	l.wait(load+patience, "the end of wrk", func() error {
		select {
		case <-wrk.Done():
			return nil
		default:
			return errors.New("it still runs")
		}
	})
	total, failed := newcomers.stop()
	result, err := parseWrk(wrk.Output())
	l.must(err)
	l.say.line("Without its agent for %s, %s forwarded %d packets more. The new agent was ready after %s.", seconds(down), lb.Name, carried, seconds(back))
	if result.failed != 0 {
		l.Errorf("wrk: %d of %d requests failed\n%s", result.failed, result.requests, wrk.Output())
	}
	if len(failed) != 0 {
		l.Errorf("%d of %d new connections failed, first: %v", len(failed), total, failed[0])
	}
	if changes := vipLines(monitor.Output()); len(changes) > 0 {
		l.Errorf("the router's routes to the VIPs changed:\n%s", strings.Join(changes, "\n"))
	}
	if l.Failed() {
		l.Fatalf("the crash was noticed")
	}
	monitor.Stop(l, syscall.SIGTERM)
	l.say.ok("0 of %d requests failed (%.0f a second), 0 of %d new connections, and the router's routes never changed",
		result.requests, result.rate, total)
}

func stepDrain(l *lab) {
	lb, other := l.lbs[0], l.lbs[1]
	l.say.title("%s is drained for maintenance", lb.Name)
	start := time.Now()
	l.must(lb.agent.Signal(syscall.SIGTERM))
	took := l.awaitPaths(1)
	if via := l.pathsTo(vip4); !slices.Equal(via, []string{other.Name}) {
		l.Fatalf("the router sends to %v, want %s alone", via, other.Name)
	}
	l.say.output("tor", "ip route show exact "+vip4, strings.Join(l.routeTo(vip4), "\n"), 3)
	code, err := lb.agent.Wait(patience)
	l.must(err)
	if code != 0 {
		l.Fatalf("the agent of %s ended with exit code %d: %s", lb.Name, code, lb.agent.Output())
	}
	idle := l.forwarded(lb)
	count := l.spread(300)
	if now := l.forwarded(lb); now != idle {
		l.Fatalf("%d packets still went through %s", now-idle, lb.Name)
	}
	l.say.ok("Withdrawn from the router in %s, ended after %s; 300 of 300 connections go through %s: %s",
		seconds(took), seconds(time.Since(start)), other.Name, counts(l, count))
	lb.startAgent(l)
	took = l.awaitPaths(2)
	l.spread(100)
	l.say.ok("Started again: two paths after %s", seconds(took))
}

func stepLook(l *lab) {
	lb := l.lbs[0]
	l.say.title("What %s says of itself", lb.Name)
	l.awaitReady(lb)
	out, err := lb.penstock("status")
	l.must(err)
	l.say.output(lb.Name, "penstock status", out, 40)
	out, err = lb.penstock("backends")
	l.must(err)
	l.say.output(lb.Name, "penstock backends", out, 12)
	command, out := l.bpftool(lb, "frontends",
		`.[].formatted | {vip: .key.vip[""].bytes, port: .key.port, proto: .key.proto, value}`)
	l.say.output(lb.Name, command, out, 8)
	if !strings.Contains(out, "[0,0,0,0,0,0,0,0,0,0,255,255,198,51,100,80]") || !strings.Contains(out, `"service":`) {
		l.Fatalf("the kernel's frontends lack %s by its name: %s", vip4, out)
	}
	l.say.ok("It is well (exit code 0), and its maps explain themselves")
}

func (l *lab) forwardedByNode() (packets []uint64) {
	for _, lb := range l.lbs {
		packets = append(packets, l.forwarded(lb))
	}
	return packets
}

// awaitReady waits for `penstock status` to find nothing wrong.
func (l *lab) awaitReady(n *lbNode) time.Duration {
	return l.wait(30*time.Second, "the agent of "+n.Name+" to be well", func() error {
		out, err := n.penstock("status")
		if err != nil {
			return fmt.Errorf("%w%s", err, out)
		}
		return nil
	})
}

// pause lets the load run for a while: here time itself is the point.
func (l *lab) pause(d time.Duration) {
	select {
	case <-l.ctx.Done():
		l.Helper()
	case <-time.After(d):
	}
}

func counts(l *lab, count map[string]int) string {
	var parts []string
	for _, w := range l.webs {
		parts = append(parts, fmt.Sprintf("%s %d", w.Name, count[w.Name]))
	}
	return strings.Join(parts, ", ")
}

// vipLines are the lines of `ip monitor` that are about a VIP.
func vipLines(monitor string) (lines []string) {
	for line := range strings.Lines(monitor) {
		if strings.Contains(line, vip4) || strings.Contains(line, vip6) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
