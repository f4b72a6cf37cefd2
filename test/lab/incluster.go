package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-lb/penstock/test/fixture"
)

// The addresses that Services get in a lab with Options.Kubernetes.
const (
	Pool4 = "198.51.100.10-198.51.100.99"
	Pool6 = "2001:db8:100::10-2001:db8:100::99"
)

// source is the section source of the agent's configuration, and where Services get their
// addresses.
func (h *Host) source(opts Options) string {
	if !opts.Kubernetes {
		return fmt.Sprintf("source: {directory: '%s', history: '%s'}", h.Manifests(), h.history())
	}
	return fmt.Sprintf("source: {kind: kubernetes, history: '%s', copy: '%s'}", h.history(), h.Copy())
}

const pools = "pools: [{name: main, addresses: ['" + Pool4 + "', '" + Pool6 + "']}]"

// accountDir is where a kubelet mounts a pod's ServiceAccount.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// asPod gives the command behind it a /run of its own with the ServiceAccount at its place. The
// mounts of others, such as bpffs, come through. All is one process in the end.
const asPod = `mount -t tmpfs tmpfs /run && mkdir -p ` + accountDir + ` && mount --bind "$0" ` + accountDir + ` && exec "$@"`

// InCluster has the next agent run as in a pod of the cluster: with the files of a
// ServiceAccount at their place, and the API server's address in the environment.
func (h *Host) InCluster(tb fixture.TB, server netip.AddrPort, ca []byte, token string) {
	tb.Helper()
	if err := os.MkdirAll(h.account(), 0o755); err != nil {
		tb.Fatalf("ServiceAccount of %s: %v", h.Name, err)
	}
	for name, text := range map[string]string{"ca.crt": string(ca), "token": token, "namespace": "penstock-system"} {
		if err := os.WriteFile(filepath.Join(h.account(), name), []byte(text), 0o600); err != nil {
			tb.Fatalf("ServiceAccount of %s: %v", h.Name, err)
		}
	}
	h.Wrap = []string{
		"env", "KUBERNETES_SERVICE_HOST=" + server.Addr().String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", server.Port()),
		"unshare", "--mount", "--propagation", "slave", "sh", "-c", asPod, h.account(),
	}
}

// WithKubeconfig has the next agent run outside of pods, with a kubeconfig.
func (h *Host) WithKubeconfig(tb fixture.TB, kubeconfig string) {
	tb.Helper()
	path := filepath.Join(h.Dir, "kubeconfig")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		tb.Fatalf("kubeconfig of %s: %v", h.Name, err)
	}
	text, err := os.ReadFile(h.Config())
	if err != nil {
		tb.Fatalf("configuration of %s: %v", h.Name, err)
	}
	h.configure(tb, strings.Replace(string(text), "kind: kubernetes,", "kind: kubernetes, kubeconfig: '"+path+"',", 1))
	h.Wrap = nil
}

// account is the directory that stands for the mount of the ServiceAccount.
func (h *Host) account() string { return filepath.Join(h.Dir, "serviceaccount") }
