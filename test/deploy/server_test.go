package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/kube/rollout"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/kubetest"
)

// controllers have nothing that acts on DaemonSets: no pods are made.
const controllers = kubetest.Controllers

// prometheusOperator has the kinds of monitors and alerts.
const prometheusOperator = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

// TestServer has a real API server judge what the chart makes.
func TestServer(t *testing.T) {
	s := kubetest.Start(t, "-controllers", controllers)
	s.Kubectl(t, "", "create", "namespace", namespace, "--save-config")

	crds := filepath.Join(kubetest.ModuleDir(t, prometheusOperator), "example/prometheus-operator-crd")
	for _, kind := range []string{"podmonitors", "servicemonitors", "prometheusrules"} {
		s.Kubectl(t, "", "apply", "--server-side", "-f", filepath.Join(crds, "monitoring.coreos.com_"+kind+".yaml"))
	}
	s.Kubectl(t, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

	t.Run("strict", func(t *testing.T) {
		// A Pod by itself is refused where its account is not there yet, and a dry run makes none.
		s.Kubectl(t, "", "create", "serviceaccount", "penstock-check", "-n", namespace, "--save-config")
		defer s.Kubectl(t, "", "delete", "serviceaccount", "penstock-check", "-n", namespace)
		for name, values := range sites {
			t.Run(name, func(t *testing.T) {
				out, err := Template(t, namespace, values)
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if out, err := s.TryKubectl(out, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	})
	t.Run("check", func(t *testing.T) { check(t, s) })
	t.Run("life", func(t *testing.T) { life(t, s) })
	t.Run("hooks", func(t *testing.T) { hooks(t, s) })
}

// check has the account of `helm test` look at agents: what it may do is enough.
func check(t *testing.T, s *kubetest.Server) {
	out, err := Template(t, namespace, seeded)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	all := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(all, []byte(withoutKind(out, "Pod", "Job")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Kubectl(t, "", "apply", "-f", all)
	client, err := kubernetes.NewForConfig(s.As(t.Context(), t, namespace, "penstock-check"))
	if err != nil {
		t.Fatal(err)
	}
	fixture.Wait(t, 10*time.Second, "the account to see what is missing", func() error {
		r, err := rollout.Read(t.Context(), client, namespace)
		if want := "DaemonSet penstock-lb has changed"; err == nil && !strings.Contains(fmt.Sprint(r.Problems), want) {
			return fmt.Errorf("it sees %q", r.Problems)
		}
		return err // rights take a moment
	})
	s.Kubectl(t, "", "delete", "-f", all)
}

// withoutKind leaves out documents of some kinds.
func withoutKind(text string, kinds ...string) string {
	docs := slices.DeleteFunc(strings.Split(text, "\n---\n"), func(doc string) bool {
		return slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(doc, "\nkind: "+kind+"\n") })
	})
	return strings.Join(docs, "\n---\n")
}

// life installs, upgrades and removes a release, without hooks.
func life(t *testing.T, s *kubetest.Server) {
	s.Kubectl(t, "{apiVersion: v1, kind: Node, metadata: {name: plain}}", "create", "-f", "-")
	defer s.Kubectl(t, "", "delete", "node", "plain")
	before := everything(t, s)
	helm := func(values string, args ...string) (said string) {
		t.Helper()
		args = append(args, "--kubeconfig", s.Kubeconfig, "--namespace", namespace)
		said, err := Helm(t, values, args...)
		if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		return said
	}
	state := func() objects { return manifest(t, s) }
	upgrade := func(values string) (said string) {
		t.Helper()
		return helm(values, "upgrade", "--install", "penstock", Chart, "--values", "-")
	}

	if said := upgrade("config: {log: {format: text}}"); !strings.Contains(said, "WARNING: no Node has the label node-restriction.kubernetes.io/penstock=lb") {
		t.Errorf("Helm does not warn that there is no LB node:\n%s", said)
	}
	seed, _ := at(state()["Secret/penstock-seed"], "data", "seed").(string)
	if len(seed) != 44 { // 32 hexadecimal digits, by base64
		t.Errorf("the seed is %q", seed)
	}
	first := state()

	// Routers and pools are for the running agents to apply.
	upgrade(`
config:
  log: {format: text}
  pools: [{name: public, addresses: [198.51.100.0/24]}]
  bgp: {peers: [{name: tor1, address: 192.0.2.1, asn: 64512}], advertisements: [{name: all}]}
lb: {config: {bgp: {asn: 64513}}}`)
	second := state()
	if got := at(second["Secret/penstock-seed"], "data", "seed"); got != seed {
		t.Errorf("an upgrade made the seed %v of %s", got, seed)
	}
	if !strings.Contains(second.file("lb"), "198.51.100.0/24") {
		t.Errorf("LB nodes have no pool:\n%s", second.file("lb"))
	}
	if generation(second, "backend") != generation(first, "backend") {
		t.Error("routers and pools replace the pods of ingress nodes")
	}
	upgrade(`
config:
  log: {format: text, level: debug}
  pools: [{name: other, addresses: [203.0.113.0/24]}]
lb: {config: {bgp: {asn: 64513, peers: [{name: tor2, address: 192.0.2.2, asn: 64512}]}}}`)
	third := state()
	if generation(third, "lb") != generation(second, "lb") {
		t.Errorf("another pool and another peer replace the pods of LB nodes:\n%s", cmp.Diff(second.template("lb"), third.template("lb")))
	}
	upgrade("config: {log: {format: json}}")
	fourth := state()
	for _, role := range []string{"lb", "backend"} {
		if generation(fourth, role) == generation(third, role) {
			t.Errorf("a key that needs a restart does not replace the pods of role %s", role)
		}
	}
	helm("", "rollback", "penstock", "1")
	if got := at(state()["Secret/penstock-seed"], "data", "seed"); got != seed {
		t.Errorf("a rollback made the seed %v of %s", got, seed)
	}
	refused(t, s)

	helm("", "uninstall", "penstock", "--no-hooks")
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Errorf("something is left (-before +after):\n%s", diff)
	}
}

// refused are upgrades that would take traffic away, for what is in the cluster.
func refused(t *testing.T, s *kubetest.Server) {
	t.Helper()
	upgrade := func(values string) string {
		out, _ := Helm(t, values, "upgrade", "penstock", Chart, "--values", "-", "--kubeconfig", s.Kubeconfig, "--namespace", namespace)
		return out
	}
	expect := func(values string, want ...string) {
		t.Helper()
		out := upgrade(values)
		for _, part := range want {
			if !strings.Contains(out, part) {
				t.Errorf("with %q it does not say %q:\n%s", values, part, out)
			}
		}
	}
	const done = "STATUS: deployed"

	moved := "lb: {nodeLabel: example.com/edge=yes}"
	expect(moved, done)                     // LB nodes there are none
	expect("revisionHistoryLimit: 5", done) // no values at all would be those of before
	sets := s.Client.AppsV1().DaemonSets(namespace)
	set, err := sets.Get(t.Context(), "penstock-lb", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Status.DesiredNumberScheduled = 2
	if _, err := sets.UpdateStatus(t.Context(), set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(moved, "example.com/edge=yes", "no Node has", "2 LB nodes serve")
	s.Apply(t, "{apiVersion: v1, kind: Node, metadata: {name: edge1, labels: {example.com/edge: \"yes\"}}}")
	expect(moved, done)
	s.Kubectl(t, "", "delete", "node", "edge1")

	s.Kubectl(t, "", "-n", namespace, "delete", "secret", "penstock-seed")
	expect(moved, "penstock-seed is not there", "seed.existingSecret", "helm get manifest penstock -n "+namespace)
	expect(moved+"\nseed: {value: 00112233445566778899aabbccddeeff}", done)
}

// generation grows when a DaemonSet's spec changes.
func generation(o objects, role string) any {
	return at(o["DaemonSet/penstock-"+role], "metadata", "generation")
}

// manifest is what the release has in the cluster, as the API server tells it.
func manifest(t *testing.T, s *kubetest.Server) objects {
	t.Helper()
	out := objects{}
	list := s.Kubectl(t, "", "get", "daemonsets,configmaps,secrets", "-n", namespace, "-l", "app.kubernetes.io/name=penstock", "-o", "json")
	var items struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(list), &items); err != nil {
		t.Fatal(err)
	}
	for _, o := range items.Items {
		out[fmt.Sprintf("%v/%v", o["kind"], at(o, "metadata", "name"))] = o
	}
	return out
}

// everything lists the objects of a cluster by kind and name, of all kinds that there are.
func everything(t *testing.T, s *kubetest.Server) map[string]bool {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := s.Client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !strings.Contains(strings.Join(r.Verbs, " "), "list") || r.Name == "events" {
				continue
			}
			items, err := client.Resource(version.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
			for _, i := range items.Items {
				if i.GetName() == "kube-root-ca.crt" { // a controller makes it, in its own time
					continue
				}
				found[filepath.Join(version.Group, r.Kind, i.GetNamespace(), i.GetName())] = true
			}
		}
	}
	return found
}

// TestBase has the API server judge the kustomize base.
func TestBase(t *testing.T) {
	s := kubetest.Start(t, "-controllers", controllers)
	b, err := os.ReadFile("../../deploy/kubernetes/namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(t, string(b))
	if out, err := s.TryKubectl("", "apply", "--dry-run=server", "--validate=strict", "-k", "../../deploy/kubernetes"); err != nil || strings.Contains(out, "Warning") {
		t.Errorf("%v: %s", err, out)
	}
}
