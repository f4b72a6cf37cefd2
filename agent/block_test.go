package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// by makes the only backend's next hop lead out by a device.
func (l *lab) by(hop maps.NextHop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hops = map[netip.Addr]maps.NextHop{netip.MustParseAddr("10.1.0.1"): hop}
}

func TestBackendsBehindADeviceWithoutProgram(t *testing.T) {
	run(t, "another device", func(t *testing.T, l *lab) {
		l.ifindex["eth1"] = 3
		l.by(maps.NextHop{Ifindex: 3})
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync()")
		s := l.agent.Status()
		want := "backends of default/web (10.1.0.1) are reached by eth1, which is not in datapath.interfaces: their replies are not translated; add eth1"
		if !slices.Contains(s.Degraded, want) {
			t.Errorf("degraded: %q, want %q", s.Degraded, want)
		}
		if v := s.VIPs[0]; v.Announced || v.Reason != RepliesNotSeen || !strings.Contains(v.Detail, "eth1") {
			t.Errorf("VIP %+v", v)
		}
		if log := l.logged(); strings.Count(log, "level=WARN msg=problem service=\"default/web by eth1\"") != 1 {
			t.Errorf("logged\n%s", log)
		}
		next := *l.cfg
		next.Datapath.Interfaces = []string{"eth0", "eth1"}
		l.configs.set(&next, nil)
		l.is("added", syncWeb, "attach(eth1 auto)", "speaker.Sync(192.0.2.1)")
		if s := l.agent.Status(); len(s.Degraded) > 0 || !s.VIPs[0].Announced {
			t.Errorf("after it was added: degraded %q, VIP %+v", s.Degraded, s.VIPs[0])
		}
		l.stop()
	})
	for name, tt := range map[string]struct {
		hop     maps.NextHop
		devices map[int]system.Device
		judged  bool
	}{
		"unresolved":                        {hop: maps.NextHop{}},
		"a device that is gone":             {hop: maps.NextHop{Ifindex: 77}},
		"a VLAN on top of ours":             {hop: maps.NextHop{Ifindex: 2, VLAN: 100}},
		"the VLAN device that is ours":      {hop: maps.NextHop{Ifindex: 3, VLAN: 100}, devices: map[int]system.Device{2: {Name: "eth0", Lower: 3, VLAN: 100}, 3: {Name: "eth1"}}},
		"another VLAN of its lower device":  {hop: maps.NextHop{Ifindex: 3, VLAN: 200}, devices: map[int]system.Device{2: {Name: "eth0", Lower: 3, VLAN: 100}, 3: {Name: "eth1"}}, judged: true},
		"the bond that ours is a port of":   {hop: maps.NextHop{Ifindex: 4}, devices: map[int]system.Device{2: {Name: "eth0", Bond: 4}, 4: {Name: "bond0"}}},
		"a bond that ours is not a port of": {hop: maps.NextHop{Ifindex: 4}, devices: map[int]system.Device{4: {Name: "bond0"}}, judged: true},
	} {
		run(t, name, func(t *testing.T, l *lab) {
			l.devices = tt.devices
			l.by(tt.hop)
			l.start()
			s := l.agent.Status()
			if judged := len(s.Degraded) > 0; judged != tt.judged || s.VIPs[0].Announced == tt.judged {
				t.Errorf("degraded %q, VIP %+v, want judged %v", s.Degraded, s.VIPs[0], tt.judged)
			}
			l.stop()
		})
	}
	run(t, "one backend of two", func(t *testing.T, l *lab) {
		l.ifindex["eth1"] = 3
		slice := l.snapshot.Slices[0]
		second := *slice.Endpoints[0].DeepCopy()
		second.Addresses = []string{"10.1.0.2"}
		slice.Endpoints = append(slice.Endpoints, second)
		l.by(maps.NextHop{Ifindex: 3})
		l.start()
		if s := l.agent.Status(); len(s.Degraded) != 1 || !s.VIPs[0].Announced {
			t.Errorf("degraded %q, VIP %+v, want it announced for the other backend", s.Degraded, s.VIPs[0])
		}
		l.stop()
	})
	run(t, "the default routes' devices", func(t *testing.T, l *lab) {
		l.ifindex["eth1"] = 3
		l.cfg.Datapath.Interfaces, l.defaults = nil, []string{"eth0"}
		l.by(maps.NextHop{Ifindex: 3})
		l.start()
		if d := strings.Join(l.agent.Status().Degraded, "\n"); !strings.Contains(d, "set datapath.interfaces: [eth0, eth1]") {
			t.Errorf("degraded %q", d)
		}
		l.stop()
	})
}

func TestForwardingOff(t *testing.T) {
	run(t, "IPv4", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv4/ip_forward"] = "0"
		l.sysctls["net/ipv6/conf/all/forwarding"] = "0" // there is no IPv6 VIP
		l.start()
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "settle", "speaker.Sync()")
		s := l.agent.Status()
		want := "net.ipv4.ip_forward is 0: the kernel does not forward, and IPv4 replies are lost; run 'sysctl -w net.ipv4.ip_forward=1'"
		if !slices.Contains(s.Degraded, want) || !slices.Contains(s.NotReady, want) || len(s.Degraded) != 1 {
			t.Errorf("degraded %q, not ready %q, want %q", s.Degraded, s.NotReady, want)
		}
		if v := s.VIPs[0]; v.Announced || v.Reason != ForwardingOff || v.Detail != want {
			t.Errorf("VIP %+v", v)
		}
		if log := l.logged(); !strings.Contains(log, "level=WARN msg=problem family=ipv4") {
			t.Errorf("logged\n%s", log)
		}
		l.mu.Lock()
		l.sysctls["net/ipv4/ip_forward"] = "1"
		l.mu.Unlock()
		time.Sleep(resync)
		l.is("mended", "tables.Sync()", syncWeb, "speaker.Sync(192.0.2.1)")
		if s := l.agent.Status(); len(s.Degraded)+len(s.NotReady) > 0 {
			t.Errorf("after it was mended: degraded %q, not ready %q", s.Degraded, s.NotReady)
		}
		l.stop()
	})
	run(t, "one device of two", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Interfaces = []string{"eth0", "eth1.7"}
		l.ifindex["eth1.7"] = 3
		l.sysctls["net/ipv4/ip_forward"] = "0"
		l.sysctls["net/ipv4/conf/eth0/forwarding"] = "1"
		l.sysctls["net/ipv4/conf/eth1.7/forwarding"] = "0"
		l.start()
		s := l.agent.Status()
		if len(s.Degraded) != 1 || !strings.Contains(s.Degraded[0], "net.ipv4.conf.eth1/7.forwarding is 0") || len(s.NotReady) > 0 || !s.VIPs[0].Announced {
			t.Errorf("degraded %q, not ready %q, VIP %+v", s.Degraded, s.NotReady, s.VIPs[0])
		}
		l.stop()
	})
	run(t, "switched on for our device alone", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv4/ip_forward"] = "0"
		l.sysctls["net/ipv4/conf/eth0/forwarding"] = "1"
		l.start()
		if s := l.agent.Status(); len(s.Degraded) > 0 || !s.VIPs[0].Announced {
			t.Errorf("degraded %q, VIP %+v", s.Degraded, s.VIPs[0])
		}
		l.stop()
	})
}

func TestSessionThatCarriesTheOtherFamily(t *testing.T) {
	run(t, "IPv6 alone", func(t *testing.T, l *lab) {
		l.sysctls["net/ipv6/conf/all/forwarding"] = "1"
		l.only6 = true
		six := objects("web6", "2001:db8::1", true)
		six.Slices[0].AddressType = "IPv6"
		six.Slices[0].Endpoints[0].Addresses = []string{"2001:db8:1::1"}
		l.snapshot.Services = append(l.snapshot.Services, six.Services...)
		l.snapshot.Slices = append(l.snapshot.Slices, six.Slices...)
		l.start()
		s := l.agent.Status()
		if v := s.VIPs[0]; v.Announced || v.Reason != NoSession || !strings.Contains(v.Detail, "ipv4") {
			t.Errorf("VIP without a session of its family: %+v", v)
		}
		if v := s.VIPs[1]; !v.Announced || v.Reason != desired.Announceable {
			t.Errorf("VIP with a session: %+v", v)
		}
		if !slices.Equal(s.NotReady, []string{"no BGP session up for ipv4"}) || len(s.Degraded) != 1 {
			t.Errorf("not ready %q, degraded %q", s.NotReady, s.Degraded)
		}
		l.mu.Lock()
		l.session = bgp.Active
		l.mu.Unlock()
		if s := l.agent.Status(); !slices.Equal(s.NotReady, []string{"no BGP session up: tor is active"}) {
			t.Errorf("without any session: not ready %q", s.NotReady)
		}
		l.stop()
	})
}
