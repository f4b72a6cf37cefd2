package node

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

const syncAll = "tables.Sync(2 members, 2 pods, 1500)"

var byAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestRefusedConfiguration(t *testing.T) {
	run(t, "its Node is told", func(t *testing.T, w *world) {
		w.cluster = fakeCluster{world: w}
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		w.refused = errors.New("backend.mtu: want a number")
		w.configs <- struct{}{}
		w.is("reload", "trouble(ConfigRefused: backend: the new configuration is not valid, the old one stays in force: backend.mtu: want a number)", syncAll)
		w.stop()
	})
}

func TestLife(t *testing.T) {
	run(t, "start and end", func(t *testing.T, w *world) {
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		want := maps.NodeWant{
			Members: []maps.Member{{Addr: addr("10.0.1.2"), LB: true}, {Addr: addr("10.3.1.2"), Self: true, Backend: true}},
			Pods:    []maps.Pod{{Addr: addr("10.2.1.1"), Netns: 4}, {Addr: addr("10.3.1.2"), Netns: bpf.PodNetnsOwn}},
			MTU:     1500,
		}
		if d := cmp.Diff(want, w.lastWant(), byAddr); d != "" {
			t.Errorf("want -, got +\n%s", d)
		}
		s := w.agent.Status()
		if s.Role != "backend" || s.State != api.Running || len(s.NotReady)+len(s.Degraded) > 0 || s.Ingress.Events.Witnessed != 7 || s.Ingress.MTUFrom != "eth0" {
			t.Errorf("status %+v, ingress %+v", s, s.Ingress)
		}
		if i := s.Datapath.Interfaces[0]; i.Mode != "xdp-native" || i.Egress != "tcx" {
			t.Errorf("interface %+v", i)
		}
		w.stop()
		w.is("end leaves everything attached", "tables.Close", "datapath.Close")
		if w.agent.Alive() == nil {
			t.Error("alive after its end")
		}
		if _, err := w.agent.Verdicts(); err == nil {
			t.Error("tables that are closed can be read")
		}
	})
	run(t, "until the source has synced nothing is written", func(t *testing.T, w *world) {
		w.synced = false
		w.attached["eth0"] = true
		w.start()
		w.is("start", "load")
		if s := w.agent.Status(); !s.Datapath.Survived || len(s.NotReady) == 0 {
			t.Errorf("status %+v", s)
		}
		w.change(objects())
		w.is("synced", syncAll, "attach(eth0 auto)", "settle")
		w.stop()
	})
	run(t, "no program on empty tables", func(t *testing.T, w *world) {
		w.failing("tables.Sync")
		w.start()
		w.is("tables that cannot be written", "load", syncAll)
		if s := w.agent.Status(); s.State != api.Starting || !strings.Contains(s.Sync.Error, "injected") || s.Sync.NextAttempt.IsZero() {
			t.Errorf("status %+v", s.Sync)
		}
		w.failing()
		time.Sleep(time.Second)
		w.is("tried again", syncAll, "attach(eth0 auto)", "settle")
		w.failing("tables.Sync")
		w.change(objects())
		w.is("later the programs stay", syncAll)
		w.stop()
	})
}

// TestNobodyKnown: an ingress node that knows no LB node, or not itself, takes nothing.
func TestNobodyKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		node  int // of objects that is missing
		says  string
		ready bool
	}{
		"no LB node":   {0, "no LB node is known", true}, // it can do nothing about that
		"not this one": {1, "this node's Node object has no annotation", false},
	} {
		run(t, name, func(t *testing.T, w *world) {
			w.snapshot.Nodes = append(w.snapshot.Nodes[:tt.node:tt.node], w.snapshot.Nodes[tt.node+1:]...)
			w.start()
			s := w.agent.Status()
			for what, list := range map[string][]string{"not ready": s.NotReady, "degraded": s.Degraded, "log": {w.log.String()}} {
				if what == "not ready" && tt.ready {
					if len(list) > 0 {
						t.Errorf("not ready: %q", list)
					}
					continue
				}
				if !strings.Contains(strings.Join(list, "\n"), tt.says) {
					t.Errorf("%s does not say %q: %q", what, tt.says, list)
				}
			}
			w.change(objects())
			if s := w.agent.Status(); len(s.NotReady)+len(s.Degraded) > 0 {
				t.Errorf("once it is known: %v %v", s.NotReady, s.Degraded)
			}
			w.stop()
		})
	}
	run(t, "addresses of another node", func(t *testing.T, w *world) {
		w.own = map[netip.Addr]string{addr("10.9.9.9"): "eth0"}
		w.start()
		if s := w.agent.Status(); !strings.Contains(s.Sync.Error, "none of the addresses") {
			t.Errorf("error %q", s.Sync.Error)
		}
		w.stop()
	})
}

func TestPodsWithoutNamespace(t *testing.T) {
	run(t, "", func(t *testing.T, w *world) {
		delete(w.netns, addr("10.2.1.1"))
		w.start()
		if p := w.lastWant().Pods[0]; p.Netns != bpf.PodNetnsUnknown {
			t.Errorf("pod %+v", p)
		}
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		w.mu.Lock()
		w.netns[addr("10.2.1.1")] = 6
		w.mu.Unlock()
		time.Sleep(unplacedRetry)
		w.is("looked for again", syncAll)
		if p := w.lastWant().Pods[0]; p.Netns != 6 {
			t.Errorf("pod %+v", p)
		}
		time.Sleep(2 * unplacedRetry)
		w.is("found")
		w.stop()
	})
}

func TestMTU(t *testing.T) {
	for name, tt := range map[string]struct {
		devices    []string
		configured uint16
		want       uint32
		from       string
	}{
		"the least":      {[]string{"eth0", "eth1"}, 0, 1400, "eth1"},
		"configured":     {[]string{"eth0", "eth1"}, 9000, 9000, "backend.mtu"},
		"one is missing": {[]string{"eth0", "eth9"}, 0, 1500, "eth0"},
		"none is there":  {[]string{"eth9"}, 0, 0, ""},
	} {
		run(t, name, func(t *testing.T, w *world) {
			w.ifindex["eth1"], w.mtu["eth1"] = 3, 1400
			w.cfg.Datapath.Interfaces, w.cfg.Backend.MTU = tt.devices, tt.configured
			w.start()
			if got := w.lastWant().MTU; got != tt.want {
				t.Errorf("MTU %d, want %d", got, tt.want)
			}
			if in := w.agent.Status().Ingress; in.MTUFrom != tt.from || in.MTU != tt.want {
				t.Errorf("status says %d by %q", in.MTU, in.MTUFrom)
			}
			w.stop()
		})
	}
}

func TestMTUOfAnUplinkThatWent(t *testing.T) {
	run(t, "", func(t *testing.T, w *world) {
		w.start()
		w.mu.Lock()
		w.ifindex, w.mtu = nil, nil
		w.mu.Unlock()
		w.change(objects())
		if got := w.lastWant().MTU; got != 1500 {
			t.Errorf("MTU %d", got)
		}
		w.stop()
	})
}

func TestUplinks(t *testing.T) {
	run(t, "default routes' devices", func(t *testing.T, w *world) {
		w.cfg.Datapath.Interfaces, w.defaults = nil, []string{"eth0"}
		w.attached["eth7"] = true // from before, its route is away
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)")
		if s := w.agent.Status(); len(s.Datapath.Interfaces) != 2 || s.Datapath.Interfaces[1].Error == "" {
			t.Errorf("interfaces %+v", s.Datapath.Interfaces)
		}
		w.stop()
	})
	run(t, "reconfigured", func(t *testing.T, w *world) {
		w.ifindex["eth1"], w.mtu["eth1"] = 3, 1500
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		next := *w.cfg
		next.Datapath.Interfaces = []string{"eth1"}
		w.mu.Lock()
		w.cfg = &next
		w.mu.Unlock()
		w.configs <- struct{}{}
		w.is("another one", syncAll, "attach(eth1 auto)", "detach(eth0)")
		w.stop()
	})
	run(t, "reconfigured to one that is not there", func(t *testing.T, w *world) {
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		next := *w.cfg
		next.Datapath.Interfaces = []string{"eth9"}
		w.mu.Lock()
		w.cfg = &next
		w.mu.Unlock()
		w.configs <- struct{}{}
		w.is("a wrong one", syncAll)
		if i := w.agent.Status().Datapath.Interfaces; len(i) != 2 || i[0].Error == "" || i[1].Name != "eth0" || !i[1].Attached {
			t.Errorf("interfaces %+v", i)
		}
		w.stop()
	})
	run(t, "made anew under its name", func(t *testing.T, w *world) {
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		w.change(objects())
		w.is("nothing changed", syncAll)
		w.mu.Lock()
		w.ifindex["eth0"] = 9
		w.mu.Unlock()
		w.change(objects())
		w.is("anew", syncAll, "attach(eth0 auto)")
		w.stop()
	})
	run(t, "another program is there", func(t *testing.T, w *world) {
		w.fallback = "another XDP program is on the device"
		w.start()
		s := w.agent.Status()
		if i := s.Datapath.Interfaces[0]; i.Mode != "tcx" || i.Fallback == "" || !strings.Contains(strings.Join(s.Warnings, " "), "another XDP program") {
			t.Errorf("%+v, warnings %v", i, s.Warnings)
		}
		w.stop()
	})
	run(t, "it does not attach", func(t *testing.T, w *world) {
		w.failing("attach")
		w.start()
		if s := w.agent.Status(); !strings.Contains(strings.Join(s.NotReady, " "), "no interface attached") {
			t.Errorf("not ready: %v", s.NotReady)
		}
		w.failing()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := w.agent.Status(); len(s.NotReady) > 0 {
			t.Errorf("not ready: %v", s.NotReady)
		}
		w.stop()
	})
}

func TestForwardingIsOff(t *testing.T) {
	run(t, "", func(t *testing.T, w *world) {
		w.sysctls["net/ipv4/ip_forward"] = "0"
		w.start()
		s := w.agent.Status()
		if !strings.Contains(strings.Join(s.NotReady, " "), "IPv4 packets to pods are lost; run 'sysctl -w net.ipv4.ip_forward=1'") {
			t.Errorf("not ready: %v", s.NotReady)
		}
		hostNetwork := objects()
		hostNetwork.Slices[0].Endpoints = hostNetwork.Slices[0].Endpoints[1:]
		w.change(hostNetwork)
		if s := w.agent.Status(); len(s.NotReady) > 0 {
			t.Errorf("with pods of the node's own namespace alone: %v", s.NotReady)
		}
		w.stop()
	})
}

// TestWatch: what nobody tells of is reported all the same, and its end too.
func TestWatch(t *testing.T) {
	run(t, "forwarding", func(t *testing.T, w *world) {
		w.start()
		for _, value := range []string{"0", "1"} {
			w.mu.Lock()
			w.sysctls["net/ipv4/ip_forward"] = value
			w.mu.Unlock()
			time.Sleep(watchEvery)
			synctest.Wait()
			if s := w.agent.Status(); (len(s.NotReady) > 0) != (value == "0") {
				t.Errorf("ip_forward %s: not ready: %v", value, s.NotReady)
			}
		}
		w.stop()
	})
	run(t, "probes", func(t *testing.T, w *world) {
		w.probes = 5 // from before the agent
		w.start()
		says := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			got := slices.DeleteFunc(w.agent.Status().Warnings, func(text string) bool { return !strings.HasPrefix(text, "no LB node's probe has come in since") })
			if len(got) != want {
				t.Errorf("%s: warnings %q", what, got)
			}
		}
		time.Sleep(quietAfter)
		says("not for long enough", 0)
		time.Sleep(2 * watchEvery)
		says("for long enough", 1)
		w.mu.Lock()
		w.probes++
		w.mu.Unlock()
		time.Sleep(watchEvery)
		says("one came", 0)
		time.Sleep(quietAfter + watchEvery)
		says("none again", 1)
		if n := strings.Count(w.log.String(), "step=probes"); n != 3 {
			t.Errorf("%d lines in the log:\n%s", n, w.log)
		}
		none := objects()
		none.Nodes = none.Nodes[1:]
		w.change(none)
		says("no LB node is known", 0)
		w.stop()
	})
}

func TestSweep(t *testing.T) {
	run(t, "", func(t *testing.T, w *world) {
		w.flows = maps.FlowStats{Entries: 3, Capacity: 8}
		w.start()
		if f := w.agent.Status().Datapath.Flows; f != w.flows {
			t.Errorf("flows %+v at the start", f)
		}
		w.mu.Lock()
		w.flows.Entries = 1
		w.mu.Unlock()
		time.Sleep(resync)
		synctest.Wait()
		if d := w.agent.Status().Datapath; d.Flows.Entries != 1 || d.SweepError != "" {
			t.Errorf("after a sweep: %+v", d)
		}
		w.failing("sweep")
		time.Sleep(resync)
		synctest.Wait()
		if d := w.agent.Status().Datapath; !strings.Contains(d.SweepError, "injected") {
			t.Errorf("after one that failed: %+v", d)
		}
		w.stop()
	})
}
