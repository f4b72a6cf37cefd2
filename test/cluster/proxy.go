package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// proxyUser is who the API server knows as kube-proxy.
const proxyUser = "system:kube-proxy"

// proxyMode is how the node's kube-proxy works: the two that are left, side by side.
func (n *Node) proxyMode() string {
	if n.number%2 == 0 {
		return "iptables"
	}
	return "nftables"
}

func (n *Node) startProxy() error {
	kubeconfig, err := n.site.API.KubeconfigOf(proxyUser, "https://"+apiAddress)
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(n.Dir, name) }
	config := strings.NewReplacer("MODE", n.proxyMode(), "KUBECONFIG", file("proxy-kubeconfig"), "NAME", n.Name).Replace(proxyConfig)
	for name, text := range map[string]string{"proxy.yaml": config, "proxy-kubeconfig": string(kubeconfig)} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err = n.run("kube-proxy", n.site.API.ServerPath(), "kube-proxy", "--config="+file("proxy.yaml"))
	return err
}

// proxyConfig: nothing of connection tracking is set that is the whole machine's.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: MODE
clientConnection: {kubeconfig: KUBECONFIG}
hostnameOverride: NAME
clusterCIDR: "10.2.0.0/16,fd00:2::/48"
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// WaitProxies waits until kube-proxy of nodes has written its rules.
func (s *Site) WaitProxies(nodes ...*Node) {
	s.tb.Helper()
	for _, n := range nodes {
		s.Wait("kube-proxy of "+n.Name, func() error {
			_, err := n.Exec("curl", "-sSf", "-o", "/dev/null", "http://127.0.0.1:10256/healthz")
			return err
		})
	}
}

// sceneWithin asks the L7 tier from each node: by its cluster IPs, where kube-proxy alone leads, and
// by the addresses that clients use.
func (s *Site) sceneWithin() {
	start := time.Now()
	svc, err := s.API.Client.CoreV1().Services("ingress").Get(s.tb.Context(), "traefik", metav1.GetOptions{})
	if err != nil {
		s.tb.Fatal(err)
	}
	addrs := slices.Clone(s.web)
	for _, ip := range svc.Spec.ClusterIPs {
		addrs = append(addrs, netip.MustParseAddr(ip))
	}
	for _, n := range s.Nodes() {
		for _, addr := range addrs {
			s.Wait(fmt.Sprintf("an answer on node %s by %s, with kube-proxy in mode %s", n.Name, addr, n.proxyMode()), func() error {
				out, err := n.Exec("curl", "-sSf", "--max-time", "2", "-H", "Host: "+ingressHost, "http://"+netip.AddrPortFrom(addr, 80).String()+"/")
				if err != nil {
					return err
				}
				_, err = parseAnswer(out)
				return err
			})
		}
	}
	s.row("answers within the cluster", start, "on each node, by cluster IPs and VIPs")
}
