package agent

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// Two Services share a VIP. That it is announced when one of them gets an endpoint is told
// of both.
func TestSharersAreToldOfTheirVIP(t *testing.T) {
	run(t, "", func(t *testing.T, l *lab) {
		shared := func(ready bool) desired.Snapshot {
			a, b := objects("a", "192.0.2.1", false), objects("b", "192.0.2.1", ready)
			b.Services[0].Spec.Ports[0].Port = 81
			a.Services, a.Slices = append(a.Services, b.Services...), append(a.Slices, b.Slices...)
			return a
		}
		l.snapshot = shared(false)
		cluster := &fakeCluster{told: map[string]kube.ServiceReport{}}
		l.cluster, l.families = cluster, []bgp.FamilyState{{Family: bgp.IPv4}}
		l.start()
		l.took()
		next := shared(true)
		next.Services, next.Slices[0] = l.snapshot.Services, l.snapshot.Slices[0]
		l.change(next)
		if want, _ := l.lastWant(); !want.Partial {
			t.Errorf("the tables were asked for all of %+v", want)
		}
		if got, _ := cluster.of("default/a"); got != "192.0.2.1 announced to tor; NoUsableEndpoints" {
			t.Errorf("of the other Service the cluster knows %q", got)
		}
		l.stop()
	})
}

// A change of nodes alone, by which tunnel packets get another source, is for all next hops.
func TestFollowSeesOtherSources(t *testing.T) {
	w := newWorld()
	r := w.reconciler()
	one := desired.State{Sources: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	other := desired.State{Sources: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}
	r.apply(t.Context(), one, attachOK)
	for _, c := range []struct {
		fabric desired.State
		want   bool
	}{{one, true}, {other, false}, {desired.State{}, false}} {
		p := part{fabric: c.fabric, vips: map[netip.Addr]desired.VIP{}, services: []maps.Service{}}
		if _, enough := r.follow(t.Context(), p, block{}, attachOK); enough != c.want {
			t.Errorf("sources %v: to follow is enough: %v, want %v", c.fabric.Sources, enough, c.want)
		}
	}
}
