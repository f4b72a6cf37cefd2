package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// bounded runs an agent with some capabilities and no others.
func bounded(caps ...string) []string {
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	return []string{"setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", set}
}

// lastWords is as much of a container's log as a kubelet shows of one that failed.
func lastWords(log string) string {
	const most = 2048
	return log[max(0, len(log)-most):]
}

// TestFailedStart starts agents of both roles where they can't work: each says why in its last
// words and on its Node, and leaves nothing.
func TestFailedStart(t *testing.T) {
	s := newSite(t, lab.Options{})
	plain := t.TempDir()
	for _, h := range []*lab.Host{&s.LBs[0].Host, &s.Ingress[0].Host} {
		wrap := slices.Concat([]string{"env", "PENSTOCK_NODE=" + h.Name}, h.Wrap)
		for name, tt := range map[string]struct {
			wrap  []string // beside the usual
			args  []string
			says  []string
			other bool // another agent runs
		}{
			"no bpffs": {args: []string{"--bpffs", filepath.Join(plain, "penstock")},
				says: []string{"is not on a bpf filesystem", "mount -t bpf bpf /sys/fs/bpf"}},
			"without CAP_PERFMON":   {wrap: bounded("bpf", "net_admin"), says: []string{"lacks the capabilities PERFMON"}},
			"without CAP_NET_ADMIN": {wrap: bounded("bpf", "perfmon"), says: []string{"lacks the capabilities NET_ADMIN"}},
			"without any":           {wrap: bounded(), says: []string{"lacks the capabilities NET_ADMIN, PERFMON, BPF"}},
			"unknown value":         {args: []string{"--forwarding", "pigeon"}, says: []string{"forwarding", "write one of auto, dsr, nat"}},
			"another agent":         {other: true, says: []string{"served by a running agent (process ", "role " + s.role(h)}},
			"another agent of another socket": {other: true, args: []string{"--socket", filepath.Join(plain, "sock"), "--metrics-address", ""},
				says: []string{"is in use by another agent, process "}},
		} {
			t.Run(h.Name+" "+name, func(t *testing.T) {
				h.Wrap = wrap
				if tt.other {
					h.StartAgent(t)
					h.WaitAgent(t)
					fixture.Wait(t, 30*time.Second, h.Name+" to have all that an agent leaves there", func() error {
						if found := s.traces(h); len(found) < 4 { // pins, socket, programs, annotation
							return fmt.Errorf("it has %q", found)
						}
						return nil
					})
				}
				first, before := h.Agent, len(s.traces(h))
				h.Wrap = slices.Concat(wrap, tt.wrap)
				h.StartAgent(t, tt.args...)
				code, err := h.Agent.Wait(30 * time.Second)
				if err != nil || code == 0 {
					t.Fatalf("it ended with %d, %v:\n%s", code, err, h.Agent.Output())
				}
				for _, part := range tt.says {
					if said := lastWords(h.Agent.Output()); !strings.Contains(said, part) {
						t.Errorf("it does not say %q in its last words:\n%s", part, said)
					}
					if events := s.eventsOf(h.Name, "AgentFailed"); !strings.Contains(events, part) {
						t.Errorf("its Node does not say %q: %s", part, events)
					}
				}
				if tt.other {
					h.Agent = first
					if after := len(s.traces(h)); after != before {
						t.Errorf("beside the other agent there is %q", s.traces(h))
					}
					h.KillAgent(t)
					h.Wrap = wrap
					if out, err := h.Cleanup(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				if left := s.traces(h); len(left) > 0 {
					t.Errorf("it leaves %q", left)
				}
			})
		}
	}
	if left, err := os.ReadDir(plain); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// eventsOf gives what a Node's Events of a reason say.
func (s *site) eventsOf(node, reason string) string {
	s.t.Helper()
	list, err := s.api.Client.CoreV1().Events(metav1.NamespaceDefault).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "Node" && e.InvolvedObject.Name == node && e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return strings.Join(out, "\n")
}

// TestForeignXDP finds another program on the device of either role. The LB node can't work and
// says so, and the ingress node works beside it; once it is gone both are as they should be.
func TestForeignXDP(t *testing.T) {
	s := newSite(t, lab.Options{})
	b, g := &s.LBs[0].Host, &s.Ingress[0].Host
	b.XDPPass(t, "eth0")
	g.XDPPass(t, "eth0")
	s.addPods("web", 1)
	s.startAll()
	s.apply(webYAML("web"))
	vips := s.waitAddresses("web", 2)
	s.waitRoutes(vips, 1)
	s.waitAnswer(vips...)
	s.wait("word of the other program", func() error {
		events := s.eventsOf(b.Name, "AttachFailed")
		status, _ := b.Penstock("status") // degraded
		for _, part := range []string{"another XDP program (ID ", "bpftool net show dev eth0"} {
			if !strings.Contains(events, part) || !strings.Contains(status, part) {
				return fmt.Errorf("no %q in Events %q and status\n%s", part, events, status)
			}
		}
		if status, _ := g.Penstock("status"); !strings.Contains(status, "another XDP program (ID ") || !strings.Contains(status, "Ready:     yes") {
			return fmt.Errorf("the ingress node says\n%s", status)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(b.Pins(), "links", "eth0")); err == nil {
		t.Error("a link is pinned")
	}
	b.Run(t, "ip", "link", "set", "dev", "eth0", "xdpdrv", "off")
	s.waitRoutes(vips, 2)
}
