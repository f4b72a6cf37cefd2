package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// node makes a Node object.
func (c *cluster) node(t testing.TB, name string) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"example.com/a": "b"}}}
	if _, err := c.Client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestNodeAnnotation(t *testing.T) {
	c := newCluster(t)
	for _, tc := range []struct{ role, annotation string }{
		{roleLB, desired.LBAnnotation}, {roleBackend, desired.BackendAnnotation},
	} {
		t.Run(tc.role, func(t *testing.T) {
			name := "node-" + tc.role
			published := func() map[string]string {
				n, err := c.Client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return n.Annotations
			}
			is := func(want desired.Published) {
				t.Helper()
				eventually(t, "annotation", func() error {
					var got desired.Published
					if err := json.Unmarshal([]byte(published()[tc.annotation]), &got); err != nil {
						return err
					}
					if diff := cmp.Diff(want, got); diff != "" {
						return fmt.Errorf("(-want +got)\n%s", diff)
					}
					return nil
				})
			}
			c.node(t, name)
			set, w := agentOf(t, c.AsNode(t.Context(), t, testNamespace, "penstock-"+tc.role, name))
			r := newReporter(set, always, name, tc.role, testLog(t, name))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()

			first := desired.Published{Version: "v1", TunnelPort: 6082, Reason: "no program is attached"}
			r.Node(first)
			is(first)
			ready := desired.Published{Version: "v1", TunnelPort: 6082, Ready: true, Datapath: "native"}
			r.Node(ready)
			is(ready)
			before := w.count("PATCH nodes")
			r.Node(ready)
			ready.Datapath = "generic"
			r.Node(ready)
			is(ready)
			if n := w.count("PATCH nodes") - before; n != 1 {
				t.Errorf("%d patches for one change", n)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if err := r.Forget(t.Context()); err != nil {
				t.Errorf("Forget: %v", err)
			}
			if diff := cmp.Diff(map[string]string{"example.com/a": "b"}, published()); diff != "" {
				t.Errorf("annotations after Forget (-want +got)\n%s", diff)
			}
		})
	}
}

// A Node that is not there yet, as at a kubelet's first start, is waited for.
func TestNodeAnnotationIsTriedAgain(t *testing.T) {
	c := newCluster(t)
	set, _ := agentOf(t, c.Config)
	r := newReporter(set, always, "late", roleLB, testLog(t, "late"))
	go func() { _ = r.Run(t.Context()) }()
	r.Node(desired.Published{Version: "v1"})
	c.node(t, "late")
	eventually(t, "annotation", func() error {
		n, err := c.Client.CoreV1().Nodes().Get(t.Context(), "late", metav1.GetOptions{})
		if err == nil && n.Annotations[desired.LBAnnotation] == "" {
			err = fmt.Errorf("not there")
		}
		return err
	})
}
