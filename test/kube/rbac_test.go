package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/lab"
)

// right is something that an account may do, as RBAC has it.
type right struct{ account, verb, group, resource, namespace, name string }

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s/%s %s %s", r.account, r.verb, r.group, r.resource, r.namespace, r.name))
}

// TestRBAC has the agents do all that they do, and compares the API server's audit log with the
// roles as shipped: each verb is used. That none is missing, every test of this package looks at.
func TestRBAC(t *testing.T) {
	// Otherwise informers watch for what is there already, and list only from API servers that
	// can't do that.
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	s := newSite(t, lab.Options{Config: "shutdown: auto", IngressConfig: "shutdown: auto"})
	s.asDaemonSets()
	s.addPods("web", 2)
	s.startAll()
	granted := s.rights()
	if len(granted) < 15 {
		t.Fatalf("the roles grant %v only", granted)
	}
	vips := s.served("web")
	s.waitAnswer(vips...)
	for _, h := range []*lab.Host{&s.LBs[0].Host, &s.Ingress[0].Host} {
		first := h.Agent
		for range 2 { // a second agent ends, and says why: again it is the same Event, which counts
			h.StartAgent(t)
			if code, err := h.Agent.Wait(30 * time.Second); err != nil || code == 0 {
				t.Errorf("a second agent on %s ended with %d, %v", h.Name, code, err)
			}
		}
		h.Agent = first
		s.ends(h)
	}
	s.wait("each verb to be used", func() error {
		used := map[right]bool{}
		for _, c := range s.calls() {
			for _, r := range c.rights() {
				used[r] = true
			}
		}
		unused := slices.DeleteFunc(slices.Clone(granted), func(r right) bool { return used[r] })
		if len(unused) > 0 {
			return fmt.Errorf("granted, and not used: %v", unused)
		}
		return nil
	})
}

// rights are what the roles as shipped grant.
func (s *site) rights() (all []right) {
	s.t.Helper()
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=penstock"}
	cluster, err := s.api.Client.RbacV1().ClusterRoles().List(s.t.Context(), ours)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range cluster.Items {
		all = append(all, rightsOf(r.Name, "", r.Rules)...)
	}
	namespaced, err := s.api.Client.RbacV1().Roles(metav1.NamespaceAll).List(s.t.Context(), ours)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range namespaced.Items {
		all = append(all, rightsOf(r.Name, r.Namespace, r.Rules)...)
	}
	return all
}

// rightsOf takes rules apart. Roles have the names of their accounts.
func rightsOf(account, namespace string, rules []rbacv1.PolicyRule) (all []right) {
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						all = append(all, right{account, verb, group, resource, namespace, name})
					}
				}
			}
		}
	}
	return all
}

// rights are those that permit a call, in a role of its namespace and in one of the cluster, for
// its object and for all.
func (c call) rights() (all []right) {
	o := c.ObjectRef
	resource := o.Resource
	if o.Subresource != "" {
		resource += "/" + o.Subresource
	}
	account := strings.TrimPrefix(c.User.Username, "system:serviceaccount:"+system+":")
	for _, namespace := range []string{"", o.Namespace} {
		for _, name := range []string{"", o.Name} {
			all = append(all, right{account, c.Verb, o.APIGroup, resource, namespace, name})
		}
	}
	return all
}
