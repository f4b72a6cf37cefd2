package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/tenure"
)

func (c *cluster) daemonSet(t testing.TB, name string) *appsv1.DaemonSet {
	t.Helper()
	labels := map[string]string{"app": name}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"lb": "yes"}, Containers: []corev1.Container{{Name: "penstock", Image: "penstock"}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		}},
	}}
	set, err := c.Client.AppsV1().DaemonSets(testNamespace).Create(t.Context(), set, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// owner runs one for an agent on a node, with its own account.
func (c *cluster) owner(t testing.TB, node string) (*Owner, *wire) {
	t.Helper()
	set, w := agentOf(t, c.lb)
	client := &Client{Options: Options{Role: roleLB, Node: node, Namespace: testNamespace}, reads: set}
	source := NewSource(client, testLog(t, node))
	o := NewOwner(client, source, "penstock-lb", testLog(t, node))
	c.runs(t, "source", source.Run)
	c.runs(t, "owner", o.Run)
	return o, w
}

func (o *Owner) says(t testing.TB, want tenure.Outcome, part string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s for %q", want, part), func() error {
		if v := tenure.Decide(o.Facts()); v.Outcome != want || !strings.Contains(v.Why, part) {
			return fmt.Errorf("it is %+v", v)
		}
		return nil
	})
}

// elsewhere is a proxy that has lost its way.
type elsewhere struct{ next http.RoundTripper }

func (elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusNotFound, Header: http.Header{"Content-Type": {"text/plain"}},
		Body: io.NopCloser(strings.NewReader("404 page not found\n")), Request: r,
	}, nil
}

func TestOwner(t *testing.T) {
	c := newCluster(t)
	c.node(t, "lb1")
	label := func(value string) {
		t.Helper()
		c.Kubectl(t, "", "label", "--overwrite", "node", "lb1", "lb="+value)
	}
	label("yes")
	o, w := c.owner(t, "lb1")

	eventually(t, "word of a DaemonSet that is not there", func() error {
		if p := o.Problem(); !strings.Contains(p, "there is no DaemonSet penstock-system/penstock-lb") {
			return fmt.Errorf("it says %q", p)
		}
		return nil
	})
	o.says(t, tenure.Restart, "never been seen")
	c.daemonSet(t, "another")
	c.daemonSet(t, "penstock-lb")
	o.says(t, tenure.Restart, "still wants")
	if p, g := o.Problem(), o.Facts().Grace(); p != "" || g.Seconds() != 30 {
		t.Errorf("problem %q, grace %s", p, g)
	}
	label("no")
	o.says(t, tenure.Leave, "node selector")
	label("yes")
	o.says(t, tenure.Restart, "still wants")

	t.Run("the API server is away at the end", func(t *testing.T) {
		w.cut()
		if v := o.Ask(t.Context()); v.Outcome != tenure.Restart || !strings.Contains(v.Why, "still wants") {
			t.Errorf("%+v", v)
		}
		w.mu.Lock()
		w.dead = false
		w.mu.Unlock()
	})
	t.Run("something in front of the API server answers", func(t *testing.T) {
		w.mu.Lock()
		w.next = elsewhere{w.next}
		w.mu.Unlock()
		if v := o.Ask(t.Context()); v.Outcome != tenure.Restart {
			t.Errorf("%+v", v)
		}
		w.mu.Lock()
		w.next = w.next.(elsewhere).next
		w.mu.Unlock()
	})
	// What it has seen is old, and watches bring nothing new.
	blind := func() *Owner {
		source := NewSource(&Client{Options: Options{Role: roleLB, Node: "lb1"}, reads: o.client}, o.log)
		source.ix.putNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "lb1", Labels: map[string]string{"lb": "yes"}}})
		b := &Owner{client: o.client, namespace: o.namespace, name: o.name, source: source, log: o.log}
		b.take(o.Facts().DaemonSet)
		return b
	}
	t.Run("the last question is ahead of the watch of Nodes", func(t *testing.T) {
		label("no")
		if v := blind().Ask(t.Context()); v.Outcome != tenure.Leave || v.Whole {
			t.Errorf("%+v", v)
		}
		label("yes")
		o.says(t, tenure.Restart, "still wants")
	})
	t.Run("another DaemonSet takes its place", func(t *testing.T) {
		b := blind()
		c.Kubectl(t, "", "-n", testNamespace, "delete", "daemonset", "penstock-lb")
		verdict := make(chan tenure.Verdict, 1)
		path := "/apis/apps/v1/namespaces/" + testNamespace + "/daemonsets/penstock-lb"
		asked := w.count("GET " + path)
		go func() { verdict <- b.Ask(t.Context()) }()
		eventually(t, "it to see that there is none", func() error {
			if n := w.count("GET " + path); n < asked+2 {
				return fmt.Errorf("it has asked %d times", n-asked)
			}
			return nil
		})
		c.daemonSet(t, "penstock-lb")
		if v := <-verdict; v.Outcome != tenure.Restart {
			t.Errorf("%+v", v)
		}
	})
	t.Run("the last question is ahead of the watch", func(t *testing.T) {
		b := blind()
		c.Kubectl(t, "", "-n", testNamespace, "delete", "daemonset", "penstock-lb")
		if v := b.Ask(t.Context()); v.Outcome != tenure.Leave || !v.Whole {
			t.Errorf("%+v", v)
		}
	})
	o.says(t, tenure.Leave, "is deleted")
	c.daemonSet(t, "penstock-lb")
	o.says(t, tenure.Restart, "still wants")
	c.Kubectl(t, "", "delete", "node", "lb1")
	o.says(t, tenure.Leave, "Node object is deleted")
	c.node(t, "lb1")
	label("yes")
	o.says(t, tenure.Restart, "still wants")

	t.Run("the namespace is deleted", func(t *testing.T) {
		// There is no controller here that would finish it.
		c.Kubectl(t, "", "delete", "namespace", testNamespace, "--wait=false")
		if v := o.Ask(t.Context()); v.Outcome != tenure.Leave || !v.Whole || !strings.Contains(v.Why, "namespace") {
			t.Errorf("%+v", v)
		}
	})
}

// What may not be read is said, and nothing is torn down for it.
func TestOwnerWithoutRights(t *testing.T) {
	c := newCluster(t)
	c.daemonSet(t, "penstock-lb")
	c.Kubectl(t, "", "-n", testNamespace, "delete", "rolebinding", "penstock-lb")
	o, _ := c.owner(t, "lb1")
	eventually(t, "word of the missing right", func() error {
		if p := o.Problem(); !strings.Contains(p, "forbidden") {
			return fmt.Errorf("it says %q", p)
		}
		return nil
	})
	if v := o.Ask(context.Background()); v.Outcome != tenure.Restart {
		t.Errorf("%+v", v)
	}
}
