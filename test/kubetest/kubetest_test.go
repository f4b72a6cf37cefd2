package kubetest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestServer is what the other tests rely on: RBAC, bound tokens, and a restart that changes nothing.
func TestServer(t *testing.T) {
	ctx := t.Context()
	s := Start(t, "-controllers", Controllers)
	version := s.Kubectl(t, "", "version")
	if !strings.Contains(version, "Server Version: v1.") {
		t.Errorf("kubectl version prints\n%s", version)
	}
	s.Apply(t, `{apiVersion: v1, kind: Namespace, metadata: {name: a}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: a}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a}, spec: {serviceAccountName: reader, nodeName: node1, containers: [{name: c, image: i}]}}
`)
	cfg := s.AsPod(ctx, t, "a", "reader", "p")
	reader, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an account without a role lists nodes: %v", err)
	}
	before, err := s.Client.CoreV1().Namespaces().Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := s.Client.CoreV1().Namespaces().Get(ctx, "a", metav1.GetOptions{}); err == nil {
		t.Error("a stopped server answers")
	}
	s.Restart(t)
	after, err := s.Client.CoreV1().Namespaces().Get(ctx, "a", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("after a restart namespace a is %v, %v; it was %v", after.UID, err, before.UID)
	}
	if _, err := reader.CoreV1().Pods("a").Create(ctx, &corev1.Pod{}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("after a restart a token is not known: %v", err)
	}
}
