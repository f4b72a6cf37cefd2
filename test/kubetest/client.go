package kubetest

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Kubectl runs kubectl as the administrator, with stdin where it is not empty, and returns
// what it prints.
func (s *Server) Kubectl(tb testing.TB, stdin string, args ...string) string {
	tb.Helper()
	out, err := s.TryKubectl(stdin, args...)
	if err != nil {
		tb.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryKubectl is Kubectl that returns its error, and then what it prints on stderr too.
func (s *Server) TryKubectl(stdin string, args ...string) (string, error) {
	cmd := exec.Command(s.KubectlPath(), append([]string{"--kubeconfig", s.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := s.in(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// KubectlPath is where kubectl is.
func (s *Server) KubectlPath() string { return filepath.Join(s.bin, "kubectl") }

// ServerPath is where the program server is, which is a kubelet too.
func (s *Server) ServerPath() string { return filepath.Join(s.bin, "server") }

// Apply applies YAML as the administrator.
func (s *Server) Apply(tb testing.TB, yaml string) {
	tb.Helper()
	s.Kubectl(tb, yaml, "apply", "-f", "-")
}

// Deploy applies the accounts, rights and policies of deploy/kubernetes as shipped, and waits until
// the ServiceAccounts exist and what they may do is in force.
func (s *Server) Deploy(tb testing.TB) {
	tb.Helper()
	root, err := root()
	if err != nil {
		tb.Fatal(err)
	}
	args := []string{"apply"}
	for _, name := range []string{"namespace.yaml", "rbac.yaml", "admission.yaml"} {
		args = append(args, "-f", filepath.Join(root, "deploy/kubernetes", name))
	}
	s.Kubectl(tb, "", args...)
	for _, role := range []string{"lb", "backend"} {
		account := "system:serviceaccount:penstock-system:penstock-" + role
		deadline := time.Now().Add(10 * time.Second)
		for {
			out, err := s.TryKubectl("", "auth", "can-i", "list", "nodes", "--as", account)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				tb.Fatalf("%s may not list nodes after 10 s: %v: %s", account, err, out)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// As returns a configuration with a ServiceAccount's own token, so that RBAC holds.
func (s *Server) As(ctx context.Context, tb testing.TB, namespace, name string) *rest.Config {
	tb.Helper()
	return s.with(s.Token(ctx, tb, namespace, name, nil))
}

// AsPod is As with a token that is bound to a Pod, and by that to its Node, as a kubelet
// mounts them. The Pod must be of that ServiceAccount.
func (s *Server) AsPod(ctx context.Context, tb testing.TB, namespace, name, pod string) *rest.Config {
	tb.Helper()
	return s.with(s.PodToken(ctx, tb, namespace, name, pod))
}

// AsNode is As with a token that is bound to a Node, for what runs there outside of Pods.
func (s *Server) AsNode(ctx context.Context, tb testing.TB, namespace, name, node string) *rest.Config {
	tb.Helper()
	n, err := s.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return s.with(s.Token(ctx, tb, namespace, name, &authnv1.BoundObjectReference{
		APIVersion: "v1", Kind: "Node", Name: node, UID: n.UID,
	}))
}

func (s *Server) with(token string) *rest.Config {
	cfg := rest.AnonymousClientConfig(s.Config)
	cfg.BearerToken, cfg.QPS = token, -1
	return cfg
}

// PodToken returns a token as in AsPod.
func (s *Server) PodToken(ctx context.Context, tb testing.TB, namespace, name, pod string) string {
	tb.Helper()
	p, err := s.Client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return s.Token(ctx, tb, namespace, name, &authnv1.BoundObjectReference{
		APIVersion: "v1", Kind: "Pod", Name: pod, UID: p.UID,
	})
}

// Token returns a token of a ServiceAccount. bound may be nil.
func (s *Server) Token(ctx context.Context, tb testing.TB, namespace, name string, bound *authnv1.BoundObjectReference) string {
	tb.Helper()
	r, err := s.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authnv1.TokenRequest{Spec: authnv1.TokenRequestSpec{BoundObjectRef: bound}}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return r.Status.Token
}
