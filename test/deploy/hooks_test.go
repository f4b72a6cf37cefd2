package deploy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/kubetest"
)

// hooks has Helm run `helm test`, and the Job before an uninstall. What becomes of the pods the test
// decides, as there are no kubelets; what they do is tested where there are.
func hooks(t *testing.T, s *kubetest.Server) {
	before := everything(t, s)
	helm := func(args ...string) error {
		args = append(args, "--kubeconfig", s.Kubeconfig, "--namespace", namespace)
		out, err := Helm(t, "", args...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	// during runs Helm until it ends, and do meanwhile, until it is done.
	during := func(do func(context.Context) error, args ...string) error {
		t.Helper()
		ended := make(chan error, 1)
		go func() { ended <- helm(args...) }()
		fixture.Wait(t, 20*time.Second, "the hook of helm "+args[0], func() error { return do(t.Context()) })
		return <-ended
	}

	if err := helm("install", "penstock", Chart); err != nil {
		t.Fatal(err)
	}
	installed := everything(t, s)
	if err := during(func(ctx context.Context) error { return endPod(ctx, s, corev1.PodFailed) }, "test", "penstock"); err == nil {
		t.Error("helm test takes agents that are not ready")
	}
	if err := during(func(ctx context.Context) error { return endPod(ctx, s, corev1.PodSucceeded) }, "test", "penstock"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(installed, everything(t, s)); diff != "" {
		t.Errorf("helm test leaves something behind (-before +after):\n%s", diff)
	}

	// Nothing is removed by force where the agents could not be ended in order.
	if err := during(func(ctx context.Context) error { return endJob(ctx, s, false) }, "uninstall", "penstock"); err == nil {
		t.Error("helm uninstall goes on when the agents have not ended")
	}
	if manifest(t, s)["DaemonSet/penstock-lb"] == nil {
		t.Error("helm removed the agents though they have not ended in order")
	}
	if err := during(func(ctx context.Context) error { return endJob(ctx, s, true) }, "uninstall", "penstock"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Errorf("something is left (-before +after):\n%s", diff)
	}
}

// endPod is what a kubelet tells of the pod of `helm test` when it has ended.
func endPod(ctx context.Context, s *kubetest.Server, phase corev1.PodPhase) error {
	pods := s.Client.CoreV1().Pods(namespace)
	p, err := pods.Get(ctx, "penstock-check", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil {
		return fmt.Errorf("pod %s is a former one", p.Name)
	}
	p.Status.Phase = phase
	_, err = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}

// endJob is what the Job controller tells of a Job that is over.
func endJob(ctx context.Context, s *kubetest.Server, well bool) error {
	jobs := s.Client.BatchV1().Jobs(namespace)
	j, err := jobs.Get(ctx, "penstock-uninstall", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(j.Status.Conditions) > 0 || j.DeletionTimestamp != nil {
		return fmt.Errorf("Job %s is a former one", j.Name)
	}
	now := metav1.Now()
	j.Status.StartTime = &now
	conditions := []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	if well {
		conditions = []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
		j.Status.CompletionTime, j.Status.Succeeded = &now, 1
	}
	for _, c := range conditions {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	_, err = jobs.UpdateStatus(ctx, j, metav1.UpdateOptions{})
	return err
}
