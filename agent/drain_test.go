package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/bgp"
)

// dual gives the lab's Service a VIP and an endpoint of either family.
func (l *lab) dual() {
	l.both = true
	l.sysctls["net/ipv6/conf/all/forwarding"] = "1"
	svc := l.snapshot.Services[0]
	svc.Spec.ExternalIPs = append(svc.Spec.ExternalIPs, "2001:db8::1")
	slice := l.snapshot.Slices[0].DeepCopy()
	slice.Name, slice.AddressType = "web-6", "IPv6"
	slice.Endpoints[0].Addresses = []string{"2001:db8:1::1"}
	l.snapshot.Slices = append(l.snapshot.Slices, slice)
}

const (
	syncBoth = "tables.Sync(default/web:http/tcp/ipv4 default/web:http/tcp/ipv6)"
	plain    = "speaker.Sync(192.0.2.1 2001:db8::1)"
	last     = "speaker.Sync(192.0.2.1~ 2001:db8::1~)"
	nothing  = "speaker.Sync()"
)

// lbs makes Nodes of two LB nodes, of which this one may be cordoned.
func lbs(cordoned bool) (nodes []*corev1.Node) {
	for i, name := range []string{"lb-1", "lb-2"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{desired.RoleAnnotation: "lb"}}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.9.0.%d", i+1)}}
		n.Spec.Unschedulable = cordoned && name == "lb-1"
		nodes = append(nodes, n)
	}
	return nodes
}

// vips checks all VIPs' reason, and whether they are announced.
func (l *lab) vips(what string, reason desired.Reason, announced bool, detail string) {
	l.t.Helper()
	synctest.Wait()
	s := l.agent.Status()
	for _, v := range s.VIPs {
		if v.Reason != reason || v.Announced != announced || !strings.Contains(v.Detail, detail) {
			l.t.Errorf("%s: VIP %+v, want %s, announced %v, %q", what, v, reason, announced, detail)
		}
	}
}

func (l *lab) packet() {
	l.mu.Lock()
	l.traffic++
	l.mu.Unlock()
}

// An aggregate is the last choice as long as its members are, in their stead too.
func TestDrainOfAggregates(t *testing.T) {
	run(t, "aggregate only", func(t *testing.T, l *lab) {
		l.dual()
		l.snapshot.Nodes = lbs(false)
		l.cfg.BGP.Advertisements = []advertise.Entry{{Name: "all", AggregateLength4: 24, AggregateLength6: 64, AggregateOnly: true}}
		l.start()
		l.took()
		if _, err := l.agent.Drain(t.Context(), api.DrainRequest{Reason: "new RAM"}); err != nil {
			t.Error(err)
		}
		l.is("last choice", syncBoth, "speaker.Sync(192.0.2.0/24~ 2001:db8::/64~)")
		if _, err := l.agent.Undrain(t.Context()); err != nil {
			t.Error(err)
		}
		l.is("back", syncBoth, "speaker.Sync(192.0.2.0/24 2001:db8::/64)")
		l.stop()
	})
}

func TestDrainByCommand(t *testing.T) {
	run(t, "and back", func(t *testing.T, l *lab) {
		l.dual()
		l.snapshot.Nodes = lbs(false)
		l.start()
		l.took()
		probed := l.probed
		got, err := l.agent.Drain(t.Context(), api.DrainRequest{Reason: "new RAM"})
		if err != nil || got.Stage != drain.GracefulShutdown || got.Successor != "lb-2" || got.Deadline.Sub(got.Since) != l.cfg.DrainTimeout {
			t.Errorf("drain: %+v, %v", got, err)
		}
		l.is("last choice", syncBoth, last)
		a, _ := l.paths[netip.MustParsePrefix("2001:db8::1/128")].For("tor")
		if a.LocalPref == nil || *a.LocalPref != 0 || a.MED == nil || *a.MED != l.cfg.BGP.Drain.MED || !slices.Contains(a.Communities, bgp.GracefulShutdown) {
			t.Errorf("attributes %+v", a)
		}
		l.vips("last choice", Draining, true, "command: new RAM")
		if again, err := l.agent.Drain(t.Context(), api.DrainRequest{}); err != nil || len(again.Asks) != 1 || again.Asks[0].Why != "new RAM" {
			t.Errorf("asked again without a reason: %+v, %v", again, err)
		}
		s := l.agent.Status()
		if s.Drain == nil || s.State != api.Running || len(s.NotReady) > 0 || len(s.Degraded) > 0 {
			t.Errorf("status: drain %+v, %s, not ready %q, degraded %q", s.Drain, s.State, s.NotReady, s.Degraded)
		}
		for range 3 {
			l.packet()
			time.Sleep(700 * time.Millisecond)
		}
		l.is("traffic still arrives")
		time.Sleep(drain.Quiet)
		l.is("quiet", syncBoth, nothing)
		l.vips("withdrawn", Draining, false, "withdrawn since")
		if l.probed != probed {
			t.Errorf("%d probes, which count as traffic", l.probed-probed)
		}
		if got, err = l.agent.Undrain(t.Context()); err != nil || got.Stage != drain.Announced || len(got.Asks) > 0 {
			t.Errorf("undrain: %+v, %v", got, err)
		}
		l.is("back", syncBoth, plain)
		l.vips("back", desired.Announceable, true, "")
		if s := l.agent.Status(); s.Drain != nil || len(s.NotReady) > 0 {
			t.Errorf("after it: drain %+v, not ready %q", s.Drain, s.NotReady)
		}
		if log := l.logged(); strings.Count(log, "msg=drain") != 3 {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
	run(t, "taken back before the routes went", func(t *testing.T, l *lab) {
		l.snapshot.Nodes = lbs(false)
		l.start()
		_, err := l.agent.Drain(t.Context(), api.DrainRequest{Timeout: 3600})
		_, err2 := l.agent.Undrain(t.Context())
		_, err3 := l.agent.Undrain(t.Context())
		if err := errors.Join(err, err2, err3); err != nil {
			t.Error(err)
		}
		l.took()
		time.Sleep(5 * time.Second)
		l.is("nothing more", []string(nil)...)
		l.vips("back", desired.Announceable, true, "")
		l.stop()
	})
	run(t, "traffic does not cease", func(t *testing.T, l *lab) {
		l.snapshot.Nodes = lbs(false)
		l.start()
		l.took()
		if _, err := l.agent.Drain(t.Context(), api.DrainRequest{Timeout: 2.5}); err != nil {
			t.Error(err)
		}
		l.is("last choice", syncWeb, "speaker.Sync(192.0.2.1~)")
		for range 24 {
			l.packet()
			time.Sleep(100 * time.Millisecond)
		}
		l.is("before the deadline")
		l.packet()
		time.Sleep(100 * time.Millisecond)
		l.is("at the deadline", syncWeb, nothing)
		if d := l.agent.Status().Drain; d == nil || !d.Expired || d.PacketsPerSecond <= 0 {
			t.Errorf("drain %+v", d)
		}
		if log := l.logged(); !strings.Contains(log, "level=WARN msg=drain stage=withdrawn") {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
	run(t, "nobody could take over", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		_, err := l.agent.Drain(t.Context(), api.DrainRequest{})
		if err == nil || !strings.Contains(err.Error(), "lb-1") || !strings.Contains(err.Error(), "there is none") || !strings.Contains(err.Error(), "--force") {
			t.Errorf("drain: %v", err)
		}
		l.is("refused")
		if got, err := l.agent.Drain(t.Context(), api.DrainRequest{Force: true}); err != nil || got.Successor != "" {
			t.Errorf("by force: %+v, %v", got, err)
		}
		l.is("by force", syncWeb, "speaker.Sync(192.0.2.1~)")
		l.stop()
	})
	run(t, "it cannot be remembered", func(t *testing.T, l *lab) {
		l.snapshot.Nodes = lbs(false)
		if err := os.Mkdir(l.cfg.DrainFile(), 0o700); err != nil {
			t.Fatal(err)
		}
		l.start()
		if log := l.logged(); !strings.Contains(log, l.cfg.DrainFile()) {
			t.Errorf("logged\n%s", log)
		}
		l.vips("what cannot be read is a drain", Draining, false, "cannot be read")
		if _, err := l.agent.Undrain(t.Context()); err == nil || !strings.Contains(err.Error(), l.cfg.DrainFile()) {
			t.Errorf("undrain: %v", err)
		}
		l.stop()
	})
}

// A drain by command outlasts the agent, at whatever stage it is.
func TestDrainOutlastsTheAgent(t *testing.T) {
	for name, withdrawn := range map[string]bool{"last choice": false, "withdrawn": true} {
		run(t, name, func(t *testing.T, l *lab) {
			l.dual()
			l.snapshot.Nodes = lbs(false)
			l.cfg.Shutdown = config.ShutdownRestart
			l.start()
			if _, err := l.agent.Drain(t.Context(), api.DrainRequest{Reason: "disk"}); err != nil {
				t.Error(err)
			}
			if withdrawn {
				time.Sleep(2 * drain.Quiet)
			}
			l.stop()
			l.took()
			l.start()
			if withdrawn {
				l.is("second agent", "load", syncBoth, "attach(eth0 auto)", "settle", nothing)
			} else {
				l.is("second agent", "load", syncBoth, "attach(eth0 auto)", "settle", last)
				time.Sleep(2 * drain.Quiet)
				l.is("quiet", syncBoth, nothing)
			}
			l.vips("second agent", Draining, false, "command: disk")
			if _, err := l.agent.Undrain(t.Context()); err != nil {
				t.Error(err)
			}
			l.is("back", syncBoth, plain)
			l.stop()
			l.took()
			l.start()
			l.is("third agent", "load", syncBoth, "attach(eth0 auto)", "settle", plain)
			l.stop()
		})
	}
}

func TestDrainByNode(t *testing.T) {
	run(t, "cordoned and not", func(t *testing.T, l *lab) {
		l.dual()
		l.snapshot.Nodes = lbs(false)
		l.start()
		l.took()
		next := l.snapshot
		next.Nodes = lbs(true)
		l.change(next)
		l.is("last choice", syncBoth, last)
		l.vips("last choice", Draining, true, "by node: node lb-1 drains, as it is cordoned")
		time.Sleep(drain.Quiet)
		l.is("quiet", syncBoth, nothing)
		l.vips("withdrawn", desired.NodeDrained, false, "it is cordoned")
		if _, err := l.agent.Drain(t.Context(), api.DrainRequest{}); err != nil {
			t.Error(err)
		}
		next.Nodes = lbs(false)
		l.change(next)
		l.took()
		l.vips("a command asks as well", Draining, false, "by command")
		if _, err := l.agent.Undrain(t.Context()); err != nil {
			t.Error(err)
		}
		l.is("back", syncBoth, plain)
		l.stop()
	})
	run(t, "traffic does not cease", func(t *testing.T, l *lab) {
		l.start()
		next := l.snapshot
		next.Nodes = lbs(true)
		began := time.Now()
		l.change(next)
		for l.agent.Status().VIPs[0].Announced {
			l.packet()
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(began); d < l.cfg.DrainTimeout || d > l.cfg.DrainTimeout+drainPoll {
			t.Errorf("withdrawn after %s, want %s", d, l.cfg.DrainTimeout)
		}
		l.stop()
	})
	run(t, "cordoned before it starts", func(t *testing.T, l *lab) {
		l.dual()
		l.snapshot.Nodes = lbs(true)
		l.start()
		l.is("start", "load", syncBoth, "attach(eth0 auto)", "settle", nothing)
		l.vips("start", desired.NodeDrained, false, "it is cordoned")
		l.stop()
	})
}

func TestDrainAndSIGTERM(t *testing.T) {
	run(t, "of a node that is drained", func(t *testing.T, l *lab) {
		l.snapshot.Nodes = lbs(false)
		l.start()
		if _, err := l.agent.Drain(t.Context(), api.DrainRequest{}); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		l.took()
		began := time.Now()
		l.stop()
		l.is("end", syncWeb, nothing, "speaker.Stop(drain)", "history.Close", "tables.Close", "datapath.Close")
		if d := time.Since(began); d > 2*drainPoll {
			t.Errorf("it took %s", d)
		}
	})
	run(t, "a command meanwhile", func(t *testing.T, l *lab) {
		l.start()
		l.signal()
		if _, err := l.agent.Drain(t.Context(), api.DrainRequest{Force: true}); !errors.Is(err, errEnding) {
			t.Errorf("drain: %v", err)
		}
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
	})
}
