package cluster

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// fakeSource says what it is given.
type fakeSource struct {
	mu      sync.Mutex
	delta   desired.Delta
	synced  bool
	changed chan struct{}
}

func (f *fakeSource) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeSource) Changed() <-chan struct{}      { return f.changed }
func (f *fakeSource) Delta() (desired.Delta, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.delta
	f.delta = desired.Delta{}
	return d, f.synced
}

func (f *fakeSource) say(d desired.Delta) {
	f.mu.Lock()
	f.delta, f.synced = d, true
	f.mu.Unlock()
	f.changed <- struct{}{}
}

// start runs a Copy until the test ends, or stop is called.
func start(t *testing.T, file string) (c *Copy, inner *fakeSource, stop func()) {
	inner = &fakeSource{changed: make(chan struct{}, 1)}
	c = NewCopy(inner, file, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return c, inner, stop
}

func snapshot(addresses ...string) desired.Snapshot {
	web := metav1.ObjectMeta{Namespace: "default", Name: "web"}
	s := desired.Snapshot{
		Services:   []*corev1.Service{{ObjectMeta: web, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}},
		Nodes:      []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "lb1", Annotations: map[string]string{desired.RoleAnnotation: "lb"}}}},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "web"}}}},
	}
	for _, a := range addresses {
		addr := netip.MustParseAddr(a)
		s.Services[0].Status.LoadBalancer.Ingress = append(s.Services[0].Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		slice := &discoveryv1.EndpointSlice{ObjectMeta: web, AddressType: discoveryv1.AddressTypeIPv4}
		if slice.Name = "web-4"; addr.Is6() {
			slice.Name, slice.AddressType = "web-6", discoveryv1.AddressTypeIPv6
		}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{a}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"}}}
		s.Slices = append(s.Slices, slice)
	}
	s.Pods = []*corev1.Pod{{ObjectMeta: web}}
	s.Pods[0].Name = "p"
	return s
}

var compare = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(desired.Delta{}, "Problems")}

func TestCopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "objects.json")
	first := snapshot("192.0.2.1", "2001:db8::1")
	synctest.Test(t, func(t *testing.T) {
		c, inner, stop := start(t, file)
		inner.say(desired.Whole(first))
		<-c.Changed()
		if d, synced := c.Delta(); !synced || !d.Reset {
			t.Fatalf("delta %+v, synced %v", d, synced)
		}
		held := first.Slices[0].DeepCopy()
		held.Name = "~000-web-4"
		b := desired.Whole(first).Bundles["default/web"]
		b.Slices = append(b.Slices, held)
		inner.say(desired.Delta{Bundles: map[string]desired.Bundle{"default/web": b, "default/gone": {}}})
		c.Delta()
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		stop()
	})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the copy: %v, %v", info, err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, inner, _ := start(t, file)
		time.Sleep(patience - time.Second)
		if d, synced := c.Delta(); synced {
			t.Errorf("before the API server had time to answer: %+v", d)
		}
		<-c.Changed()
		d, synced := c.Delta()
		if diff := cmp.Diff(desired.Whole(first), d, compare); !synced || diff != "" {
			t.Errorf("from the copy, synced %v (-want +got):\n%s", synced, diff)
		}
		if len(d.Problems) != 1 || !strings.Contains(d.Problems[0].String(), file) {
			t.Errorf("problems %v", d.Problems)
		}
		if d, synced := c.Delta(); !synced || d.Reset || len(d.Bundles) > 0 || len(d.Problems) != 1 {
			t.Errorf("the second time: %+v, synced %v", d, synced)
		}
		next := snapshot("192.0.2.2")
		inner.say(desired.Whole(next))
		<-c.Changed()
		if d, _ := c.Delta(); !d.Reset || len(d.Problems) > 0 || cmp.Diff(desired.Whole(next), d, compare) != "" {
			t.Errorf("once the API server answers: %+v", d)
		}
	})
}

func TestCopyOfNoUse(t *testing.T) {
	for name, text := range map[string]string{
		"none":       "",
		"garbage":    "{",
		"of another": `{"version": 2}`,
		"old":        `{"version": 1, "saved": "1999-12-30T00:00:00Z"}`,
		"cut off":    `{"version": 1, "saved": "2000-01-01T00:00:00Z", "objects": 2}` + "\n" + `{"node": {}}` + "\n" + `{"no`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "objects.json")
			if text != "" {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) { // whose clock begins in 2000
				c, inner, _ := start(t, file)
				time.Sleep(3 * patience)
				if d, synced := c.Delta(); synced {
					t.Errorf("synced, with %+v", d)
				}
				inner.say(desired.Whole(snapshot("192.0.2.1")))
				<-c.Changed()
				if _, synced := c.Delta(); !synced {
					t.Error("not synced once the API server answers")
				}
			})
		})
	}
}
