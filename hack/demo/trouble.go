package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/lab"
)

func stepCrash(l *site) {
	const load, down = 9 * time.Second, 2500 * time.Millisecond
	lb, g := l.up[0], l.Ingress[0]
	l.say.title("kill -9 of the agents of %s and %s, under load", lb.Name, g.Name)
	l.say.line("wrk keeps 32 connections busy, another client opens new ones all the time.")
	monitor := l.Router.Start(l, "stdbuf", "-oL", "ip", "-ts", "monitor", "route")
	wrk := l.Client.Start(l, "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", int(load.Seconds())), "--timeout", "5s", url(lab.VIP4, webPort, "/"))
	newcomers := l.startNewcomers()
	l.pause(2 * time.Second)
	killed := l.forwarded(lb)
	lb.KillAgent(l)
	g.KillAgent(l)
	l.pause(down)
	carried := l.forwarded(lb) - killed
	if carried == 0 {
		l.Fatalf("no packet went through %s without its agent", lb.Name)
	}
	lb.StartAgent(l)
	g.StartAgent(l)
	back := l.awaitReady(&lb.Host) + l.awaitReady(&g.Host)
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
	l.say.line("Without its agent for %s, %s forwarded %d packets more. The new agents were ready after %s.", seconds(down), lb.Name, carried, seconds(back))
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

// vipLines are the lines of `ip monitor` that are about a VIP.
func vipLines(monitor string) (lines []string) {
	for line := range strings.Lines(monitor) {
		if strings.Contains(line, lab.VIP4.String()) || strings.Contains(line, lab.VIP6.String()) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func stepChurn(l *site) {
	const tunnelled, translated = 300, 100
	const grace = 1500 * time.Millisecond
	l.say.title("No flow breaks: a load balancer node dies, another joins, every pod is replaced")
	web, old := l.hold(tunnelled, webPort), l.hold(translated, natPort)
	l.say.line("%d connections to the pods and %d to the old node are held, with a request on each some five times a second.", tunnelled, translated)
	hops := l.hops()
	start := time.Now()
	did := func(format string, args ...any) {
		l.say.line("%5.1f s  %s", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	dead, spare := l.up[1], l.LBs[2]
	for round := range 3 {
		leave := fmt.Sprintf("%s and %s", l.pods[0].Name, l.pods[1].Name)
		l.addPods(2)
		switch round {
		case 1:
			hops -= l.hopsOf(dead) // its counters die with it
			l.kill(dead)
			l.up = l.up[:1]
			did("%s loses its power", dead.Name)
		case 2:
			spare.StartAgent(l)
			l.up = append(l.up, spare)
			l.awaitPaths(2)
			did("%s has joined, with no table of flows", spare.Name)
		}
		l.awaitPods()
		did("%s and %s take over from %s, which get %s for their last requests",
			l.pods[len(l.pods)-2].Name, l.pods[len(l.pods)-1].Name, leave, seconds(grace))
		l.retire(2, grace)
	}
	tunnel, nat := web.stop(), old.stop()
	took := l.hops() - hops
	if len(tunnel.broken) > 0 {
		l.Fatalf("%d of %d flows broke, the first: %v", len(tunnel.broken), tunnel.opened, tunnel.broken[0])
	}
	if tunnel.alien > 0 {
		l.Fatalf("%d times a pod saw another client", tunnel.alien)
	}
	if tunnel.closed == 0 || took == 0 {
		l.Fatalf("%d flows ended with their pod and %d packets were sent on: this was no churn", tunnel.closed, took)
	}
	// What the zero is held against.
	if len(nat.broken) == 0 {
		l.Fatalf("no flow broke by NAT either: %s had none", dead.Name)
	}
	l.say.line("%d connections ended with their pod's grace and were opened again. %d packets took the way over a former owner.", tunnel.closed, took)
	l.say.line("By NAT %d of %d broke, as a load balancer node's table of flows is its own.", len(nat.broken), nat.opened)
	l.say.ok("0 of %d broken by direct server return, each on the pod that it began on; the slowest answer took %s", tunnel.opened, seconds(tunnel.slowest))
}

// kill takes an LB node's power: its link goes down, and what a reboot forgets is forgotten.
func (l *site) kill(lb *lab.LB) {
	lb.Run(l, "ip", "link", "set", "eth0", "down")
	lb.KillAgent(l)
	l.must(errors.Join(os.RemoveAll(lb.Pins()), os.RemoveAll(lb.Socket())))
}
