package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/kubetest"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestMain builds the binary once for all tests.
func TestMain(m *testing.M) { os.Exit(lab.BuildOnce(m.Run)) }

// site is a lab whose agents have a real API server and nothing else to read.
type site struct {
	*lab.Lab
	t      testing.TB
	api    *kubetest.Server
	audit  string            // the API server's audit log of what the agents do
	relays map[string]*relay // by host
	pods   []*pod
	names  map[string]int // pods made so far, by app
	ready  time.Time      // since when the API server is, after a restart
}

// newSite builds a site of two LB nodes and three ingress nodes; no agent runs yet. It checks in
// the end that none of the agents was denied anything.
func newSite(t testing.TB, opts lab.Options) *site {
	t.Helper()
	s := &site{t: t, relays: map[string]*relay{}, names: map[string]int{}, audit: filepath.Join(t.TempDir(), "audit")}
	policy := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	s.api = kubetest.Start(t, "-controllers", kubetest.Controllers, "--",
		"--audit-policy-file="+policy, "--audit-log-path="+s.audit)
	s.api.Deploy(t)
	opts.LBs, opts.Ingress, opts.Kubernetes = 2, 3, true
	s.Lab = lab.New(t, opts)
	for _, b := range s.LBs {
		s.addNode(&b.Host, "lb", b.Addr4, b.Addr6)
	}
	for _, g := range s.Ingress {
		s.addNode(&g.Host, "backend", g.Addr4, g.Addr6)
	}
	t.Cleanup(func() { s.checkDenied() })
	return s
}

// startAll starts every agent and waits until each answers.
func (s *site) startAll(args ...string) {
	s.t.Helper()
	for _, h := range s.Hosts() {
		h.StartAgent(s.t, args...)
	}
	for _, h := range s.Hosts() {
		h.WaitAgent(s.t)
	}
}

// addNode makes a host known to the API server: its Node, the Pod of its agent there, and that
// one's token with the way to the API server on the host.
func (s *site) addNode(h *lab.Host, role string, addrs ...netip.Addr) {
	s.t.Helper()
	ctx, nodes := s.t.Context(), s.api.Client.CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: h.Name, Labels: map[string]string{"penstock.dev/role": role}}}
	node, err := nodes.Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	// The taint of a Node whose kubelet has not said anything yet.
	node.Spec.Taints = nil
	if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range addrs {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	agent := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "penstock-" + h.Name, Namespace: system},
		Spec: corev1.PodSpec{
			NodeName: h.Name, ServiceAccountName: "penstock-" + role, HostNetwork: true,
			Containers: []corev1.Container{{Name: "agent", Image: "penstock"}},
		},
	}
	if _, err := s.api.Client.CoreV1().Pods(system).Create(ctx, agent, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	server, err := url.Parse(s.api.Config.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	s.relays[h.Name] = startRelay(s.t, h.Netns, server.Host)
	h.InCluster(s.t, relayed, s.api.Config.CAData, s.api.PodToken(ctx, s.t, system, "penstock-"+role, agent.Name))
}

// outOfPod has a host's agent run with a kubeconfig, made as the README says, and not in a pod.
func (s *site) outOfPod(h *lab.Host, role string) {
	s.t.Helper()
	cmd := exec.Command("../../deploy/kubeconfig.sh", role, h.Name)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.api.Kubeconfig, "KUBECTL="+s.api.KubectlPath())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("kubeconfig of %s: %v", h.Name, err)
	}
	h.WithKubeconfig(s.t, strings.Replace(string(out), s.api.Config.Host, "https://"+relayed.String(), 1))
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:penstock-system"]}
- {level: None}
`

// call is a line of the audit log.
type call struct {
	Verb      string
	User      struct{ Username string }
	ObjectRef struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	Response  struct {
		Code   int
		Reason string
	} `json:"responseStatus"`
	Annotations map[string]string
	Received    time.Time `json:"requestReceivedTimestamp"`
}

// calls are what the agents have asked the API server for.
func (s *site) calls() []call {
	f, err := os.Open(s.audit)
	if err != nil {
		s.t.Errorf("audit log: %v", err)
		return nil
	}
	defer f.Close()
	var all []call
	for dec := json.NewDecoder(f); ; {
		var c call
		if dec.Decode(&c) != nil {
			return all // the last line may be half written
		}
		all = append(all, c)
	}
}

// checkDenied reports what the agents were not allowed to do, once each. An API server that has
// just started does not know its roles yet, and denies everything.
func (s *site) checkDenied() {
	seen := map[string]bool{}
	for _, c := range s.calls() {
		what := fmt.Sprintf("%s %s of %s/%s in %q", c.User.Username, c.Verb, c.ObjectRef.Resource, c.ObjectRef.Subresource, c.ObjectRef.Namespace)
		if d := c.Annotations["authorization.k8s.io/decision"]; (d == "forbid" || c.Response.Code == 403) && c.Received.After(s.ready) {
			if !seen[what] {
				s.t.Errorf("denied: %s: %s", what, c.Response.Reason)
			}
			seen[what] = true
		}
	}
}

// wait is fixture.Wait with the site's test.
func (s *site) wait(what string, cond func() error) {
	s.t.Helper()
	fixture.Wait(s.t, time.Minute, what, cond)
}
