package kube

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/kubetest"
)

// system is where the agents' objects are.
const system = "penstock-system"

const agentsYAML = `{apiVersion: v1, kind: Node, metadata: {name: lb1, annotations: {penstock.dev/backend: old, other: x}}}
---
{apiVersion: v1, kind: Node, metadata: {name: lb2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: lb, namespace: penstock-system}, spec: {serviceAccountName: penstock-lb, nodeName: lb1, containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: backend, namespace: penstock-system}, spec: {serviceAccountName: penstock-backend, nodeName: lb1, containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default, labels: {a: b}}, spec: {type: LoadBalancer, ports: [{port: 80}]}}
`

// write is a patch of an agent, and what the API server makes of it: "" is nothing against it.
type write struct {
	name     string
	as       string // lb, backend, lb's account with a token of no Pod (node: of Node lb1; unbound), kubelet of lb1
	resource string // nodes/lb1, nodes/lb1/status …
	patch    string
	refused  string
}

var writes = []write{
	{"own annotation", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"{}"}}}`, ""},
	{"own annotation changed", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"{1}"}}}`, ""},
	{"own annotation removed", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":null}}}`, ""},
	{"own annotation of a Node without any", "backend", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/backend":"{}"}}}`, ""},
	{"by a Node's token", "node", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"{2}"}}}`, ""},
	{"another node's by a Node's token", "node", "nodes/lb2", `{"metadata":{"annotations":{"penstock.dev/lb":"{}"}}}`, "its token is bound to Node lb1"},
	{"another node's", "lb", "nodes/lb2", `{"metadata":{"annotations":{"penstock.dev/lb":"{}"}}}`, "its token is bound to Node lb1"},
	{"no node's token", "unbound", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"{}"}}}`, "its token is bound to none"},
	{"the other role's annotation", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/backend":"forged"}}}`, "may write penstock.dev/lb only"},
	{"the other role's annotation removed", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/backend":null}}}`, "may write penstock.dev/lb only"},
	{"lb's annotation", "backend", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"{}"}}}`, "may write penstock.dev/backend only"},
	{"an operator's annotation", "lb", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/role":"lb"}}}`, "may write penstock.dev/lb only"},
	{"a foreign annotation removed", "lb", "nodes/lb1", `{"metadata":{"annotations":{"other":null}}}`, "may write penstock.dev/lb only"},
	{"a label", "lb", "nodes/lb1", `{"metadata":{"labels":{"a":"b"}}}`, "an annotation of its Node and nothing else"},
	{"a finalizer", "lb", "nodes/lb1", `{"metadata":{"finalizers":["a/b"]}}`, "an annotation of its Node and nothing else"},
	{"a taint", "backend", "nodes/lb1", `{"spec":{"taints":[{"key":"a","effect":"NoExecute"}]}}`, "an annotation of its Node and nothing else"},
	{"cordon", "lb", "nodes/lb1", `{"spec":{"unschedulable":true}}`, "an annotation of its Node and nothing else"},
	{"a Node's status", "lb", "nodes/lb1/status", `{"status":{"phase":"x"}}`, "cannot patch resource"},
	{"a Service's address", "lb", "services/web/status", `{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.1"}]}}}`, ""},
	{"our condition", "lb", "services/web/status", `{"status":{"conditions":[{"type":"penstock.dev/Allocated","status":"True","reason":"A","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, ""},
	{"another's condition", "lb", "services/web/status", `{"status":{"conditions":[{"type":"a.io/B","status":"True","reason":"A","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, "penstock.dev/Allocated only"},
	{"a Service's annotation by its status", "lb", "services/web/status", `{"metadata":{"annotations":{"a":"b"}}}`, "the status of a Service and nothing else"},
	{"a Service's label by its status", "lb", "services/web/status", `{"metadata":{"labels":{"a":"c"}}}`, "the status of a Service and nothing else"},
	{"a Service", "lb", "services/web", `{"metadata":{"annotations":{"a":"b"}}}`, "cannot patch resource"},
	{"a kubelet's own", "kubelet", "nodes/lb1", `{"metadata":{"annotations":{"a.io/b":"c"}}}`, ""},
	{"a kubelet's status", "kubelet", "nodes/lb1/status", `{"status":{"phase":"Running"}}`, ""},
	{"ours by a kubelet", "kubelet", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/lb":"forged"}}}`, "not for kubelets"},
	{"ours by a kubelet with its status", "kubelet", "nodes/lb1/status", `{"metadata":{"annotations":{"penstock.dev/lb":"forged"}}}`, "not for kubelets"},
	{"ours removed by a kubelet", "kubelet", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/backend":null}}}`, "not for kubelets"},
	{"an operator's annotation by a kubelet", "kubelet", "nodes/lb1", `{"metadata":{"annotations":{"penstock.dev/role":"lb"}}}`, "not for kubelets"},
	{"a Service's status by an ingress node", "backend", "services/web/status", `{"status":{"loadBalancer":{}}}`, "cannot patch resource"},
}

// TestAdmission is what the accounts may write, and what not.
func TestAdmission(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := kubetest.Start(t, "-controllers", kubetest.Controllers)
	s.Deploy(t)
	s.Apply(t, agentsYAML)
	clients := map[string]kubernetes.Interface{
		"lb":      kubernetes.NewForConfigOrDie(s.AsPod(ctx, t, system, "penstock-lb", "lb")),
		"backend": kubernetes.NewForConfigOrDie(s.AsPod(ctx, t, system, "penstock-backend", "backend")),
		"node":    kubernetes.NewForConfigOrDie(s.AsNode(ctx, t, system, "penstock-lb", "lb1")),
		"kubelet": kubernetes.NewForConfigOrDie(kubelet(s, "lb1")),
		"unbound": kubernetes.NewForConfigOrDie(s.As(ctx, t, system, "penstock-lb")),
	}
	try := func(w write, opts metav1.PatchOptions) error {
		kind, rest, _ := strings.Cut(w.resource, "/")
		name, sub, _ := strings.Cut(rest, "/")
		r := clients[w.as].CoreV1().RESTClient().Patch(types.MergePatchType).Resource(kind).Name(name)
		if kind == "services" {
			r = r.Namespace(metav1.NamespaceDefault)
		}
		if sub != "" {
			r = r.SubResource(sub)
		}
		return r.VersionedParams(&opts, metav1.ParameterCodec).Body([]byte(w.patch)).Do(ctx).Error()
	}
	// Policies come into force a moment after they are created, each for itself.
	for _, w := range writes {
		if w.name == "a label" || w.name == "another's condition" || w.name == "ours by a kubelet" {
			fixture.Wait(t, 30*time.Second, "a policy to refuse "+w.name, func() error {
				if err := try(w, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
					return errors.New("it is allowed")
				}
				return nil
			})
		}
	}
	for _, w := range writes {
		t.Run(w.name, func(t *testing.T) {
			switch err := try(w, metav1.PatchOptions{}); {
			case w.refused == "" && err != nil:
				t.Error(err)
			case w.refused != "" && (err == nil || !strings.Contains(err.Error(), w.refused)):
				t.Errorf("refused with %v, want %q", err, w.refused)
			}
		})
	}
}

// TestKubeletRegisters is about the Node objects that kubelets make.
func TestKubeletRegisters(t *testing.T) {
	s := kubetest.Start(t)
	policies, err := os.ReadFile("../../deploy/kubernetes/admission.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(t, string(policies))
	nodes := kubernetes.NewForConfigOrDie(kubelet(s, "new")).CoreV1().Nodes()
	forged := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "new", Annotations: map[string]string{"penstock.dev/lb": "{}"}}}
	fixture.Wait(t, 30*time.Second, "a forged Node to be refused", func() error {
		_, err := nodes.Create(t.Context(), forged, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil:
			return errors.New("it is allowed")
		case !strings.Contains(err.Error(), "not for kubelets"):
			return err
		}
		return nil
	})
	forged.Annotations = map[string]string{"a.io/b": "c"}
	if _, err := nodes.Create(t.Context(), forged, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// kubelet is a configuration that the API server takes for a Node's kubelet.
func kubelet(s *kubetest.Server, node string) *rest.Config {
	cfg := rest.CopyConfig(s.Config)
	cfg.Impersonate = rest.ImpersonationConfig{
		UserName: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"},
	}
	return cfg
}
