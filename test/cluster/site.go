package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/kubetest"
)

const (
	// The router on the nodes' network, whose default gateway it is.
	router4, router6 = "10.0.0.1", "fd00:10::1"
	// apiAddress is the Service kubernetes. The router, too, knows where that is, for nodes on which
	// kube-proxy does not run yet; where it runs it leads to hub4 and apiPort.
	apiAddress = "10.96.0.1:443"
	hub4       = "10.255.0.2"
	apiPort    = 6443

	client4, client6 = "192.0.2.2", "2001:db8:1::2"
	routerASN, lbASN = 64512, 64513
)

// clientNets are networks behind the client. Each of their addresses is its own.
var clientNets = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:2::/64")}

// Site is the cluster and what is around it.
type Site struct {
	Client, Router, Hub *fixture.Netns
	FRR                 *fixture.FRR
	API                 *kubetest.Server
	LBs, Ingress        []*Node

	tb    testing.TB // of the scene
	whole testing.TB // of the cluster
	began time.Time
	rows  []row

	before map[string]footprint // of each node, before Penstock came
	web    []netip.Addr         // addresses of the L7 tier
	load   *Load                // from the scene of that name on
	binary string               // of Penstock, for those who run it outside of pods

	targetsFile string // of Prometheus
}

// Nodes are all nodes.
func (s *Site) Nodes() []*Node { return slices.Concat(s.LBs, s.Ingress) }

// New builds the cluster and waits until its nodes are Ready. images are tar files, with that of
// the pods' pause container among them.
func New(tb testing.TB, images []string) *Site {
	tb.Helper()
	s := &Site{tb: tb, whole: tb, began: time.Now()}
	s.network()
	for i := range 2 {
		s.LBs = append(s.LBs, newNode(tb, s, fmt.Sprintf("lb%d", i+1), 11+i, 1+i))
	}
	for i := range 3 {
		s.Ingress = append(s.Ingress, newNode(tb, s, fmt.Sprintf("in%d", i+1), 21+i, 11+i))
	}
	s.route()
	s.controlPlane()
	for _, n := range s.Nodes() {
		n.boot(tb)
	}
	tb.Cleanup(s.showLogs) // while all runs still
	s.FRR = fixture.StartFRR(tb, s.Router, s.frr(), "bfdd")
	s.up(images)
	return s
}

// network makes the client, the hub, and the router with its switch. Ports of the switch have
// a program that passes everything, without which nothing that XDP sends reaches them.
func (s *Site) network() {
	tb := s.tb
	tb.Helper()
	s.Client, s.Router, s.Hub = fixture.NewNetns(tb, "client"), fixture.NewNetns(tb, "router"), fixture.NewNetns(tb, "hub")
	s.Router.Forward(tb)
	// What the packet has, as a switch does it. By default the kernel takes the hash of the client's
	// socket, which is in this kernel too.
	for _, family := range []string{"ipv4", "ipv6"} {
		s.Router.Sysctl(tb, "net."+family+".fib_multipath_hash_fields", "0x37")
		s.Router.Sysctl(tb, "net."+family+".fib_multipath_hash_policy", "3")
	}
	s.Router.Run(tb, "ip", "link", "add", "switch", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
	s.Router.AddAddr(tb, "switch", router4+"/24")
	s.Router.AddAddr(tb, "switch", router6+"/64")
	s.Router.Run(tb, "ip", "link", "set", "switch", "up")
	fixture.Link(tb, s.Router, "client", s.Client, "eth0", fixture.LinkOptions{
		AddrsA: []string{"192.0.2.1/24", "2001:db8:1::1/64"}, AddrsB: []string{client4 + "/24", client6 + "/64"}, NoOffload: true,
	})
	s.Client.AddRoute(tb, "default", "192.0.2.1")
	s.Client.AddRoute(tb, "default6", "2001:db8:1::1")
	s.Client.Sysctl(tb, "net.ipv6.ip_nonlocal_bind", "1")
	for _, p := range clientNets {
		via := client4
		if p.Addr().Is6() {
			via = client6
		}
		s.Router.AddRoute(tb, p.String(), via)
		s.Client.Run(tb, "ip", "route", "add", "local", p.String(), "dev", "lo")
	}
	fixture.Link(tb, s.Router, "hub", s.Hub, "eth0", fixture.LinkOptions{
		AddrsA: []string{"10.255.0.1/24", "fd00:255::1/64"}, AddrsB: []string{hub4 + "/24", "fd00:255::2/64"}, NoOffload: true,
	})
	s.Hub.AddRoute(tb, "default", "10.255.0.1")
	s.Hub.AddRoute(tb, "default6", "fd00:255::1")
}

// route tells the router and each node the way to all pods, as a CNI does where nodes share a
// network.
func (s *Site) route() {
	s.tb.Helper()
	for _, to := range s.Nodes() {
		for _, from := range s.Nodes() {
			if from != to {
				from.AddRoute(s.tb, to.pods4(), to.Addr4.String())
				from.AddRoute(s.tb, to.pods6(), to.Addr6.String())
			}
		}
		s.Router.AddRoute(s.tb, to.pods4(), to.Addr4.String())
		s.Router.AddRoute(s.tb, to.pods6(), to.Addr6.String())
	}
}

func (s *Site) frr() string {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 10.255.255.1\n no bgp ebgp-requires-policy\n"+
		" no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax\n", routerASN)
	for _, n := range s.LBs {
		for _, addr := range []netip.Addr{n.Addr4, n.Addr6} {
			fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %[1]s timers 3 9\n neighbor %[1]s timers connect 2\n"+
				" neighbor %[1]s bfd\n neighbor %[1]s bfd 3 300 300\n", addr, lbASN)
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n  maximum-paths 8\n", family)
		for _, n := range s.LBs {
			addr := n.Addr4
			if family == "ipv6" {
				addr = n.Addr6
			}
			fmt.Fprintf(&b, "  neighbor %s activate\n  neighbor %[1]s prefix-list vips in\n  neighbor %[1]s prefix-list none out\n", addr)
		}
		b.WriteString(" exit-address-family\n")
	}
	b.WriteString("exit\n" +
		"ip prefix-list vips permit 198.51.100.0/24 le 32\nip prefix-list none deny any\n" +
		"ipv6 prefix-list vips permit 2001:db8:100::/64 le 128\nipv6 prefix-list none deny any\n")
	return b.String()
}

// up starts what runs on the nodes, side by side, and says which of them are LB nodes.
func (s *Site) up(images []string) {
	s.tb.Helper()
	nodes := s.Nodes()
	errs := make([]error, len(nodes))
	var starting sync.WaitGroup
	for i, n := range nodes {
		starting.Go(func() { errs[i] = n.up(images) })
	}
	starting.Wait()
	for _, err := range errs {
		if err != nil {
			s.tb.Error(err)
		}
	}
	if s.tb.Failed() {
		s.tb.FailNow()
	}
	s.WaitReady(nodes...)
	s.WaitProxies(nodes...)
	s.API.Kubectl(s.tb, "", "label", "nodes", "--all", tierLabel+"=l7")
	for _, n := range s.LBs {
		s.API.Kubectl(s.tb, "", "label", "node", n.Name, lbLabel+"=lb")
		s.API.Kubectl(s.tb, "", "taint", "node", n.Name, "penstock.dev/lb=:NoSchedule")
	}
}

const (
	lbLabel   = "node-restriction.kubernetes.io/penstock" // one that kubelets may not set
	tierLabel = "example.com/tier"                        // without it a node is no ingress node either
)

// WaitReady waits until nodes are Ready.
func (s *Site) WaitReady(nodes ...*Node) {
	s.tb.Helper()
	for _, n := range nodes {
		s.Wait("node "+n.Name+" to be Ready", func() error {
			o, err := s.API.Client.CoreV1().Nodes().Get(s.tb.Context(), n.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range o.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("conditions %v", o.Status.Conditions)
		})
	}
}

// WaitBack waits until a node that was started at since is Ready with all its pods, which the API server
// may have taken it for all the time.
func (s *Site) WaitBack(n *Node, since time.Time) {
	s.tb.Helper()
	since = since.Truncate(time.Second) // as the API has times
	s.Wait("node "+n.Name+" and its pods to be back", func() error {
		list, err := s.API.Client.CoreV1().Pods("").List(s.tb.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			for _, c := range p.Status.ContainerStatuses {
				if r := c.State.Running; !c.Ready || r == nil || r.StartedAt.Time.Before(since) {
					return fmt.Errorf("container %s of %s is %+v, ready %t", c.Name, p.Name, c.State, c.Ready)
				}
			}
		}
		return nil
	})
	s.WaitReady(n)
}

// Wait is fixture.Wait with the site's test, for as long as a crowded machine may need.
func (s *Site) Wait(what string, cond func() error) {
	s.tb.Helper()
	fixture.Wait(s.tb, 2*time.Minute, what, cond)
}
