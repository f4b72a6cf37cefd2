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

// proxyMode is how the node's kube-proxy works. Both modes run side by side.
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

// WaitProxies waits until kube-proxy of nodes has written its rules, the Service kubernetes among them.
func (s *Site) WaitProxies(nodes ...*Node) {
	s.tb.Helper()
	address, _, _ := strings.Cut(apiAddress, ":")
	for _, n := range nodes {
		s.Wait("rules of kube-proxy on "+n.Name, func() error {
			out, err := n.Exec("nft", "list", "ruleset")
			if err == nil && !strings.Contains(out, address) {
				err = fmt.Errorf("none names %s", address)
			}
			return err
		})
	}
}

// sceneWithin asks the L7 tier from each node and from pods, by its cluster IPs and by the addresses that
// clients use. Nothing of it gets to LB nodes: kube-proxy leads to the pods.
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
	s.Router.Run(s.tb, "nft", fmt.Sprintf(`table inet within {
	chain forward {
		type filter hook forward priority 0
		iifname "switch" ip daddr %s drop
		iifname "switch" ip6 daddr %s drop
	}
}`, s.web[0], s.web[1]))
	defer s.Router.Run(s.tb, "nft", "delete table inet within")
	for _, n := range s.Nodes() {
		s.askFrom("node "+n.Name+", mode "+n.proxyMode(), addrs, n.Exec)
	}
	for _, p := range s.podsOf("shop", "app=echo") {
		s.askFrom("pod "+p.Name+" of node "+p.Spec.NodeName, addrs, func(argv ...string) (string, error) { return s.inPod(p, argv...) })
	}
	s.row("answers within the cluster", start, "on each node and in pods, by cluster IPs and VIPs")
}

// askFrom waits for an answer of the L7 tier by each address.
func (s *Site) askFrom(where string, addrs []netip.Addr, exec func(argv ...string) (string, error)) {
	s.tb.Helper()
	for _, addr := range addrs {
		s.Wait("an answer by "+addr.String()+" for "+where, func() error {
			out, err := exec("curl", "-sSf", "--max-time", "1", "-H", "Host: "+ingressHost, "http://"+netip.AddrPortFrom(addr, 80).String()+"/")
			if err != nil {
				return err
			}
			_, err = parseAnswer(out)
			return err
		})
	}
}
