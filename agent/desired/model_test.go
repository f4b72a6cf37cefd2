package desired_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

// A Model that was told of changes knows what one knows that was told of everything, and
// it says of whatever is another that it may be.
func TestModelFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := desired.NewModel()
		site, at := drawSite(t), now
		s := drawSnapshot(t)
		m.Apply(desired.Whole(s), site, at)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			before := s
			was := desired.From(s, site, at)
			if rapid.Bool().Draw(t, "another site") {
				site = drawSite(t)
			}
			if rapid.Bool().Draw(t, "another policy") {
				site.Advertised = drawPolicy(t)
			}
			at = at.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
			s = edited(t, s)
			change := m.Apply(delta(before, s, rapid.Bool().Draw(t, "reset")), site, at)
			is := desired.From(s, site, at)
			if diff := cmp.Diff(is, m.State(), compareStates); diff != "" {
				t.Fatalf("the model (-told of all +told of changes):\n%s", diff)
			}
			checkChange(t, m, was, is, change)
		}
	})
}

// edited replaces some of the objects.
func edited(t *rapid.T, s desired.Snapshot) desired.Snapshot {
	o := drawSnapshot(t)
	s.Services = mixed(t, "service", s.Services, o.Services, func(a, b *corev1.Service) bool { return a.Name == b.Name })
	s.Slices = mixed(t, "slice", s.Slices, o.Slices, func(a, b *discoveryv1.EndpointSlice) bool { return a.Name == b.Name })
	s.Pods = mixed(t, "pod", s.Pods, o.Pods, func(a, b *corev1.Pod) bool { return a.Name == b.Name })
	if rapid.IntRange(0, 3).Draw(t, "nodes") == 0 {
		s.Nodes = o.Nodes
	}
	return s
}

// mixed keeps most of the old objects and takes a few of the new ones.
func mixed[T any](t *rapid.T, kind string, old, fresh []T, same func(a, b T) bool) (out []T) {
	for _, o := range old {
		if rapid.IntRange(0, 5).Draw(t, kind+" goes") > 0 {
			out = append(out, o)
		}
	}
	for _, f := range fresh {
		if rapid.IntRange(0, 2).Draw(t, kind+" comes") > 0 {
			continue
		}
		out = append(slices.DeleteFunc(out, func(o T) bool { return same(o, f) }), f)
	}
	return out
}

// delta is what a source would say.
func delta(before, after desired.Snapshot, reset bool) desired.Delta {
	d := desired.Whole(after)
	if reset {
		return d
	}
	d.Reset = false
	for name := range desired.Whole(before).Bundles {
		if _, still := d.Bundles[name]; !still {
			d.Bundles[name] = desired.Bundle{}
		}
	}
	return d
}

func checkChange(t *rapid.T, m *desired.Model, was, is desired.State, change desired.Change) {
	text := func(v desired.VIP) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	vips := func(s desired.State) map[string]string {
		out := map[string]string{}
		for _, v := range s.VIPs {
			out[v.Addr.String()] = text(v)
		}
		return out
	}
	noted := map[string]bool{}
	for a := range change.VIPs {
		noted[a.String()] = true
		v, has := m.VIP(a)
		if want := vips(is)[a.String()]; has != (want != "") || has && want != text(v) {
			t.Errorf("VIP %s is %s in the model, %s in the state", a, text(v), want)
		}
	}
	for _, pair := range [][2]desired.State{{was, is}, {is, was}} {
		other := vips(pair[1])
		for addr, v := range vips(pair[0]) {
			if other[addr] != v && !noted[addr] {
				t.Errorf("VIP %s changed from %s to %s unnoticed", addr, v, other[addr])
			}
		}
	}
	tables := func(s desired.State) map[string][]maps.Service {
		out := map[string][]maps.Service{}
		for _, svc := range s.Services {
			name := desired.ServiceOf(svc.Name)
			out[name] = append(out[name], svc)
		}
		return out
	}
	a, b := tables(was), tables(is)
	for _, name := range []string{"default/s0", "default/s1", "default/s2", "default/s3"} {
		if diff := cmp.Diff(b[name], m.Tables(name), compareStates); diff != "" {
			t.Errorf("tables of %s (-state +model):\n%s", name, diff)
		}
		if diff := cmp.Diff(a[name], b[name], compareStates); diff != "" && !change.Services[name] {
			t.Errorf("%s changed unnoticed:\n%s", name, diff)
		}
	}
	if diff := cmp.Diff([]any{was.Members, was.Nodes, was.Sources, was.Problems}, []any{is.Members, is.Nodes, is.Sources, is.Problems}, compareStates); diff != "" && !change.Fabric {
		t.Errorf("the fabric changed unnoticed:\n%s", diff)
	}
}
