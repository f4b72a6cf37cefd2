package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/tenure"
	"github.com/penstock-lb/penstock/bgp"
)

// fakeCluster keeps what it was told.
type fakeCluster struct {
	mu      sync.Mutex
	told    map[string]kube.ServiceReport
	reports int
	node    desired.Published
	ended   []string // sessions
	verdict tenure.Verdict
	left    chan string // Forget, with what was published last; nil: it is not looked at
	trouble []string
}

func (f *fakeCluster) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeCluster) Configure(*config.Config)      {}
func (f *fakeCluster) Link() api.Link                { return api.Link{Connected: true} }
func (f *fakeCluster) Pools() api.PoolsStatus        { return api.PoolsStatus{Leader: "lb2"} }
func (f *fakeCluster) Services(reports []kube.ServiceReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range reports {
		f.told[r.Service] = r
		f.reports++
	}
}
func (f *fakeCluster) Gone(services []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range services {
		delete(f.told, s)
	}
}
func (f *fakeCluster) Node(p desired.Published) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node = p
}

func (f *fakeCluster) Tenure(context.Context) tenure.Verdict { return f.verdict }
func (f *fakeCluster) TenureWarnings(needs time.Duration) []string {
	return []string{"needs " + needs.String()}
}

func (f *fakeCluster) Forget(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left != nil {
		f.left <- fmt.Sprintf("ready %t, leaving %t", f.node.Ready, f.node.Leaving)
	}
	return nil
}

func (f *fakeCluster) Trouble(reason, subject, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = append(f.trouble, strings.Join([]string{reason, subject, message}, ": "))
}

func (f *fakeCluster) SessionEnded(end kube.SessionEnd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, end.String())
}

// of is what it knows of a Service, in a line, and how many reports came in all.
func (f *fakeCluster) of(service string) (string, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.told[service]
	if !known {
		return "", f.reports
	}
	var out []string
	for _, v := range r.VIPs {
		what := string(v.Reason)
		if v.Announced {
			what = "announced to " + strings.Join(v.Peers, ",")
		}
		out = append(out, v.VIP.String()+" "+what)
	}
	for _, reason := range r.Reasons {
		out = append(out, string(reason.Reason))
	}
	return strings.Join(out, "; "), f.reports
}

// three are as many Services, each with a VIP of its own.
func three(ready bool) desired.Snapshot {
	var s desired.Snapshot
	for i, name := range []string{"a", "b", "c"} {
		o := objects(name, "192.0.2."+string(rune('1'+i)), ready || name != "b")
		s.Services, s.Slices = append(s.Services, o.Services...), append(s.Slices, o.Slices...)
	}
	return s
}

func TestOneChangeIsOneService(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		l.snapshot = three(true)
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster = cluster
		l.families = []bgp.FamilyState{{Family: bgp.IPv4}}
		l.start()
		l.took()
		before := l.snapshot
		next := three(false)
		for _, i := range []int{0, 2} { // those of a and c are the same
			next.Services[i], next.Slices[i] = before.Services[i], before.Slices[i]
		}
		next.Services[1] = before.Services[1]
		if got, _ := cluster.of("default/b"); got != "192.0.2.2 announced to tor" {
			t.Errorf("at first the cluster knows %q", got)
		}
		_, reports := cluster.of("")
		l.change(next)
		l.is("one endpoint is not ready", "speaker.Sync(192.0.2.1 192.0.2.3)", "tables.Sync(default/b:http/tcp/ipv4)")
		if want, _ := l.lastWant(); !want.Partial || len(want.Removed) > 0 {
			t.Errorf("the tables were asked for %+v", want)
		}
		if got, n := cluster.of("default/b"); got != "192.0.2.2 NoUsableEndpoints; NoUsableEndpoints" || n != reports+1 {
			t.Errorf("the cluster knows %q after %d more reports", got, n-reports)
		}
		s := l.agent.Status()
		if len(s.VIPs) != 3 || !s.VIPs[0].Announced || s.VIPs[1].Reason != desired.NoUsableEndpoints || len(s.Services) != 3 || len(s.Reasons) != 1 {
			t.Errorf("status: VIPs %+v, services %+v, reasons %+v", s.VIPs, s.Services, s.Reasons)
		}
		gone := next
		gone.Services, gone.Slices = next.Services[:2], next.Slices[:2]
		l.change(gone)
		l.is("one is gone", "speaker.Sync(192.0.2.1)", "tables.Sync()")
		if want, _ := l.lastWant(); cmp.Diff([]string{"default/c:http/tcp/ipv4"}, want.Removed) != "" {
			t.Errorf("the tables were asked for %+v", want)
		}
		if got, _ := cluster.of("default/c"); got != "" || len(l.agent.Status().VIPs) != 2 {
			t.Errorf("of what is gone the cluster knows %q, and the status %+v", got, l.agent.Status().VIPs)
		}
		if o, has := l.agent.Object("default/a"); !has || o == nil || len(l.agent.Wanted("default/a")) != 1 || l.agent.Wanted("default/c") != nil {
			t.Errorf("object %+v, wanted %+v", o, l.agent.Wanted("default/c"))
		}
		if p := cluster.node; !p.Ready || p.TunnelPort != 6082 || p.Datapath == "" || p.Version != "test" {
			t.Errorf("the node published %+v", p)
		}
		l.stop()
	})
}

func TestClusterKnowsWhenASessionEnds(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster, l.families = cluster, []bgp.FamilyState{{Family: bgp.IPv4}}
		l.start()
		l.mu.Lock()
		l.session = bgp.Active
		l.mu.Unlock()
		l.peersChanged <- struct{}{}
		synctest.Wait()
		if got, _ := cluster.of("default/web"); got != "192.0.2.1 announced to " {
			t.Errorf("without a session the cluster knows %q", got)
		}
		l.stop()
	})
}

// An LB node without a session has no routers send it anything: another one that drained for it would end
// all traffic.
func TestNodeWithoutASession(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster = cluster
		l.families = []bgp.FamilyState{{Family: bgp.IPv4}, {Family: bgp.IPv6}}
		l.session = bgp.Active
		l.start()
		l.took()
		is := func(what, want string) {
			t.Helper()
			synctest.Wait()
			cluster.mu.Lock()
			defer cluster.mu.Unlock()
			if p := cluster.node; p.Reason != want || p.Ready != (want == "") {
				t.Errorf("%s: ready %v, %q, want %q", what, p.Ready, p.Reason, want)
			}
		}
		const none = "no BGP session is up"
		is("at the start", none)
		for _, step := range []struct {
			session bgp.SessionState
			want    string
		}{{bgp.Established, ""}, {bgp.Idle, none}, {bgp.Established, ""}} {
			l.mu.Lock()
			l.session = step.session
			l.mu.Unlock()
			l.peersChanged <- struct{}{}
			is(string(step.session), step.want)
		}
		without := *l.cfg
		without.BGP.Peers = nil
		l.mu.Lock()
		l.session = bgp.Idle
		l.mu.Unlock()
		l.configs.set(&without, nil)
		is("without peers in the configuration", "")
		l.stop()
	})
}

func TestClusterKnowsOfARefusedConfiguration(t *testing.T) {
	run(t, "reload", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster = cluster
		l.start()
		l.configs.set(l.cfg, errors.New("penstock.yaml:3: bgp.asn: want a number"))
		synctest.Wait()
		l.configs.set(l.cfg, nil)
		l.stop()
		want := []string{"ConfigRefused: lb: the new configuration is not valid, the old one stays in force: penstock.yaml:3: bgp.asn: want a number"}
		if d := cmp.Diff(want, cluster.trouble); d != "" {
			t.Errorf("trouble -want, +got\n%s", d)
		}
	})
}

func TestClusterKnowsWhatKeepsTheProgramAway(t *testing.T) {
	run(t, "attach", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster = cluster
		l.failing("attach")
		l.start()
		time.Sleep(10 * time.Second) // it is tried again, and nothing is new about it
		want := []string{"AttachFailed: lb: interface eth0: injected"}
		if d := cmp.Diff(want, cluster.trouble); d != "" {
			t.Errorf("trouble -want, +got\n%s", d)
		}
		l.failing()
		time.Sleep(time.Minute)
		l.stop()
		if d := cmp.Diff(want, cluster.trouble); d != "" {
			t.Errorf("once it is attached -want, +got\n%s", d)
		}
	})
}
