package kube

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// full gives the metadata of an object as API servers send it.
func full(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: "a", Name: name, UID: "uid", ResourceVersion: "7", Generation: 3, CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: &metav1.Time{},
		Labels: map[string]string{"l": "1", discoveryv1.LabelServiceName: "web", "node.kubernetes.io/exclude-from-external-load-balancers": ""},
		Annotations: map[string]string{
			"penstock.dev/x": "1", "other": strings.Repeat("x", 100), "service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8",
		},
		OwnerReferences: []metav1.OwnerReference{{Name: "o"}}, Finalizers: []string{"f"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
}

func TestTrim(t *testing.T) {
	trim := newTrimmer(Options{Role: roleLB})
	show := func(o any) string { b, _ := json.Marshal(o); return string(b) }
	kept := `"namespace":"a","uid":"uid",`
	marks := `"annotations":{"penstock.dev/x":"1","service.beta.kubernetes.io/load-balancer-source-ranges":"10.0.0.0/8"}`
	times := `"creationTimestamp":"1970-01-01T00:00:01Z","deletionTimestamp":null,`

	svc := &corev1.Service{ObjectMeta: full("web"), Spec: serviceOf("a", "web").Spec, Status: corev1.ServiceStatus{
		LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}},
		Conditions:   []metav1.Condition{{Type: "penstock.dev/Allocated"}, {Type: "other"}},
	}}
	labels := `"labels":{"kubernetes.io/service-name":"web","l":"1","node.kubernetes.io/exclude-from-external-load-balancers":""},`
	want := `{"metadata":{"name":"web",` + kept + `"resourceVersion":"7",` + times + labels + marks + `},"spec":{"ports":[{"port":80,"targetPort":0}],"type":"LoadBalancer"},` +
		`"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]},"conditions":[{"type":"penstock.dev/Allocated","status":"","lastTransitionTime":null,"reason":"","message":""}]}}`
	once := trim.service(svc)
	if diff := cmp.Diff(want, show(once)); diff != "" {
		t.Errorf("Service (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(once, trim.service(once)); diff != "" {
		t.Errorf("twice trimmed, a Service is another:\n%s", diff)
	}
	other := svc.DeepCopy()
	other.Spec.Type, other.Status.Conditions = corev1.ServiceTypeClusterIP, nil
	if got := show(trim.service(other)); strings.Contains(got, "ports") {
		t.Errorf("a Service that is not ours keeps %s", got)
	}

	s := sliceOf("a", "web", "web-1", "10.0.0.1")
	s.ObjectMeta = full("web-1")
	s.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "a", Name: "p", UID: "u", ResourceVersion: "9", FieldPath: "x"}
	s.Endpoints[0].Hostname, s.Endpoints[0].Zone = new("h"), new("z")
	s.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}}
	s.Endpoints[0].DeprecatedTopology = map[string]string{"x": "y"}
	want = `{"metadata":{"name":"web-1",` + kept + times + `"labels":{"kubernetes.io/service-name":"web"},` + marks + `},"addressType":"IPv4",` +
		`"endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":"a","name":"p","uid":"u"},` +
		`"nodeName":"node1","zone":"z","hints":{"forZones":[{"name":"z"}]}}],"ports":[{"name":"","protocol":"TCP","port":80}]}`
	if diff := cmp.Diff(want, show(trim.slice(s))); diff != "" {
		t.Errorf("EndpointSlice (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(trim.slice(s), trim.slice(trim.slice(s))); diff != "" {
		t.Errorf("twice trimmed, an EndpointSlice is another:\n%s", diff)
	}
	if got := newTrimmer(Options{Role: roleBackend, Node: "node2"}).slice(s); len(got.Endpoints) != 0 {
		t.Errorf("an ingress node keeps others' endpoints: %v", got)
	}
	if got := newTrimmer(Options{Role: roleBackend, Node: "node1"}).slice(s); len(got.Endpoints) != 1 {
		t.Errorf("an ingress node loses its endpoints: %v", got)
	}

	for namespace, followed := range map[string]bool{"": true, "a": true, "b": false} {
		s.Endpoints[0].TargetRef.Namespace = namespace
		if got := trim.slice(s).Endpoints[0].TargetRef != nil; got != followed {
			t.Errorf("a pod of namespace %q behind a slice of namespace a is followed: %v", namespace, got)
		}
	}

	n := &corev1.Node{ObjectMeta: full("node1")}
	n.Spec = corev1.NodeSpec{PodCIDR: "10.1.0.0/24", Unschedulable: true, Taints: []corev1.Taint{{Key: "k", Value: "v", Effect: "NoSchedule", TimeAdded: &metav1.Time{}}}}
	n.Status = corev1.NodeStatus{
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.9"}},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), Message: "m"}, {Type: corev1.NodeDiskPressure}},
		Images:     []corev1.ContainerImage{{Names: []string{"i"}}},
	}
	got := show(trim.nodeObject(n))
	for _, part := range []string{labels, marks, `"unschedulable":true`, `"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]`, "192.0.2.9",
		`"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":null,"lastTransitionTime":null}]`} {
		if !strings.Contains(got, part) {
			t.Errorf("Node lacks %s: %s", part, got)
		}
	}
	for _, part := range []string{"podCIDR", "images", "managedFields", "other", "resourceVersion", "finalizers"} {
		if strings.Contains(got, `"`+part+`"`) {
			t.Errorf("Node keeps %s: %s", part, got)
		}
	}
	if got, want := show(trim.namespace(&corev1.Namespace{ObjectMeta: full("a")})), `"labels"`; !strings.Contains(got, want) || strings.Contains(got, "annotations") {
		t.Errorf("Namespace: %s", got)
	}
	if first, second := trim.intern("x"), trim.intern("x"); first != second {
		t.Error("equal names are not one")
	}
	for i := range 2 * namesKept {
		trim.intern(strings.Repeat("x", i%1000) + string(rune(i)))
	}
	if len(trim.strings) > namesKept {
		t.Errorf("%d names are remembered", len(trim.strings))
	}
}
