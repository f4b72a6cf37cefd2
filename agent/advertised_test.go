package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/system"
	"github.com/penstock-lb/penstock/bgp"
)

// dual is a Service with a VIP and an endpoint of each family.
func dual() desired.Snapshot {
	s := objects("web", "192.0.2.1", true)
	s.Services[0].Spec.ExternalIPs = append(s.Services[0].Spec.ExternalIPs, "2001:db8::1")
	six := s.Slices[0].DeepCopy()
	six.Name, six.AddressType = "web-6", discoveryv1.AddressTypeIPv6
	six.Endpoints[0].Addresses = []string{"fd00::1"}
	s.Slices = append(s.Slices, six)
	return s
}

const syncDual = "tables.Sync(default/web:http/tcp/ipv4 default/web:http/tcp/ipv6)"

// advertise is a reload of the configuration with these entries.
func (l *lab) advertise(entries ...advertise.Entry) {
	next := *l.configs.Config()
	next.BGP.Advertisements = entries
	l.configs.set(&next, nil)
}

// offered gives what a peer was last told, by prefix.
func (l *lab) offered(peer string) map[string]bgp.Attributes {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]bgp.Attributes{}
	for _, p := range l.paths {
		if told, is := p.For(peer); is {
			out[short(p.Prefix)] = told
		}
	}
	return out
}

func TestAdvertisements(t *testing.T) {
	community := bgp.Attributes{Communities: []bgp.Community{bgp.NoExport}}
	run(t, "a reload tells attributes without a withdrawal", func(t *testing.T, l *lab) {
		l.snapshot = dual()
		l.start()
		l.is("start", "load", syncDual, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.1 2001:db8::1)")
		l.advertise(advertise.Entry{Name: "edge", Communities: community.Communities})
		l.is("attributes", syncDual, "speaker.Sync(192.0.2.1 2001:db8::1)")
		for _, vip := range []string{"192.0.2.1", "2001:db8::1"} {
			if told := l.offered("tor")[vip]; !told.Equal(community) {
				t.Errorf("%s is told with %+v", vip, told)
			}
		}
		l.advertise(advertise.Entry{Name: "edge", Namespaces: []string{"other"}})
		l.is("selected by none", "speaker.Sync()", syncDual, "speaker.Sync()")
		for _, v := range l.agent.Status().VIPs {
			if v.Announced || v.Reason != desired.NotAdvertised || !strings.Contains(v.Detail, "its namespaces other leave out default") {
				t.Errorf("VIP %+v", v)
			}
		}
		l.advertise()
		l.is("no entries", syncDual, "speaker.Sync(192.0.2.1 2001:db8::1)")
		l.stop()
	})
	run(t, "an annotation", func(t *testing.T, l *lab) {
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster, l.families = cluster, []bgp.FamilyState{{Family: bgp.IPv4}}
		l.cfg.BGP.Peers = append(l.cfg.BGP.Peers, config.Peer{Name: "spine", Address: netip.MustParseAddr("2001:db8:1::1"), ASN: 64513})
		l.start()
		l.took()
		annotated := func(key, value string) desired.Snapshot {
			s := objects("web", "192.0.2.1", true)
			s.Services[0].Annotations = map[string]string{key: value}
			return s
		}
		l.change(annotated(desired.BGPCommunitiesAnnotation, "no-export"))
		l.is("community", syncWeb, "speaker.Sync(192.0.2.1)")
		if told := l.offered("tor"); !told["192.0.2.1"].Equal(community) {
			t.Errorf("told %+v", told)
		}
		l.change(annotated(desired.BGPPeersAnnotation, "spine"))
		l.is("peers", syncWeb, "speaker.Sync(192.0.2.1)")
		if told, other := l.offered("tor"), l.offered("spine"); len(told) != 0 || len(other) != 1 {
			t.Errorf("tor is told %v, spine %v", told, other)
		}
		if got, _ := cluster.of("default/web"); got != "192.0.2.1 announced to " {
			t.Errorf("the cluster knows %q, although tor is not told", got)
		}
		l.stop()
	})
	run(t, "aggregates", func(t *testing.T, l *lab) {
		l.snapshot = dual()
		l.sysctls["net/ipv6/conf/all/forwarding"] = "1"
		l.cfg.BGP.Advertisements = []advertise.Entry{{Name: "only", AggregateLength4: 24, AggregateLength6: 64, AggregateOnly: true}}
		l.start()
		l.is("start", "load", syncDual, "attach(eth0 auto)", "settle", "speaker.Sync(192.0.2.0/24 2001:db8::/64)")
		for i, how := range []string{"by aggregate 192.0.2.0/24", "by aggregate 2001:db8::/64"} {
			l.mu.Lock()
			l.only6 = i == 1 // the session carries one family
			l.mu.Unlock()
			vips := l.agent.Status().VIPs
			if v := vips[i]; !v.Announced || v.Reason != desired.Announceable || v.How() != how {
				t.Errorf("VIP %+v is announced %s", v, v.How())
			}
			if v := vips[1-i]; v.Announced || v.Reason != NoSession {
				t.Errorf("without a session of its family: VIP %+v", v)
			}
		}
		l.change(desired.Snapshot{Services: []*corev1.Service{}})
		l.is("the last member", "speaker.Sync()", "tables.Sync()")
		if len(l.broken) > 0 {
			t.Error(l.broken)
		}
		l.stop()
	})
}

// What linkBandwidth auto tells is what the attached devices carry, as long as all that is known.
func TestLinkBandwidth(t *testing.T) {
	told := func(l *lab) uint64 { return l.offered("tor")["192.0.2.1"].Bandwidth }
	set := func(l *lab, device string, link system.Link) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.links == nil {
			l.links = map[string]system.Link{}
		}
		l.links[device] = link
	}
	start := func(l *lab) {
		l.cfg.Datapath.Interfaces = []string{"eth0", "eth1"}
		l.ifindex["eth1"] = 3
		l.cfg.BGP.Advertisements = []advertise.Entry{{Name: "all", LinkBandwidth: advertise.Bandwidth{Auto: true}}}
		l.start()
	}
	run(t, "links", func(t *testing.T, l *lab) {
		start(l)
		l.is("start", "load", syncWeb, "attach(eth0 auto)", "attach(eth1 auto)", "settle", "speaker.Sync(192.0.2.1)")
		for _, c := range []struct {
			what    string
			link    system.Link
			want    uint64
			warning string
		}{
			{"two of 10G", system.Link{Carrier: true, Speed: 10_000_000_000}, 2_500_000_000, ""},
			{"one of 2.5G", system.Link{Carrier: true, Speed: 2_500_000_000}, 1_562_500_000, ""},
			{"one without carrier", system.Link{Speed: 10_000_000_000}, 1_250_000_000, ""},
			{"one of unknown speed", system.Link{Carrier: true}, 0, "the speed of eth1 is not known"},
			{"one of unknown speed without carrier", system.Link{}, 1_250_000_000, ""},
		} {
			set(l, "eth1", c.link)
			time.Sleep(resync)
			synctest.Wait()
			l.took()
			warned := slices.ContainsFunc(l.agent.Status().Warnings, func(w string) bool { return strings.Contains(w, "linkBandwidth auto") })
			if got := told(l); got != c.want || warned != (c.warning != "") || warned && !strings.Contains(strings.Join(l.agent.Status().Warnings, "; "), c.warning) {
				t.Errorf("%s: %d bytes per second, want %d, warnings %q", c.what, got, c.want, l.agent.Status().Warnings)
			}
		}
		set(l, "eth0", system.Link{})
		time.Sleep(resync)
		synctest.Wait()
		if w := strings.Join(l.agent.Status().Warnings, "; "); told(l) != 0 || !strings.Contains(w, "no attached device has a carrier") {
			t.Errorf("without any: %d bytes per second, warnings %s", told(l), w)
		}
		l.stop()
	})
	run(t, "a device that is not attached", func(t *testing.T, l *lab) {
		l.failing("attach(eth1")
		start(l)
		if got := told(l); got != 1_250_000_000 {
			t.Errorf("%d bytes per second by eth0", got)
		}
		l.failing()
		time.Sleep(resync)
		synctest.Wait()
		if got := told(l); got != 2_500_000_000 {
			t.Errorf("%d bytes per second by eth0 and eth1", got)
		}
		l.stop()
	})
	run(t, "devices above one another", func(t *testing.T, l *lab) {
		l.devices = map[int]system.Device{3: {Name: "eth1", Lower: 2, VLAN: 7}}
		start(l)
		if got := told(l); got != 1_250_000_000 {
			t.Errorf("a VLAN and the device below it: %d bytes per second", got)
		}
		l.stop()
	})
	run(t, "two VLANs", func(t *testing.T, l *lab) {
		l.devices = map[int]system.Device{2: {Name: "eth0", Lower: 9, VLAN: 7}, 3: {Name: "eth1", Lower: 9, VLAN: 8}}
		start(l)
		if got := told(l); got != 1_250_000_000 {
			t.Errorf("%d bytes per second", got)
		}
		l.stop()
	})
	run(t, "a bond and its port", func(t *testing.T, l *lab) {
		l.devices = map[int]system.Device{3: {Name: "eth1", Bond: 2}}
		start(l)
		if got := told(l); got != 1_250_000_000 {
			t.Errorf("%d bytes per second", got)
		}
		l.stop()
	})
}
