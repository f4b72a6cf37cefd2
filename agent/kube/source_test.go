package kube

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/penstock-lb/penstock/test/kubetest"
)

// TestSource runs against one API server, which the last of its parts stops and starts.
func TestSource(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := kubetest.Start(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *kubetest.Server)
	}{
		{"sync", testSync},
		{"backend", testBackend},
		{"pods", testPods},
		{"reparenting", testReparenting},
		{"relist", testRelist},
		{"changes", testChanges},
		{"forbidden", testForbidden},
		{"token", testToken},
		{"token of a kubeconfig", testKubeconfigToken},
		{"loss", testLoss},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, server) })
	}
	server.Stop()
	goleak.VerifyNone(t, before)
}

func testSync(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "sync")
	_, err := server.Client.CoreV1().Services("sync").Create(ctx, serviceOf("sync", "web"), metav1.CreateOptions{})
	must(t, err)
	_, err = server.Client.DiscoveryV1().EndpointSlices("sync").Create(ctx, sliceOf("sync", "web", "web-1", "10.0.0.1"), metav1.CreateOptions{})
	must(t, err)
	start := time.Now()
	r, _ := read(t, server.Config, Options{})
	r.until(t, "first sync", r.synced)
	t.Log("first sync after", time.Since(start))
	r.whole(t)
	if got := fmt.Sprintln(r.addresses("sync/web"), r.resets, r.bundles["sync/web"].Namespace.Name); got != "[10.0.0.1] 1 sync\n" {
		t.Errorf("after the first sync: %s", got)
	}
	if d, _ := r.Delta(); d.Reset || d.NodesChanged || len(d.Bundles) != 0 {
		t.Errorf("without a change: %+v", d)
	}
	if link := r.client.Link(); !link.Connected || link.Since.Before(start) || link.Server != server.Config.Host || link.Error != "" {
		t.Errorf("link: %+v", link)
	}
	must(t, server.Client.CoreV1().Namespaces().Delete(ctx, "sync", metav1.DeleteOptions{}))
	must(t, server.Client.CoreV1().Services("sync").Delete(ctx, "web", metav1.DeleteOptions{}))
	must(t, server.Client.DiscoveryV1().EndpointSlices("sync").Delete(ctx, "web-1", metav1.DeleteOptions{}))
	r.until(t, "deleted", func() bool { return slices.Contains(r.gone, "sync/web") })
}

// testBackend checks that an ingress node knows its own endpoints and asks for nothing else.
func testBackend(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "backend")
	s := sliceOf("backend", "web", "web-1", "10.0.0.1", "10.0.0.2")
	s.Endpoints[1].NodeName = new("node2")
	for i := range s.Endpoints {
		s.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "backend", Name: "p"}
	}
	api := server.Client.DiscoveryV1().EndpointSlices("backend")
	s, err := api.Create(ctx, s, metav1.CreateOptions{})
	must(t, err)
	cfg, asked := rest.CopyConfig(server.Config), &requests{}
	cfg.Wrap(asked.transport)
	r, _ := read(t, cfg, Options{Role: roleBackend, Node: "node2", Hold: 100 * time.Millisecond})
	r.until(t, "its endpoint", func() bool { return slices.Equal(r.addresses("backend/web"), []string{"10.0.0.2"}) })
	s.Endpoints = s.Endpoints[:1]
	_, err = api.Update(ctx, s, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "the hold", func() bool { return slices.Equal(r.addresses("backend/web"), []string{"~10.0.0.2"}) })
	r.until(t, "nothing", func() bool { return slices.Contains(r.gone, "backend/web") })
	if got := asked.resources(); !slices.Equal(got, []string{"endpointslices", "nodes"}) {
		t.Errorf("an ingress node asks for %v", got)
	}
}

// requests notes what is asked for.
type requests struct {
	mu   sync.Mutex
	urls []*url.URL
	next http.RoundTripper
}

func (r *requests) transport(next http.RoundTripper) http.RoundTripper { r.next = next; return r }

func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.urls = append(r.urls, req.URL)
	r.mu.Unlock()
	return r.next.RoundTrip(req)
}

func (r *requests) WrappedRoundTripper() http.RoundTripper { return r.next }

// resources gives the last parts of all paths, each once.
func (r *requests) resources() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.urls {
		out = append(out, u.Path[strings.LastIndex(u.Path, "/")+1:])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *requests) count(path string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.urls {
		if u.Path == path {
			n++
		}
	}
	return n
}

func podOf(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"penstock.dev/weight": "3", "other": "x"}},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "c", Image: "i"}}, AutomountServiceAccountToken: new(false)},
	}
}

// testPods checks when pods are read.
func testPods(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "pods")
	pods, api := server.Client.CoreV1().Pods("pods"), server.Client.DiscoveryV1().EndpointSlices("pods")
	_, err := server.Client.CoreV1().Services("pods").Create(ctx, serviceOf("pods", "web"), metav1.CreateOptions{})
	must(t, err)
	s := sliceOf("pods", "web", "web-1", "10.0.0.1", "10.0.0.2")
	for i, name := range []string{"one", "two"} {
		s.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "pods", Name: name}
	}
	s, err = api.Create(ctx, s, metav1.CreateOptions{})
	must(t, err)
	other := s.DeepCopy() // of a Service that is not ours
	other.ObjectMeta = metav1.ObjectMeta{Name: "other-1", Labels: map[string]string{discoveryv1.LabelServiceName: "other"}}
	other.Endpoints[1].TargetRef.Name = "three"
	_, err = api.Create(ctx, other, metav1.CreateOptions{})
	must(t, err)
	_, err = pods.Create(ctx, podOf("one"), metav1.CreateOptions{})
	must(t, err)
	cfg, asked := rest.CopyConfig(server.Config), &requests{}
	cfg.Wrap(asked.transport)
	r, _ := read(t, cfg, Options{})
	known := func(names ...string) func() bool {
		return func() bool {
			got := []string{}
			for _, p := range r.bundles["pods/web"].Pods {
				got = append(got, p.Name)
			}
			return slices.Equal(got, names)
		}
	}
	r.until(t, "the pod that there is", known("one"))
	p := r.bundles["pods/web"].Pods[0]
	if diff := cmp.Diff(map[string]string{"penstock.dev/weight": "3"}, p.Annotations); diff != "" || len(p.Spec.Containers) != 0 {
		t.Errorf("the pod is not trimmed: %+v", p)
	}
	_, err = pods.Create(ctx, podOf("two"), metav1.CreateOptions{}) // its slice came first
	must(t, err)
	r.until(t, "the one that came late", known("one", "two"))

	for i := range 3 { // what is no news
		s.Annotations = map[string]string{"n": fmt.Sprint(i)}
		s, err = api.Update(ctx, s, metav1.UpdateOptions{})
		must(t, err)
	}
	n := asked.count("/api/v1/namespaces/pods/pods/one")
	live, err := pods.Get(ctx, "one", metav1.GetOptions{})
	must(t, err)
	live.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}}
	_, err = pods.UpdateStatus(ctx, live, metav1.UpdateOptions{})
	must(t, err)
	s.Endpoints[0].Conditions.Ready = new(false)
	s, err = api.Update(ctx, s, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "the pod as it became", func() bool {
		return r.take() && len(r.bundles["pods/web"].Pods[0].Status.Conditions) == 1
	})
	if got := asked.count("/api/v1/namespaces/pods/pods/one"); got != n+1 || n != 1 {
		t.Errorf("pod one was read %d times, and %d times after its conditions changed; once is enough", n, got-n)
	}
	if asked.count("/api/v1/namespaces/pods/pods/three") != 0 || slices.Contains(asked.resources(), "pods") {
		t.Error("pods are read that nobody needs")
	}
	r.whole(t)
	must(t, api.Delete(ctx, s.Name, metav1.DeleteOptions{}))
	r.until(t, "no pods", func() bool { return len(r.bundles["pods/web"].Pods) == 0 })
	if all, _ := r.Snapshot(); len(all.Pods) != 0 {
		t.Errorf("pods are kept that nothing needs: %v", all.Pods)
	}
}

// testReparenting moves an endpoint between two slices in two writes, as whoever writes
// slices may.
func testReparenting(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "parents")
	api := server.Client.DiscoveryV1().EndpointSlices("parents")
	_, err := server.Client.CoreV1().Services("parents").Create(ctx, serviceOf("parents", "web"), metav1.CreateOptions{})
	must(t, err)
	one, err := api.Create(ctx, sliceOf("parents", "web", "web-1", "10.0.0.1", "10.0.0.2"), metav1.CreateOptions{})
	must(t, err)
	r, _ := read(t, server.Config, Options{Hold: 30 * time.Second})
	r.until(t, "first sync", r.synced)
	one.Endpoints = one.Endpoints[1:]
	one, err = api.Update(ctx, one, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "the hold", func() bool {
		got := r.addresses("parents/web")
		if !slices.Contains(got, "10.0.0.1") && !slices.Contains(got, "~10.0.0.1") {
			t.Fatalf("the endpoint is lost: %v", got)
		}
		return slices.Equal(got, []string{"10.0.0.2", "~10.0.0.1"})
	})
	r.whole(t)
	_, err = api.Create(ctx, sliceOf("parents", "web", "web-2", "10.0.0.1"), metav1.CreateOptions{})
	must(t, err)
	r.until(t, "its new slice", func() bool { return slices.Equal(r.addresses("parents/web"), []string{"10.0.0.2", "10.0.0.1"}) })
	one.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	_, err = api.Update(ctx, one, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "terminating", func() bool {
		return *r.bundles["parents/web"].Slices[0].Endpoints[0].Conditions.Terminating
	})
	must(t, api.Delete(ctx, "web-1", metav1.DeleteOptions{}))
	r.until(t, "gone at once", func() bool { return slices.Equal(r.addresses("parents/web"), []string{"10.0.0.1"}) })
}

// outage lets a test end watches, and have the API server no longer know where they were.
type outage struct {
	next http.RoundTripper
	mu   sync.Mutex
	gone bool
	open []io.Closer
}

func (o *outage) transport(next http.RoundTripper) http.RoundTripper { o.next = next; return o }

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	watches := q.Get("watch") != ""
	o.mu.Lock()
	gone := o.gone
	o.mu.Unlock()
	if gone && watches && q.Get("sendInitialEvents") == "" {
		return &http.Response{
			StatusCode: http.StatusGone, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}`)),
		}, nil
	}
	resp, err := o.next.RoundTrip(r)
	if err == nil && watches {
		o.mu.Lock()
		o.open = append(o.open, resp.Body)
		o.mu.Unlock()
	}
	return resp, err
}

func (o *outage) WrappedRoundTripper() http.RoundTripper { return o.next }

// end closes all watches.
func (o *outage) end(gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = gone
	for _, c := range o.open {
		_ = c.Close()
	}
	o.open = nil
}

// testRelist checks that a relist says what changed meanwhile and nothing else.
func testRelist(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "relist")
	services, api := server.Client.CoreV1().Services("relist"), server.Client.DiscoveryV1().EndpointSlices("relist")
	for i := range 3 {
		name := fmt.Sprintf("web%d", i)
		_, err := services.Create(ctx, serviceOf("relist", name), metav1.CreateOptions{})
		must(t, err)
		_, err = api.Create(ctx, sliceOf("relist", name, name+"-1", "10.0.0.1"), metav1.CreateOptions{})
		must(t, err)
	}
	var o outage
	cfg := rest.CopyConfig(server.Config)
	cfg.Wrap(o.transport)
	r, _ := read(t, cfg, Options{Hold: time.Minute})
	r.until(t, "first sync", r.synced)
	r.take()
	kept := r.bundles["relist/web0"]

	o.end(true)
	must(t, services.Delete(ctx, "web1", metav1.DeleteOptions{}))
	must(t, api.Delete(ctx, "web1-1", metav1.DeleteOptions{}))
	must(t, api.Delete(ctx, "web2-1", metav1.DeleteOptions{})) // its endpoint moves
	_, err := api.Create(ctx, sliceOf("relist", "web2", "web2-2", "10.0.0.1", "10.0.0.2"), metav1.CreateOptions{})
	must(t, err)
	r.until(t, "what changed meanwhile", func() bool {
		for name := range map[string]bool{"relist/web0": true, "relist/web2": true} {
			if got := r.addresses(name); len(got) == 0 {
				t.Fatalf("%s has no endpoints for a moment", name)
			}
		}
		return slices.Equal(r.addresses("relist/web2"), []string{"10.0.0.1", "10.0.0.2"}) && slices.Contains(r.gone, "relist/web1")
	})
	o.end(false)
	if r.resets != 1 || !slices.Equal(r.gone, []string{"relist/web1"}) {
		t.Errorf("%d resets, gone: %v", r.resets, r.gone)
	}
	if now := r.bundles["relist/web0"]; now.Service != kept.Service || now.Slices[0] != kept.Slices[0] {
		t.Error("a relist makes objects of a Service anew that has not changed")
	}
	r.whole(t)
	if len(r.problems) != 0 || !r.client.Link().Connected {
		t.Errorf("problems %v, link %+v", r.problems, r.client.Link())
	}
}

// testChanges makes changes at random.
func testChanges(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "changes")
	core, api := server.Client.CoreV1(), server.Client.DiscoveryV1().EndpointSlices("changes")
	var o outage
	cfg := rest.CopyConfig(server.Config)
	cfg.Wrap(o.transport)
	r, _ := read(t, cfg, Options{Hold: 50 * time.Millisecond})
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	pick := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, rnd.IntN(n)) }
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	for i := range 200 {
		switch rnd.IntN(10) {
		case 0, 1:
			svc := serviceOf("changes", pick("svc", 3))
			_, _ = core.Services("changes").Create(ctx, svc, metav1.CreateOptions{})
		case 2:
			_ = core.Services("changes").Delete(ctx, pick("svc", 3), now)
		case 3, 4, 5:
			s := sliceOf("changes", pick("svc", 3), pick("slice", 4))
			for range rnd.IntN(4) {
				n := rnd.IntN(6)
				ep := sliceOf("", "", "", fmt.Sprintf("10.0.0.%d", n+1)).Endpoints[0]
				ep.Conditions.Ready = new(rnd.IntN(2) == 0)
				ep.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "changes", Name: fmt.Sprintf("pod%d", n)}
				s.Endpoints = append(s.Endpoints, ep)
			}
			if old, err := api.Get(ctx, s.Name, metav1.GetOptions{}); err == nil {
				s.ResourceVersion = old.ResourceVersion
				_, err = api.Update(ctx, s, metav1.UpdateOptions{})
				must(t, err)
				continue
			}
			_, err := api.Create(ctx, s, metav1.CreateOptions{})
			must(t, err)
		case 6:
			_ = api.Delete(ctx, pick("slice", 4), now)
		case 7:
			_, _ = core.Pods("changes").Create(ctx, podOf(pick("pod", 6)), metav1.CreateOptions{})
		case 8:
			_, _ = core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pick("changes", 3)}}, metav1.CreateOptions{})
		case 9:
			_ = core.Nodes().Delete(ctx, pick("changes", 3), now)
		}
		if i%60 == 59 {
			o.end(i%120 == 59)
		}
		r.take()
	}
	o.end(false)
	r.until(t, "all that the API server has", func() bool { return r.agrees(ctx, t, server, "changes") })
	r.whole(t)
}

// agrees compares a namespace, and all Nodes, with what the API server has.
func (r *reader) agrees(ctx context.Context, t *testing.T, server *kubetest.Server, namespace string) bool {
	t.Helper()
	trim := newTrimmer(Options{Role: roleLB})
	got, want := map[string]any{}, map[string]any{}
	services, err := server.Client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	must(t, err)
	for _, svc := range services.Items {
		want["service "+svc.Name] = trim.service(&svc)
	}
	list, err := server.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
	must(t, err)
	for _, s := range list.Items {
		want["slice "+s.Name] = trim.slice(&s)
	}
	nodes, err := server.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	must(t, err)
	for _, n := range nodes.Items {
		want["node "+n.Name] = trim.nodeObject(&n)
	}
	for name, b := range r.bundles {
		if !strings.HasPrefix(name, namespace+"/") {
			continue
		}
		if b.Service != nil {
			got["service "+b.Service.Name] = b.Service
		}
		for _, s := range b.Slices {
			got["slice "+s.Name] = s
		}
	}
	for _, n := range r.nodes {
		got["node "+n.Name] = n
	}
	return cmp.Equal(got, want, cmpopts.EquateEmpty())
}

// testForbidden takes away a verb, and gives it back.
func testForbidden(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "forbidden")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}
	_, err := server.Client.CoreV1().ServiceAccounts("forbidden").Create(ctx, account, metav1.CreateOptions{})
	must(t, err)
	verbs := []string{"list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes", "namespaces"}, Verbs: verbs},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: verbs},
	}}
	roles := server.Client.RbacV1().ClusterRoles()
	role, err = roles.Create(ctx, role, metav1.CreateOptions{})
	must(t, err)
	_, err = server.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "forbidden", Name: "reader"}},
	}, metav1.CreateOptions{})
	must(t, err)
	r, _ := read(t, server.As(ctx, t, "forbidden", "reader"), Options{})
	names := func(words ...string) func() bool {
		return func() bool {
			for _, p := range r.problems {
				if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.String(), w) }) {
					return true
				}
			}
			return false
		}
	}
	r.until(t, "a problem", names("Service", "forbids to list services", "the verb list on services", "rbac.yaml"))
	if r.synced() || r.resets != 0 {
		t.Error("it is synced without Services")
	}
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: verbs})
	role, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "sync", func() bool { return r.synced() && !names("list services")() && !names("watch services")() })

	_, err = server.Client.CoreV1().Services("forbidden").Create(ctx, serviceOf("forbidden", "web"), metav1.CreateOptions{})
	must(t, err)
	s := sliceOf("forbidden", "web", "web-1", "10.0.0.1")
	s.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "forbidden", Name: "p"}
	_, err = server.Client.DiscoveryV1().EndpointSlices("forbidden").Create(ctx, s, metav1.CreateOptions{})
	must(t, err)
	r.until(t, "a problem of pods", names("Pod", "forbids to get pods", "the verb get on pods"))
	if got := r.addresses("forbidden/web"); !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("without its pod an endpoint does not count: %v", got)
	}
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}})
	_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "no problem", func() bool { return len(r.problems) == 0 })
}

// testToken runs as a pod does, whose token is replaced.
func testToken(t *testing.T, server *kubetest.Server) {
	host, err := url.Parse(server.Config.Host)
	must(t, err)
	t.Setenv("KUBERNETES_SERVICE_HOST", host.Hostname())
	t.Setenv("KUBERNETES_SERVICE_PORT", host.Port())
	dir := t.TempDir()
	write := func(name string, text []byte) { must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600)) }
	write("ca.crt", server.Config.CAData)
	write("token", []byte("an old one"))
	cfg, err := restConfig(Options{accountFiles: dir})
	must(t, err)
	r, _ := read(t, cfg, Options{})
	r.until(t, "a problem", func() bool {
		return len(r.problems) > 0 && strings.Contains(r.problems[0].Message, "does not accept this agent's credentials")
	})
	write("token", []byte(server.Config.BearerToken))
	r.until(t, "sync", func() bool { return r.synced() && len(r.problems) == 0 })
}

// testKubeconfigToken runs with a kubeconfig that is replaced, for a while by one of no use.
func testKubeconfigToken(t *testing.T, server *kubetest.Server) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	of := func(token string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "%s", certificate-authority-data: %s}}], users: [{name: u, user: {token: "%s"}}]}`,
			server.Config.Host, base64.StdEncoding.EncodeToString(server.Config.CAData), token)
	}
	write(of("an old one"))
	cfg, err := restConfig(Options{Kubeconfig: file})
	must(t, err)
	r, _ := read(t, cfg, Options{})
	refused := func() bool {
		return len(r.problems) > 0 && strings.Contains(r.problems[0].Message, "does not accept this agent's credentials")
	}
	r.until(t, "a problem", refused)
	write("{")
	r.until(t, "the same problem", refused)
	write(of(server.Config.BearerToken))
	r.until(t, "sync", func() bool { return r.synced() && len(r.problems) == 0 })
}

// testLoss stops the API server for a while.
func testLoss(t *testing.T, server *kubetest.Server) {
	ctx := t.Context()
	namespace(t, server, "loss")
	_, err := server.Client.CoreV1().Services("loss").Create(ctx, serviceOf("loss", "web"), metav1.CreateOptions{})
	must(t, err)
	api := server.Client.DiscoveryV1().EndpointSlices("loss")
	s, err := api.Create(ctx, sliceOf("loss", "web", "web-1", "10.0.0.1"), metav1.CreateOptions{})
	must(t, err)
	r, _ := read(t, server.Config, Options{Hold: 50 * time.Millisecond})
	r.until(t, "first sync", r.synced)
	r.take()
	before, _ := r.Snapshot()
	up := r.client.Link().Since

	stopped := time.Now()
	server.Stop()
	for r.client.Link().Connected {
		time.Sleep(10 * time.Millisecond)
	}
	lost := r.client.Link()
	if lost.Since.Before(stopped) || lost.Error == "" || !lost.Since.After(up) {
		t.Errorf("link: %+v", lost)
	}
	if lone, stop := read(t, server.Config, Options{}); !lone.synced() {
		for lone.client.Link().Error == "it has not been asked yet" {
			time.Sleep(10 * time.Millisecond)
		}
		start := time.Now()
		stop()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("a source without a server took %v to end", took)
		}
	} else {
		t.Error("a source without a server is synced")
	}
	r.take()
	after, _ := r.Snapshot()
	if diff := cmp.Diff(before, after); diff != "" || len(r.gone) != 0 || !r.client.Link().Since.Equal(lost.Since) {
		t.Errorf("a stopped server changes something: %s%v", diff, r.gone)
	}
	restarted := time.Now()
	server.Restart(t)
	s.Endpoints[0].Addresses[0] = "10.0.0.2"
	s.Endpoints = append(s.Endpoints, sliceOf("loss", "web", "web-1", "10.0.0.1").Endpoints...)
	_, err = api.Update(ctx, s, metav1.UpdateOptions{})
	must(t, err)
	r.until(t, "a change after the loss", func() bool { return len(r.addresses("loss/web")) == 2 })
	t.Log("the change after the loss came", time.Since(restarted), "after the server began to start")
	r.whole(t)
	if link := r.client.Link(); !link.Connected || link.Since.Before(restarted) || link.Error != "" {
		t.Errorf("link: %+v", link)
	}
	if r.resets != 1 || slices.ContainsFunc(r.gone, func(name string) bool { return strings.HasPrefix(name, "loss/") }) {
		t.Errorf("%d resets, gone %v", r.resets, r.gone)
	}
}
