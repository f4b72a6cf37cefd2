package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/test/kubetest"
)

const testNamespace = "penstock-system"

// wire is what goes to the API server from one agent, and where a test gets hold of it.
type wire struct {
	next http.RoundTripper

	mu     sync.Mutex
	dead   bool                     // nothing gets through
	stop   func(*http.Request) bool // which requests are held, in the order of their coming
	fail   func(*http.Request) bool // which requests do not get through
	held   chan func()              // lets one go on
	counts map[string]int           // by verb and resource
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	dead, stop, fail, next := w.dead, w.stop, w.fail, w.next
	w.mu.Unlock()
	if fail != nil && fail(r) {
		w.mu.Lock()
		w.counts["refused"]++
		w.mu.Unlock()
		return nil, fmt.Errorf("the test refuses this request")
	}
	if dead {
		return nil, fmt.Errorf("the test has cut this agent off")
	}
	if stop != nil && stop(r) {
		// What stands still here is the process: its context is not heard of meanwhile,
		// and when it wakes up the request goes out before anything else.
		goOn := make(chan struct{})
		w.held <- func() { close(goOn) }
		<-goOn
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	w.mu.Lock()
	w.counts[r.Method+" "+kindOf(r.URL.Path)]++
	w.mu.Unlock()
	return next.RoundTrip(r)
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
}

func (w *wire) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[what]
}

// kindOf is the resource that a path is of, with its subresource; of Leases, the one.
func kindOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		switch {
		case p == "leases" && i+1 < len(parts):
			return parts[i+1]
		case p == "services" || p == "events" || p == "nodes" || p == "leases":
			if i+2 < len(parts) {
				return p + "/" + parts[i+2]
			}
			return p
		}
	}
	return path
}

// agentOf connects an agent with a configuration of its own.
func agentOf(t testing.TB, cfg *rest.Config) (kubernetes.Interface, *wire) {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	w := &wire{held: make(chan func(), 1), counts: map[string]int{}}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { w.next = next; return w })
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return set, w
}

// informerCache is a ServiceCache as simple as can be.
type informerCache struct {
	factory  informers.SharedInformerFactory
	services cache.SharedIndexInformer
	spaces   cache.SharedIndexInformer
}

func newInformerCache(t testing.TB, set kubernetes.Interface) *informerCache {
	f := informers.NewSharedInformerFactory(set, 0)
	c := &informerCache{factory: f, services: f.Core().V1().Services().Informer(), spaces: f.Core().V1().Namespaces().Informer()}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); f.Shutdown() })
	time.AfterFunc(0, func() { f.Start(ctx.Done()) })
	return c
}

func (c *informerCache) OnService(f func(string)) {
	call := func(o any) {
		if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			f(name)
		}
	}
	space := func(o any) {
		for _, s := range c.services.GetStore().List() {
			if svc := s.(*corev1.Service); svc.Namespace == o.(*corev1.Namespace).Name {
				call(svc)
			}
		}
	}
	c.services.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: call, DeleteFunc: call, UpdateFunc: func(_, o any) { call(o) }})
	c.spaces.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: space, UpdateFunc: func(_, o any) { space(o) }})
}

func (c *informerCache) Service(name string) (*corev1.Service, *corev1.Namespace) {
	o, ok, _ := c.services.GetStore().GetByKey(name)
	if !ok {
		return nil, nil
	}
	svc := o.(*corev1.Service)
	return svc, c.Namespace(svc.Namespace)
}

func (c *informerCache) Namespace(name string) *corev1.Namespace {
	o, ok, _ := c.spaces.GetStore().GetByKey(name)
	if !ok {
		return nil
	}
	return o.(*corev1.Namespace)
}

func (c *informerCache) EachService(f func(*corev1.Service)) {
	for _, o := range c.services.GetStore().List() {
		f(o.(*corev1.Service))
	}
}

func (c *informerCache) WaitSynced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), c.services.HasSynced, c.spaces.HasSynced)
}

// cluster is an API server with what deploy/kubernetes has.
type cluster struct {
	*kubetest.Server
	lb *rest.Config
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	s := kubetest.Start(t)
	s.Deploy(t)
	return &cluster{s, s.As(t.Context(), t, testNamespace, "penstock-lb")}
}

func always() bool { return true }

// controller runs one, and returns what ends it and waits for its end.
func (c *cluster) controller(t testing.TB, name string, pools ...ipam.Pool) (*Controller, *wire, func()) {
	t.Helper()
	set, w := agentOf(t, c.lb)
	ctl := newController(set, always, newInformerCache(t, set), ControllerOptions{
		Identity: name, Namespace: testNamespace, Pools: pools,
		LeaseDuration: 1500 * time.Millisecond, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
	}, testLog(t, name))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: Run: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s does not end", name)
		}
	})
	t.Cleanup(end)
	return ctl, w, end
}

// runs runs a part until the test ends.
func (c *cluster) runs(t testing.TB, what string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: Run: %v", what, err)
		}
	})
}

// labelled chooses by one label.
type labelled string

func (l labelled) Matches(labels map[string]string) bool {
	key, value, _ := strings.Cut(string(l), "=")
	return labels[key] == value
}

func (l labelled) String() string { return string(l) }

// service makes one of type LoadBalancer and our class; edit may be nil.
func (c *cluster) service(t testing.TB, name string, edit func(*corev1.Service)) *corev1.Service {
	t.Helper()
	class := desired.Class
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class,
			AllocateLoadBalancerNodePorts: new(bool),
			Ports:                         []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	if edit != nil {
		edit(svc)
	}
	out, err := c.Client.CoreV1().Services(svc.Namespace).Create(t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
	}
	return out
}

func (c *cluster) get(t testing.TB, name string) *corev1.Service {
	t.Helper()
	svc, err := c.Client.CoreV1().Services("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// edit changes a Service as a user does.
func (c *cluster) edit(t testing.TB, name string, change func(*corev1.Service)) {
	t.Helper()
	eventually(t, "edit of "+name, func() error {
		svc := c.get(t, name)
		change(svc)
		_, err := c.Client.CoreV1().Services("default").Update(t.Context(), svc, metav1.UpdateOptions{})
		return err
	})
}

// state is what a Service's status says in a line: addresses, reason.
func state(svc *corev1.Service) string {
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		text := in.IP + in.Hostname
		if in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeVIP {
			text += " without ipMode VIP"
		}
		out = append(out, text)
	}
	reason := "no condition"
	if cond := findCondition(svc.Status.Conditions); cond != nil {
		reason = string(cond.Status) + " " + cond.Reason
	}
	return strings.Join(append(out, reason), ", ")
}

// becomes waits until a Service's state is want.
func (c *cluster) becomes(t testing.TB, name, want string) {
	t.Helper()
	eventually(t, "status of "+name, func() error {
		svc := c.get(t, name)
		if got := state(svc); got != want {
			return fmt.Errorf("it is %q, want %q (%v)", got, want, findCondition(svc.Status.Conditions))
		}
		return nil
	})
}

// events gives what kubectl would show of a Service's Events.
func (c *cluster) events(t testing.TB, service string) (out []corev1.Event) {
	t.Helper()
	list, err := c.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Source.Component == component && (service == "" || e.InvolvedObject.Name == service) {
			out = append(out, e)
		}
	}
	return out
}

// has waits for an Event of a Service.
func (c *cluster) has(t testing.TB, service, kind, reason, part string) (found corev1.Event) {
	t.Helper()
	eventually(t, fmt.Sprintf("event %s of %s", reason, service), func() error {
		all := c.events(t, service)
		for _, e := range all {
			if e.Type == kind && e.Reason == reason && strings.Contains(e.Message, part) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("no %s %s with %q among %s", kind, reason, part, eventLines(all))
	})
	return found
}

func eventLines(all []corev1.Event) string {
	var out []string
	for _, e := range all {
		out = append(out, fmt.Sprintf("\n  %s %s x%d %s", e.Type, e.Reason, e.Count, e.Message))
	}
	return strings.Join(out, "")
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func pool(name string, prefixes ...string) ipam.Pool {
	p := ipam.Pool{Name: name, AutoAssign: true}
	for _, text := range prefixes {
		p.Ranges = append(p.Ranges, ipam.RangeOf(netip.MustParsePrefix(text)))
	}
	return p
}

// testLog logs to the test, until it ends.
func testLog(t testing.TB, name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})).With("agent", name)
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if w.Context().Err() == nil {
		w.Logf("%s", strings.TrimSpace(string(p)))
	}
	return len(p), nil
}
