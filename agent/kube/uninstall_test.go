package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/test/kubetest"
)

// installed is a cluster in which DaemonSets have pods; there is no kubelet but the one here.
type installed struct {
	*cluster
	client kubernetes.Interface // penstock-uninstall's

	mu    sync.Mutex
	lines []string
	order []string         // of the pods that ended
	codes map[string]int32 // with which they end, by Node; missing: they never do
	keep  map[string]bool  // Nodes whose agents leave their annotation
}

func newInstalled(t *testing.T) *installed {
	s := kubetest.Start(t, "-controllers", kubetest.Controllers)
	s.Deploy(t)
	rbac, err := os.ReadFile("../../deploy/uninstall/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(t, string(rbac))
	c := &cluster{s, s.As(t.Context(), t, testNamespace, "penstock-lb")}
	in := &installed{cluster: c, codes: map[string]int32{}, keep: map[string]bool{}}
	in.client, _ = agentOf(t, s.As(t.Context(), t, testNamespace, "penstock-uninstall"))
	eventually(t, "the rights of penstock-uninstall", func() error {
		_, err := in.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err
	})
	c.runs(t, "kubelet", in.kubelet)
	return in
}

// put makes the DaemonSet of a role with a pod on each node.
func (in *installed) put(t *testing.T, role string, nodes ...string) {
	t.Helper()
	name := "penstock-" + role
	set := in.daemonSet(t, name)
	owner := *metav1.NewControllerRef(set, metav1.SchemeGroupVersion.WithKind("DaemonSet"))
	owner.APIVersion = "apps/v1"
	for _, n := range nodes {
		in.node(t, n)
		in.Kubectl(t, "", "annotate", "node", n, `penstock.dev/`+role+`={"version":"test","tunnelPort":6082,"ready":true}`)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-" + n, OwnerReferences: []metav1.OwnerReference{owner}},
			Spec:       corev1.PodSpec{NodeName: n, Containers: []corev1.Container{{Name: "penstock", Image: "penstock"}}},
		}
		if _, err := in.Client.CoreV1().Pods(testNamespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		in.mu.Lock()
		in.codes[n] = 0
		in.mu.Unlock()
	}
}

// kubelet ends pods that are deleted, as those of all nodes would.
func (in *installed) kubelet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
		pods, err := in.Client.CoreV1().Pods(testNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		for _, p := range pods.Items {
			in.mu.Lock()
			code, ends := in.codes[p.Spec.NodeName]
			keep := in.keep[p.Spec.NodeName]
			in.mu.Unlock()
			if p.DeletionTimestamp != nil && ends {
				in.end(ctx, &p, code, keep)
			}
		}
	}
}

func (in *installed) end(ctx context.Context, p *corev1.Pod, code int32, keep bool) {
	if !keep {
		for _, a := range []string{desired.LBAnnotation, desired.BackendAnnotation} {
			_ = (&annotator{set: in.Client, node: p.Spec.NodeName, annotation: a}).forget(ctx)
		}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "penstock", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: fmt.Sprintf("code %d\n", code)}}}}
	_, _ = in.Client.CoreV1().Pods(testNamespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	_ = in.Client.CoreV1().Pods(testNamespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	in.mu.Lock()
	defer in.mu.Unlock()
	in.order = append(in.order, p.Name)
}

func (in *installed) uninstall(t *testing.T, o UninstallOptions) []Unclean {
	t.Helper()
	o.Namespace = testNamespace
	in.lines = nil
	o.Say = func(line string) { in.lines = append(in.lines, line) }
	unclean, err := uninstall(t.Context(), in.client, o)
	if err != nil {
		t.Errorf("uninstall: %v", err)
	}
	return unclean
}

// left are the things of Penstock in the cluster.
func (in *installed) left(t *testing.T) (all []string) {
	t.Helper()
	for _, name := range daemonSets {
		if _, err := in.Client.AppsV1().DaemonSets(testNamespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			all = append(all, "daemonset "+name)
		}
	}
	for _, name := range []string{LeaderLease, FenceLease} {
		if _, err := in.Client.CoordinationV1().Leases(testNamespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			all = append(all, "lease "+name)
		}
	}
	nodes, err := in.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		for _, name := range slices.Sorted(maps.Keys(n.Annotations)) {
			if strings.HasPrefix(name, "penstock.dev/") {
				all = append(all, "annotation "+name+" of "+n.Name)
			}
		}
	}
	return all
}

func TestUninstall(t *testing.T) {
	in := newInstalled(t)
	in.put(t, "lb", "lb1", "lb2", "lb3", "lb4")
	in.put(t, "backend", "in1", "in2")
	in.Kubectl(t, "", "annotate", "node", "lb1", "penstock.dev/role=lb") // by hand, and an operator's to remove
	in.Apply(t, `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: penstock-leader, namespace: penstock-system}}`)
	before := in.left(t)

	t.Run("dry run", func(t *testing.T) {
		unclean := in.uninstall(t, UninstallOptions{DryRun: true, Timeout: time.Second})
		said := strings.Join(in.lines, "\n")
		for _, part := range []string{"would delete DaemonSet penstock-system/penstock-lb", "penstock-lb-lb1 on lb1", "would remove annotation penstock.dev/backend from Node in2", "Lease"} {
			if !strings.Contains(said, part) {
				t.Errorf("it does not say %q:\n%s", part, said)
			}
		}
		if d := cmp.Diff(before, in.left(t)); d != "" || len(unclean) > 0 {
			t.Errorf("it has done something: %s, %v", d, unclean)
		}
	})
	t.Run("nodes that can't be cleaned", func(t *testing.T) {
		in.mu.Lock()
		in.codes["lb2"] = 1     // its clean-up fails
		delete(in.codes, "lb3") // it is off
		in.keep["lb4"] = true   // it was killed
		in.mu.Unlock()
		got := in.uninstall(t, UninstallOptions{Timeout: 3 * time.Second})
		want := []Unclean{
			{"lb2", "its agent's pod penstock-lb-lb2 ended with code 1: code 1"},
			{"lb3", "its agent's pod penstock-lb-lb3 has not ended in 3s"},
			{"lb4", "its agent has left the annotation penstock.dev/lb: it was killed, runs outside of the DaemonSets, or has not shutdown: auto"},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("unclean -want, +got\n%s\n%s", d, strings.Join(in.lines, "\n"))
		}
		if left := in.left(t); len(left) != 1 || !strings.Contains(left[0], "penstock.dev/role") {
			t.Errorf("left: %v", left)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if n := len(in.order); n != 5 || !strings.HasPrefix(in.order[2], "penstock-lb") || !strings.HasPrefix(in.order[3], "penstock-backend") {
			t.Errorf("pods ended in the order %v", in.order)
		}
	})
	t.Run("again", func(t *testing.T) {
		got := in.uninstall(t, UninstallOptions{Timeout: time.Second})
		if len(got) != 1 || got[0].Node != "lb3" {
			t.Errorf("unclean %v", got)
		}
		in.mu.Lock()
		in.codes["lb3"] = 0
		in.mu.Unlock()
		if got := in.uninstall(t, UninstallOptions{Timeout: 10 * time.Second}); len(got) > 0 {
			t.Errorf("once it is on again: %v\n%s", got, strings.Join(in.lines, "\n"))
		}
		// It does not know of lb2 any more, and must not say that all is well there.
		if last := in.lines[len(in.lines)-1]; strings.Contains(last, "left on the nodes") || !strings.Contains(last, "earlier uninstall named") {
			t.Errorf("once it is on again it says %q", last)
		}
		if got := in.uninstall(t, UninstallOptions{Timeout: time.Second}); len(got) > 0 || len(in.lines) != 3 {
			t.Errorf("when nothing is left: %v, %q", got, in.lines)
		}
	})
}

func TestUninstallAtOnce(t *testing.T) {
	in := newInstalled(t)
	in.put(t, "lb", "lb1")
	if got := in.uninstall(t, UninstallOptions{Timeout: 10 * time.Second}); len(got) > 0 {
		t.Errorf("unclean %v", got)
	}
	if last := in.lines[len(in.lines)-1]; last != "nothing of Penstock is left on the nodes" {
		t.Errorf("it says %q", last)
	}
}

// An agent that still runs somewhere must not be able to undo it unseen.
func TestUninstallTellsOfAgentsOutsideOfPods(t *testing.T) {
	in := newInstalled(t)
	in.node(t, "lb9")
	text, err := json.Marshal(desired.Published{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	in.Kubectl(t, "", "annotate", "node", "lb9", "penstock.dev/lb="+string(text))
	got := in.uninstall(t, UninstallOptions{Timeout: time.Second})
	if len(got) != 1 || got[0].Node != "lb9" || !strings.Contains(got[0].Why, "outside of the DaemonSets") {
		t.Errorf("unclean %v", got)
	}
}
