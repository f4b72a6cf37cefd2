package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestManyServices applies many Services at once and kills the leader while it gives them their
// addresses: no two have one in common, and none has another one afterwards.
func TestManyServices(t *testing.T) {
	t.Parallel() // it waits, mostly
	const many = 60
	s := newSite(t, lab.Options{})
	s.addPods("web", 2)
	s.startAll()
	s.waitAnswer(s.served("web")...)
	killed := s.leader()
	var yaml []string
	for i := range many {
		name := fmt.Sprintf("many%d", i)
		yaml = append(yaml, strings.Replace(webYAML(name), "app: "+name, "app: web", 1))
	}
	applied := make(chan struct{})
	go func() {
		defer close(applied)
		if out, err := s.api.TryKubectl(strings.Join(yaml, "\n---\n"), "apply", "-f", "-"); err != nil {
			t.Errorf("kubectl: %v: %s", err, out)
		}
	}()
	var before map[string][]string
	s.wait("the first addresses", func() error {
		if before = s.held(); len(before) < 10 {
			return fmt.Errorf("%d Services have any", len(before))
		}
		return nil
	})
	killed.KillAgent(t)
	t.Logf("%d of %d Services had addresses when the leader was killed", len(before), many+1)
	<-applied
	s.waitLeader(killed)
	var held map[string][]string
	s.wait("all addresses", func() error {
		held = s.held()
		for i := range many {
			if name := fmt.Sprintf("many%d", i); len(held[name]) != 2 {
				return fmt.Errorf("%s has %v", name, held[name])
			}
		}
		return nil
	})
	owner := map[string]string{}
	for name, list := range held {
		for _, a := range list {
			if other, taken := owner[a]; taken {
				t.Errorf("%s and %s both have %s", name, other, a)
			}
			owner[a] = name
		}
		if was, had := before[name]; had && len(was) == 2 && !slices.Equal(was, list) {
			t.Errorf("%s has %v, it had %v", name, list, was)
		}
	}
	killed.StartAgent(t)
	killed.WaitAgent(t)
	for name, list := range held {
		var vips []netip.Addr
		for _, a := range list {
			vips = append(vips, netip.MustParseAddr(a))
		}
		s.waitRoutes(vips, 2)
		s.waitAnswer(vips...)
		s.same(name, vips)
	}
}

// held are the addresses of all Services that have any.
func (s *site) held() map[string][]string {
	s.t.Helper()
	list, err := s.api.Client.CoreV1().Services(metav1.NamespaceDefault).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	held := map[string][]string{}
	for _, svc := range list.Items {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		for _, i := range svc.Status.LoadBalancer.Ingress {
			held[svc.Name] = append(held[svc.Name], i.IP)
		}
	}
	return held
}

// TestSharing has two Services on one address, with ports of their own.
func TestSharing(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 2)
	s.addPods("api", 2)
	s.startAll()
	share := func(name string, port int) string {
		yaml := strings.Replace(annotated(name, "penstock.dev/sharing-key", "front"), "port: 80,", fmt.Sprintf("port: %d,", port), 1)
		return strings.Replace(yaml, "externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster", 1)
	}
	s.apply(share("web", 80))
	vips := s.waitAddresses("web", 2)
	s.apply(share("api", 8000))
	if got := s.waitAddresses("api", 2); !slices.Equal(got, vips) {
		t.Fatalf("api has %v, web %v", got, vips)
	}
	s.waitRoutes(vips, 2)
	s.waitPort(vips, 80)
	s.waitPort(vips, 8000)
	load := s.startLoad(vips)
	// A third one whose port is taken there, and which wants no other address, says by whom.
	s.apply(strings.Replace(share("third", 80), "annotations: {", fmt.Sprintf("annotations: {penstock.dev/ips: %q, ", vips[0]), 1))
	s.wait("a word on the port", func() error {
		for _, c := range s.service("third").Status.Conditions {
			if strings.Contains(c.Message, "default/web") {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.service("third").Status)
	})
	if got := s.addresses("third"); len(got) > 0 {
		t.Errorf("third has %v", got)
	}
	s.api.Kubectl(t, "", "delete", "service", "api")
	s.waitRefused(vips[0], 8000)
	s.more(load, 200)
	s.waitRoutes(vips, 2)
	s.same("web", vips)
	load.Check()
}
