package kube

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// brisk is a tenth of what agents wait for.
var brisk = delays{soon: 100 * time.Millisecond, later: 500 * time.Millisecond, calm: 3 * time.Second}

// reporter runs one, and returns what ends it.
func (c *cluster) reporter(t testing.TB, node string) (*Reporter, *wire, func()) {
	t.Helper()
	set, w := agentOf(t, c.AsNode(t.Context(), t, testNamespace, "penstock-lb", node))
	r := newReporter(set, always, node, roleLB, testLog(t, node))
	r.delay = brisk
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	end := func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: Run: %v", node, err)
		}
	}
	t.Cleanup(func() { cancel() })
	return r, w, end
}

func vip(addr string, peers ...string) VIPReport {
	return VIPReport{VIP: netip.MustParseAddr(addr), Announced: true, Peers: peers, Reason: desired.Announceable}
}

func silent(addr string, reason desired.Reason, detail string) VIPReport {
	return VIPReport{VIP: netip.MustParseAddr(addr), Reason: reason, Detail: detail}
}

func report(svc *corev1.Service, vips ...VIPReport) ServiceReport {
	return ServiceReport{Service: svc.Namespace + "/" + svc.Name, UID: string(svc.UID), VIPs: vips}
}

// says waits until the only Event of a reason has a message.
func (c *cluster) says(t testing.TB, service, reason, message string) corev1.Event {
	t.Helper()
	e := c.has(t, service, corev1.EventTypeNormal, reason, message)
	if e.Message != message {
		t.Errorf("%s of %s: %q, want %q", reason, service, e.Message, message)
	}
	return e
}

// Twenty Services on three nodes are twenty Events, to each of which each node writes once.
func TestAnnouncedByAllNodesIsOneEvent(t *testing.T) {
	c := newCluster(t)
	const services, nodes = 20, 3
	var all []*corev1.Service
	for i := range services {
		all = append(all, c.service(t, fmt.Sprintf("web%d", i), nil))
	}
	var reporters []*Reporter
	var wires []*wire
	var ends []func()
	for n := range nodes {
		name := fmt.Sprintf("lb%d", n+1)
		c.node(t, name)
		r, w, end := c.reporter(t, name)
		reporters, wires, ends = append(reporters, r), append(wires, w), append(ends, end)
	}
	tell := func(r *Reporter) {
		var list []ServiceReport
		for _, svc := range all {
			list = append(list, report(svc, vip("192.0.2.1", "tor2", "tor1"), vip("2001:db8::1", "tor1", "tor2")))
		}
		r.Services(list)
	}
	for _, r := range reporters {
		tell(r)
		tell(r) // a second pass of the loop that changes nothing
	}
	want := "announced by lb1 (tor1, tor2), lb2 (tor1, tor2) and lb3 (tor1, tor2)"
	for _, svc := range all {
		if e := c.says(t, svc.Name, Announced, want); e.Count != 1 {
			t.Errorf("%s: count %d, want 1", svc.Name, e.Count)
		}
	}
	if n := len(c.events(t, "")); n != services {
		t.Errorf("%d Events, want %d: %s", n, services, eventLines(c.events(t, "")))
	}
	var creates, updates, reads int
	for _, w := range wires {
		creates, updates, reads = creates+w.count("POST events"), updates+w.count("PUT events"), reads+w.count("GET events")
	}
	t.Logf("%d services on %d nodes: %d creates, %d updates, %d reads", services, nodes, creates, updates, reads)
	if creates+updates < services*nodes || creates+updates > 2*services*nodes {
		t.Errorf("%d creates and %d updates, want %d in all, and conflicts", creates, updates, services*nodes)
	}

	// One agent starts anew, and finds what it would write.
	ends[0]()
	r, w, _ := c.reporter(t, "lb1")
	tell(r)
	eventually(t, "reads", func() error {
		if n := w.count("GET events"); n < services {
			return fmt.Errorf("%d of %d", n, services)
		}
		return nil
	})
	r.Services([]ServiceReport{report(all[0], silent("192.0.2.1", desired.NoUsableEndpoints, "none is ready"), silent("2001:db8::1", desired.NoUsableEndpoints, "none is ready"))})
	c.has(t, "web0", corev1.EventTypeWarning, Withdrawn, "192.0.2.1 and 2001:db8::1 withdrawn by lb1: NoUsableEndpoints: none is ready")
	c.says(t, "web0", Announced, "announced by lb2 (tor1, tor2) and lb3 (tor1, tor2)")
	if got := w.count("POST events") + w.count("PUT events"); got != 2 {
		t.Errorf("%d writes after a restart, want 2: both of the withdrawal", got)
	}
}

func TestWithdrawn(t *testing.T) {
	c := newCluster(t)
	svc := c.service(t, "web", nil)
	c.node(t, "lb1")
	c.node(t, "lb2")
	one, _, end := c.reporter(t, "lb1")
	two, _, _ := c.reporter(t, "lb2")
	both := []VIPReport{vip("192.0.2.1", "tor1"), vip("2001:db8::1", "tor1")}
	one.Services([]ServiceReport{report(svc, both...)})
	two.Services([]ServiceReport{report(svc, both...)})
	c.says(t, "web", Announced, "announced by lb1 (tor1) and lb2 (tor1)")

	// One family alone, then the other too, on both nodes for one reason.
	one.Services([]ServiceReport{report(svc, vip("192.0.2.1", "tor1"), silent("2001:db8::1", desired.NoEndpoints, "no slice of IPv6"))})
	c.has(t, "web", corev1.EventTypeWarning, Withdrawn, "2001:db8::1 withdrawn by lb1: NoEndpoints: no slice of IPv6")
	c.says(t, "web", Announced, "announced by lb1 (192.0.2.1 to tor1) and lb2 (tor1)")
	gone := []VIPReport{silent("192.0.2.1", desired.NodeExcluded, "the node's label"), silent("2001:db8::1", desired.NodeExcluded, "the node's label")}
	one.Services([]ServiceReport{report(svc, gone...)})
	c.says(t, "web", Withdrawn, "192.0.2.1 withdrawn by lb1: NodeExcluded: the node's label")
	two.Services([]ServiceReport{report(svc, gone...)})
	c.says(t, "web", Withdrawn, "192.0.2.1 and 2001:db8::1 withdrawn by lb1 and lb2: NodeExcluded: the node's label")

	c.says(t, "web", Announced, "no node announces it any more")

	// Announced again, which is another occurrence of the same Event.
	two.Services([]ServiceReport{report(svc, both...)})
	eventually(t, "second announcement", func() error {
		if e := c.says(t, "web", Announced, "announced by lb2 (tor1)"); e.Count != 2 {
			return fmt.Errorf("count %d, want 2", e.Count)
		}
		return nil
	})

	// An agent that starts while it announces nothing any more says so of what it announced.
	one.Services([]ServiceReport{report(svc, both...)})
	c.says(t, "web", Announced, "announced by lb1 (tor1) and lb2 (tor1)")
	end()
	one, w, _ := c.reporter(t, "lb1")
	one.Services([]ServiceReport{report(svc, gone...)})
	c.says(t, "web", Announced, "announced by lb2 (tor1)")
	if n := len(c.events(t, "web")); n != 3 {
		t.Errorf("%d Events, want 3:%s", n, eventLines(c.events(t, "web")))
	}
	if n := w.count("POST events") + w.count("PUT events"); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}

	// Another address, with the same peers.
	two.Services([]ServiceReport{report(svc, vip("192.0.2.9", "tor1"), vip("2001:db8::1", "tor1"))})
	c.has(t, "web", corev1.EventTypeNormal, Withdrawn, "192.0.2.1 withdrawn by lb2: NoAddress")

	// The last peer is lost, which is told of later than the rest: sessions come again.
	two.Services([]ServiceReport{report(svc, vip("192.0.2.9"), vip("2001:db8::1"))})
	c.has(t, "web", corev1.EventTypeWarning, Withdrawn, "192.0.2.9 and 2001:db8::1 withdrawn by lb2: NoPeer")
}

// What lasts less than a report takes is not told of, nothing is written while the link is
// down, and what was true before and after is not news.
func TestReportsThatPass(t *testing.T) {
	c := newCluster(t)
	svc := c.service(t, "web", nil)
	other := c.service(t, "other", nil)
	c.node(t, "lb1")
	r, w, _ := c.reporter(t, "lb1")
	up := vip("192.0.2.1", "tor1")
	down := silent("192.0.2.1", desired.NoUsableEndpoints, "none is ready")
	r.Services([]ServiceReport{report(svc, up)})
	c.says(t, "web", Announced, "announced by lb1 (tor1)")
	for range 10 {
		r.Services([]ServiceReport{report(svc, down)})
		r.Services([]ServiceReport{report(svc, up)})
	}
	// The jobs are in the order of their time: once another Service's is done, so would
	// have been this one's.
	r.Services([]ServiceReport{report(other, up)})
	c.says(t, "other", Announced, "announced by lb1 (tor1)")
	r.out.mu.Lock()
	waiting := len(r.out.jobs)
	r.out.mu.Unlock()
	if n := len(c.events(t, "web")); n != 1 || waiting != 0 {
		t.Errorf("%d Events, %d jobs: %s", n, waiting, eventLines(c.events(t, "web")))
	}
	r.Services([]ServiceReport{report(svc, down)})
	r.Gone([]string{"default/web"})
	r.Services([]ServiceReport{report(other, down)})
	c.has(t, "other", corev1.EventTypeWarning, Withdrawn, "NoUsableEndpoints")
	if n := len(c.events(t, "web")); n != 1 {
		t.Errorf("%d Events of a Service that is gone: %s", n, eventLines(c.events(t, "web")))
	}
	if n := w.count("POST events") + w.count("PUT events"); n > 4 {
		t.Errorf("%d writes, want at most 4", n)
	}
}

// Refusals are told of by the leader alone, one Event for each reason, and not again by the
// next leader.
func TestRefusals(t *testing.T) {
	c := newCluster(t)
	svc := c.service(t, "web", nil)
	var reasons []desired.ServiceReason
	for i := range 100 {
		reasons = append(reasons, desired.ServiceReason{Service: "default/web", Subject: fmt.Sprintf("port p%d", i), Reason: desired.UnsupportedProtocol, Detail: "SCTP is not carried"})
	}
	reasons = append(reasons,
		desired.ServiceReason{Service: "default/web", Reason: desired.OtherClass, Detail: "its class is example.com/other"},
		desired.ServiceReason{Service: "default/web", Subject: "192.0.2.1", Reason: desired.FrontendTaken, Detail: "default/older has 192.0.2.1:80/TCP"})
	p := ServiceReport{Service: "default/web", UID: string(svc.UID), Reasons: reasons}
	pools := []ipam.Pool{pool("four", "192.0.2.8/30")}
	ctl1, _, end := c.controller(t, "lb1", pools...)
	eventually(t, "lead", func() error {
		if self, _ := ctl1.Leader(); !self {
			return fmt.Errorf("lb1 does not lead")
		}
		return nil
	})
	ctl2, _, _ := c.controller(t, "lb2", pools...)
	start := func(node string, ctl *Controller) (*Reporter, *wire) {
		set, w := agentOf(t, c.lb)
		r := newReporter(set, always, node, roleLB, testLog(t, node))
		r.delay = brisk
		r.Refusals(ctl)
		c.runs(t, node, r.Run)
		return r, w
	}
	r1, w1 := start("lb1", ctl1)
	r2, w2 := start("lb2", ctl2)
	r1.Services([]ServiceReport{p})
	r2.Services([]ServiceReport{p})
	many := c.has(t, "web", corev1.EventTypeWarning, "UnsupportedProtocol", "port p2: SCTP is not carried; and 97 more like these")
	c.has(t, "web", corev1.EventTypeWarning, "FrontendTaken", "192.0.2.1: default/older has 192.0.2.1:80/TCP")
	allocated := 1 // of the controller
	if n := len(c.events(t, "web")); n != 2+allocated {
		t.Errorf("%d Events:%s", n, eventLines(c.events(t, "web")))
	}
	if many.Count != 1 || w1.count("POST events") != 2 || w2.count("POST events") != 0 {
		t.Errorf("count %d, lb1 has written %d, lb2 %d", many.Count, w1.count("POST events"), w2.count("POST events"))
	}

	// The other one leads now, and looks; one reason goes and comes again.
	end()
	eventually(t, "reads of the next leader", func() error {
		if n := w2.count("GET events"); n < 3 { // that of announcements too
			return fmt.Errorf("%d of 3", n)
		}
		return nil
	})
	fewer := p
	fewer.Reasons = p.Reasons[:100]
	r2.Services([]ServiceReport{fewer})
	eventually(t, "end of a reason", func() error {
		r2.mu.Lock()
		defer r2.mu.Unlock()
		if said, known := r2.told["default/web"].said["FrontendTaken"]; !known || said != "" {
			return fmt.Errorf("%q %v", said, known)
		}
		return nil
	})
	if n := w2.count("POST events") + w2.count("PUT events"); n != 0 {
		t.Errorf("the next leader has written %d times what is written", n)
	}
	r2.Services([]ServiceReport{p})
	eventually(t, "the reason's return", func() error {
		if e := c.has(t, "web", corev1.EventTypeWarning, "FrontendTaken", "default/older"); e.Count != 2 {
			return fmt.Errorf("count %d", e.Count)
		}
		return nil
	})
}

func TestLineOf(t *testing.T) {
	many := []string{"e", "d", "c", "b", "a", "f", "a"}
	for _, tc := range []struct {
		name string
		vips []VIPReport
		want string
	}{
		{"no address", nil, ""},
		{"no peer", []VIPReport{vip("192.0.2.1")}, ""},
		{"one", []VIPReport{vip("192.0.2.1", "b", "a")}, "a, b"},
		{"both families", []VIPReport{vip("192.0.2.1", "b", "a"), vip("2001:db8::1", "a", "b")}, "a, b"},
		{"one of both", []VIPReport{vip("192.0.2.1", "a"), silent("2001:db8::1", desired.NoEndpoints, "")}, "192.0.2.1 to a"},
		{"one unheard", []VIPReport{vip("192.0.2.1", "a"), vip("2001:db8::1")}, "192.0.2.1 to a"},
		{"other peers", []VIPReport{vip("192.0.2.1", "a"), vip("2001:db8::1", "b")}, "192.0.2.1 to a; 2001:db8::1 to b"},
		{"many", []VIPReport{vip("192.0.2.1", many...)}, "a, b, c, d and 2 others"},
	} {
		if got := lineOf(ServiceReport{VIPs: tc.vips}); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	nodes := map[string]string{}
	for i := range 100 {
		nodes[fmt.Sprintf("lb%03d", i)] = "tor1"
	}
	if got := announcement(nodes); len(got) > 300 || !strings.HasSuffix(got, "lb007 (tor1) and 92 others") {
		t.Errorf("%q", got)
	}
}
