package kube

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`

// TestConnect checks that what is missing is named, and what to do about it.
func TestConnect(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const ca = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUGk6pUEJXSQWcKFFyMgrXEW7QRFwwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
`
	file("whole/token", "t")
	file("whole/ca.crt", ca)
	file("blank/token", "")
	file("blank/ca.crt", ca)
	file("half/token", "t")
	for _, c := range []struct {
		name       string
		o          Options
		host, port string
		want       []string // of the error; none: there is none
	}{
		{"no role", Options{Role: "both"}, "", "", []string{`role "both"`}},
		{"no pod", Options{}, "", "", []string{"KUBERNETES_SERVICE_HOST is not set", "source.kubeconfig"}},
		{"no port", Options{}, "10.96.0.1", "", []string{"KUBERNETES_SERVICE_PORT is not set", "source.kubeconfig"}},
		{"no account", Options{accountFiles: filepath.Join(dir, "none")}, "10.96.0.1", "443", []string{"none/token is missing", "automountServiceAccountToken", "source.kubeconfig"}},
		{"no authority", Options{accountFiles: filepath.Join(dir, "half")}, "10.96.0.1", "443", []string{"half/ca.crt is missing"}},
		{"empty token", Options{accountFiles: filepath.Join(dir, "blank")}, "10.96.0.1", "443", []string{"blank/token is empty"}},
		{"no kubeconfig", Options{Kubeconfig: filepath.Join(dir, "kubeconfig-none")}, "", "", []string{"kubeconfig-none", "no such file", "source.kubeconfig"}},
		{"garbage", Options{Kubeconfig: file("garbage", "{")}, "", "", []string{"garbage", "source.kubeconfig"}},
		{"kubeconfig", Options{Kubeconfig: file("kubeconfig", kubeconfigText)}, "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", c.host)
			t.Setenv("KUBERNETES_SERVICE_PORT", c.port)
			if c.o.Role == "" {
				c.o.Role = roleLB
			}
			client, err := Connect(c.o, slog.New(slog.DiscardHandler))
			if len(c.want) == 0 {
				if err != nil || client.Link().Server != "https://192.0.2.1:6443" || client.Link().Connected {
					t.Fatalf("%v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range c.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not name %q", err, word)
				}
			}
		})
	}
}

// TestPodAddress checks the address that a pod's environment gives, of both families.
func TestPodAddress(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"token", "ca.crt"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	for host, want := range map[string]string{"10.96.0.1": "https://10.96.0.1:443", "fd00::1": "https://[fd00::1]:443"} {
		t.Setenv("KUBERNETES_SERVICE_HOST", host)
		t.Setenv("KUBERNETES_SERVICE_PORT", "443")
		cfg, err := podConfig(Options{accountFiles: dir})
		if err != nil || cfg.Host != want {
			t.Errorf("server %v, %v; want %s", cfg, err, want)
		}
	}
}
