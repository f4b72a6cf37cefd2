package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/maps"
)

func TestInterfaces(t *testing.T) {
	run(t, "one missing", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Interfaces = []string{"eth0", "eth1"}
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		s := l.agent.Status()
		if i := s.Datapath.Interfaces; !i[0].Attached || i[1].Attached || !strings.Contains(i[1].Error, "eth1") {
			t.Errorf("interfaces %+v", i)
		}
		if len(s.NotReady) > 0 || len(s.Degraded) != 1 {
			t.Errorf("not ready %v, degraded %v", s.NotReady, s.Degraded)
		}
		l.mu.Lock()
		l.ifindex["eth1"] = 3
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("it appears", syncWeb, "attach(eth1 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "made anew", func(t *testing.T, l *lab) {
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1)")
		l.mu.Lock()
		l.ifindex["eth0"] = 9
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("anew", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		l.stop()
	})
	run(t, "the only one goes", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.mu.Lock()
		delete(l.ifindex, "eth0")
		l.mu.Unlock()
		l.hopsChanged <- struct{}{}
		l.is("gone", syncWeb, "speaker.Sync()")
		if v := l.agent.Status().VIPs[0]; v.Announced || v.Reason != NoInterface {
			t.Errorf("VIP %+v", v)
		}
		l.stop()
	})
	run(t, "an update that fails leaves the old program", func(t *testing.T, l *lab) {
		l.attached["eth0"] = true
		l.failing("attach")
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "speaker.Sync(192.0.2.1)")
		if i := l.agent.Status().Datapath.Interfaces[0]; !i.Attached || i.Error == "" {
			t.Errorf("interface %+v", i)
		}
		l.stop()
	})
	run(t, "changed in the configuration", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		l.mu.Lock()
		l.ifindex["eth1"] = 3
		l.hops = map[netip.Addr]maps.NextHop{netip.MustParseAddr("10.1.0.1"): {Ifindex: 3}}
		l.mu.Unlock()
		next := *l.cfg
		next.Datapath.Interfaces = []string{"eth1"}
		l.configs.set(&next, nil)
		l.is("reload", syncWeb, "attach(eth1 auto)", "detach(eth0)", "speaker.Sync(192.0.2.1)")
		if _, on := l.sysctls["net/ipv4/conf/eth0/accept_local"]; on || l.sysctls["net/ipv4/conf/eth1/accept_local"] != "1" {
			t.Errorf("accept_local: %v", l.sysctls)
		}
		l.stop()
	})
	run(t, "changed to one that is not there", func(t *testing.T, l *lab) {
		l.start()
		l.took()
		next := *l.cfg
		next.Datapath.Interfaces = []string{"eth9"}
		l.configs.set(&next, nil)
		l.is("reload", syncWeb, "speaker.Sync(192.0.2.1)")
		if i := l.agent.Status().Datapath.Interfaces; len(i) != 2 || i[0].Error == "" || i[1].Name != "eth0" || !i[1].Attached {
			t.Errorf("interfaces %+v", i)
		}
		l.stop()
	})
}
