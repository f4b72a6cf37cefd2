package kube

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/test/kubetest"
)

// reader is a Source that runs, and what its Deltas add up to.
type reader struct {
	*Source
	client *Client

	bundles  map[string]desired.Bundle
	nodes    []*corev1.Node
	problems []desired.Problem
	resets   int
	gone     []string // bundles that were said to be gone
}

// read runs a Source until the test ends, or stop is called.
func read(t *testing.T, cfg *rest.Config, o Options) (r *reader, stop func()) {
	t.Helper()
	if o.Role == "" {
		o.Role = roleLB
	}
	client, err := connect(o, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	r = &reader{client: client, Source: NewSource(client, slog.New(slog.NewTextHandler(t.Output(), nil))), bundles: map[string]desired.Bundle{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	stop = func() { cancel(); <-ended; client.Close() }
	t.Cleanup(stop)
	return r, stop
}

// take applies what there is.
func (r *reader) take() (synced bool) {
	d, synced := r.Delta()
	r.problems = d.Problems
	if !synced {
		return false
	}
	if d.Reset {
		r.resets++
		clear(r.bundles)
	}
	for name, b := range d.Bundles {
		if b.Service == nil && len(b.Slices) == 0 {
			r.gone = append(r.gone, name)
			delete(r.bundles, name)
			continue
		}
		r.bundles[name] = b
	}
	if d.NodesChanged {
		r.nodes = d.Nodes
	}
	return true
}

// until takes Deltas until ok.
func (r *reader) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	for r.take(); !ok(); r.take() {
		select {
		case <-r.Changed():
		case <-deadline:
			t.Fatalf("not within 40 s: %s; link %+v, problems %v, %d bundles", what, r.client.Link(), r.problems, len(r.bundles))
		}
	}
}

func (r *reader) synced() bool {
	_, synced := r.Snapshot()
	return synced
}

// addresses gives the endpoints of a Service, with a tilde before those that are held.
func (r *reader) addresses(service string) (out []string) {
	for _, s := range r.bundles[service].Slices {
		for _, ep := range s.Endpoints {
			held := ""
			if strings.HasPrefix(s.Name, "~") {
				held = "~"
			}
			out = append(out, held+ep.Addresses[0])
		}
	}
	return out
}

// whole compares what Deltas add up to with the whole.
func (r *reader) whole(t *testing.T) {
	t.Helper()
	r.take()
	all, _ := r.Snapshot()
	want := desired.Whole(all)
	for name, b := range want.Bundles {
		if b.Service == nil {
			b.Pods = nil // they are read for others
		}
		want.Bundles[name] = b
	}
	blank := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Service.ObjectMeta.ResourceVersion" }, cmp.Ignore())
	if diff := cmp.Diff(want.Bundles, r.bundles, blank, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("changes do not add up to the whole (-whole +changes):\n%s", diff)
	}
	if diff := cmp.Diff(want.Nodes, r.nodes); diff != "" {
		t.Errorf("changes of nodes do not add up to the whole (-whole +changes):\n%s", diff)
	}
}

func serviceOf(namespace, name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"penstock.dev/forwarding": "nat", "other": "x"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// sliceOf makes a slice of a Service with endpoints of the given addresses, all ready.
func sliceOf(namespace, service, name string, addrs ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(""), Protocol: new(corev1.ProtocolTCP), Port: new(int32(80))}},
	}
	if len(addrs) > 0 && strings.Contains(addrs[0], ":") {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{a}, NodeName: new("node1"),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
		})
	}
	return s
}

func namespace(t *testing.T, server *kubetest.Server, name string) {
	t.Helper()
	_, err := server.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
