package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/penstock-lb/penstock/test/lab"
)

// kubelets end agents whose pods are deleted, until the test ends.
func (s *site) kubelets() {
	s.t.Helper()
	sets := map[string]*metav1.OwnerReference{}
	for _, h := range s.Hosts() {
		name := "penstock-" + s.role(h)
		if sets[name] == nil {
			set, err := s.api.Client.AppsV1().DaemonSets(system).Get(s.t.Context(), name, metav1.GetOptions{})
			if err != nil {
				s.t.Fatal(err)
			}
			yes := true
			sets[name] = &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "DaemonSet", Name: name, UID: set.UID, Controller: &yes}
		}
		pods := s.api.Client.CoreV1().Pods(system)
		pod, err := pods.Get(s.t.Context(), "penstock-"+h.Name, metav1.GetOptions{})
		if err == nil {
			pod.OwnerReferences = []metav1.OwnerReference{*sets[name]}
			_, err = pods.Update(s.t.Context(), pod, metav1.UpdateOptions{})
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, h := range s.Hosts() {
		all.Go(func() { s.kubelet(ctx, h) })
	}
	s.t.Cleanup(func() { stop(); all.Wait() })
}

// kubelet ends the agent of a host when its pod is deleted, and says how it ended.
func (s *site) kubelet(ctx context.Context, h *lab.Host) {
	pods := s.api.Client.CoreV1().Pods(system)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		p, err := pods.Get(ctx, "penstock-"+h.Name, metav1.GetOptions{})
		if err != nil || p.DeletionTimestamp == nil {
			continue
		}
		s.ends(h)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
		if _, err := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
			s.t.Errorf("status of %s: %v", p.Name, err)
		}
		if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			s.t.Errorf("end of %s: %v", p.Name, err)
		}
		return
	}
}

// uninstall runs the command with the rights that are for it alone.
func (s *site) uninstall(args ...string) (string, error) {
	s.t.Helper()
	rbac, err := os.ReadFile("../../deploy/uninstall/rbac.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	s.api.Apply(s.t, string(rbac))
	account := "system:serviceaccount:" + system + ":penstock-uninstall"
	s.wait("its rights", func() error {
		_, err := s.api.TryKubectl("", "auth", "can-i", "list", "nodes", "--as", account)
		return err
	})
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: s.api.Config.Host, CertificateAuthorityData: s.api.Config.CAData}
	cfg.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: s.api.Token(s.t.Context(), s.t, system, "penstock-uninstall", nil)}
	cfg.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	cfg.CurrentContext = "x"
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(os.Getenv("PENSTOCK"), append([]string{"uninstall", "--kubeconfig", file}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestUninstall takes Penstock out of a site that is in use, and puts it back: Services have the
// addresses that they had.
func TestUninstall(t *testing.T) {
	s := newSite(t, lab.Options{Config: "shutdown: auto", IngressConfig: "shutdown: auto"})
	s.asDaemonSets()
	s.addPods("web", 2)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	s.kubelets()

	if out, err := s.uninstall("--dry-run"); err != nil || !strings.Contains(out, "would delete DaemonSet "+system+"/penstock-lb") {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	s.waitRoutes(vips, 2)
	began := time.Now()
	out, err := s.uninstall("--timeout", "1m")
	t.Logf("it took %s:\n%s", time.Since(began).Round(time.Millisecond), out)
	if err != nil || !strings.Contains(out, "nothing of Penstock is left") {
		t.Errorf("uninstall: %v", err)
	}
	s.waitRoutes(vips, 0)
	for _, h := range s.Hosts() {
		if left := s.traces(h); len(left) > 0 {
			t.Errorf("%s has %q after\n%s", h.Name, left, h.Agent.Output())
		}
	}
	s.same("web", vips)

	// As of an agent that was killed.
	s.api.Kubectl(t, "", "annotate", "node", "ingress3", `penstock.dev/backend={"version":"test","tunnelPort":6082,"ready":true}`)
	out, err = s.uninstall()
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.ExitCode() != 4 || !strings.Contains(out, "ingress3: its agent has left the annotation") {
		t.Errorf("with something left: %v\n%s", err, out)
	}
	if p := s.published("ingress3"); len(p) > 0 {
		t.Errorf("Node ingress3 still says %v", p)
	}
	granted := 0
	used := map[right]bool{}
	for _, c := range s.calls() {
		for _, r := range c.rights() {
			used[r] = true
		}
	}
	for _, r := range s.rights() {
		if r.account == "penstock-uninstall" {
			granted++
			if !used[r] {
				t.Errorf("granted, and not used: %v", r)
			}
		}
	}
	if granted < 8 {
		t.Errorf("%d rights are granted", granted)
	}

	for _, role := range []string{"lb", "backend"} {
		s.daemonSet(role)
	}
	for _, h := range s.Hosts() {
		role := s.role(h)
		agent := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "again-" + h.Name, Namespace: system},
			Spec: corev1.PodSpec{NodeName: h.Name, ServiceAccountName: "penstock-" + role, HostNetwork: true,
				Containers: []corev1.Container{{Name: "agent", Image: "penstock"}}},
		}
		if _, err := s.api.Client.CoreV1().Pods(system).Create(t.Context(), agent, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.InCluster(t, relayed, s.api.Config.CAData, s.api.PodToken(t.Context(), t, system, "penstock-"+role, agent.Name))
		h.Wrap = append([]string{"env", "PENSTOCK_SOURCE_DAEMONSET=penstock-" + role}, h.Wrap...)
		h.StartAgent(t)
	}
	s.waitRoutes(vips, 2)
	s.waitAnswer(vips...)
	s.same("web", vips)
	s.wait("the client's own address", func() error {
		body, err := s.ask(vips[0], 80)
		if err == nil && !strings.Contains(body, "client="+lab.Client4.String()) {
			err = fmt.Errorf("the answer is %q", body)
		}
		return err
	})
}
