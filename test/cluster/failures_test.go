package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sceneLBKilled cuts an LB node's power. Connections that came by it come by the other one.
func (s *Site) sceneLBKilled() {
	victim, other := s.LBs[1], s.LBs[0]
	start := s.begin()
	victim.Kill(s.tb)
	s.WaitRoutes(s.web, other)
	s.row("router left a dead LB node", start, "")
	s.settle(start)
	s.check("LB node killed", start, s.load.End(), false)
	s.WaitAlert("PenstockAgentDown", map[string]string{"node": victim.Name, "role": "lb"})
	start = s.begin()
	victim.Start()
	s.WaitBack(victim, start)
	s.row("rebooted LB node and its pod Ready", start, "")
	s.WaitRoutes(s.web, s.LBs...)
	s.settle(time.Now().Add(-patience / 2)) // flows move back
	s.check("LB node back", start, s.load.End(), false)
}

// sceneIngressKilled cuts an ingress node's power. Its pods' connections are lost, no others, and
// new ones go elsewhere long before the cluster knows.
func (s *Site) sceneIngressKilled() {
	const within = time.Second
	victim := s.Ingress[2]
	start := s.begin()
	victim.Kill(s.tb)
	s.load.pods.kill(victim.Name, true)
	s.settle(start)
	r := s.load.End()
	s.WaitAlert("PenstockIngressNodeDown", map[string]string{"ingress_node": victim.Name})
	s.check("ingress node killed", start, r, true)
	took := time.Duration(0)
	if n := len(r.Slow); n > 0 {
		took = max(took, r.Slow[n-1].At.Sub(start))
	}
	s.row("new connections go elsewhere", time.Now().Add(-took), "the last one that took a second began then")
	if took > within {
		s.tb.Errorf("%s after the end of %s a new connection went there still", took, victim.Name)
	}
	for _, f := range r.Failed { // those that were under way
		if f.At.Add(-patience).After(start.Add(within)) {
			s.tb.Errorf("failed later on: %s", f)
		}
	}
	start = s.begin()
	victim.Start()
	s.WaitBack(victim, start)
	s.load.pods.kill(victim.Name, false)
	s.check("ingress node back", start, s.load.End(), false)
	s.WaitNoAlert()
}

// sceneKubeletFrozen has a kubelet hang until the cluster takes its node for dead, while all pods live.
func (s *Site) sceneKubeletFrozen() {
	victim := s.Ingress[0]
	if _, all, err := s.endpoints(victim); err != nil || all == 0 {
		s.tb.Fatalf("no endpoint on %s: %v", victim.Name, err)
	}
	start := s.begin()
	victim.Freeze()
	s.Wait("endpoints on "+victim.Name+" to be taken for dead", func() error {
		ready, all, err := s.endpoints(victim)
		if err == nil && (ready > 0 || all == 0) {
			err = fmt.Errorf("%d of %d are ready", ready, all)
		}
		return err
	})
	s.row("kubelet frozen, node not ready", start, "")
	victim.Thaw()
	s.Wait("endpoints on "+victim.Name+" to be back", func() error {
		ready, all, err := s.endpoints(victim)
		if err == nil && ready < all {
			err = fmt.Errorf("%d of %d are ready", ready, all)
		}
		return err
	})
	s.check("kubelet frozen and thawed", start, s.load.End(), false)
}

// endpoints counts those of the L7 tier on a node.
func (s *Site) endpoints(n *Node) (ready, all int, err error) {
	slices, err := s.API.Client.DiscoveryV1().EndpointSlices("ingress").List(s.tb.Context(), metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=traefik",
	})
	if err != nil {
		return 0, 0, err
	}
	for _, sl := range slices.Items {
		for _, e := range sl.Endpoints {
			if e.NodeName == nil || *e.NodeName != n.Name {
				continue
			}
			all++
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
	}
	return ready, all, nil
}

// sceneControlPlane does without one for a while.
func (s *Site) sceneControlPlane() {
	away := time.Minute
	if testing.Short() {
		away = 20 * time.Second
	}
	start := s.begin()
	s.API.Stop()
	time.Sleep(away)
	s.API.Restart(s.tb)
	s.load.watch()
	s.WaitReady(s.Nodes()...)
	s.WaitDaemonSets()
	s.WaitDeployment("ingress", "traefik")
	s.check("control plane away and back", start, s.load.End(), false)
}

// sceneScale has many pods come and go again.
func (s *Site) sceneScale() {
	const many, few = 12, 3
	start := s.begin()
	// The first ones, with all connections, are to be the first to go.
	s.API.Kubectl(s.tb, "", "-n", "ingress", "annotate", "pods", "-l", "app=traefik", "controller.kubernetes.io/pod-deletion-cost=-1", "--overwrite")
	for _, n := range []int{many, few} {
		s.API.Kubectl(s.tb, "", "-n", "ingress", "scale", "deployment/traefik", fmt.Sprintf("--replicas=%d", n))
		s.WaitDeployment("ingress", "traefik")
	}
	s.waitEnded("ingress")
	s.check(fmt.Sprintf("Traefik scaled to %d and %d", many, few), start, s.load.End(), false)
}

// settle has the load go on until what began before since can have shown: an answer that does not
// come is given up after patience.
func (s *Site) settle(since time.Time) {
	time.Sleep(time.Until(since.Add(patience + time.Second)))
}

// sceneUpgrade replaces each pod of Penstock by one of a version with other tables in the kernel.
func (s *Site) sceneUpgrade() {
	before := s.schemas()
	start := s.begin()
	s.Upgrade(nextTag)
	s.check("Penstock upgraded, other tables", start, s.load.End(), false)
	for i, after := range s.schemas() {
		kept := func(name string) bool { return slices.Contains(before[i], name) }
		if len(after) != 2 || !slices.ContainsFunc(after, kept) || !slices.ContainsFunc(after, func(n string) bool { return !kept(n) }) {
			s.tb.Errorf("%s had %v pinned and has %v; tables alone are to be others", s.Nodes()[i].Name, before[i], after)
		}
	}
}

// schemas are the directories of pinned maps on each node, which are named by their schema.
func (s *Site) schemas() (list [][]string) {
	for _, n := range s.Nodes() {
		out, err := n.Exec("find", "/sys/fs/bpf/penstock", "-mindepth", "1", "-maxdepth", "1", "-type", "d", "(", "-name", "*tables-*", "-o", "-name", "*state-*", ")")
		if err != nil {
			s.tb.Fatal(err)
		}
		dirs := strings.Fields(out)
		slices.Sort(dirs)
		list = append(list, dirs)
	}
	return list
}

// sceneFirewall has rules in the pods' own namespaces look at who comes, as a CNI's do that
// enforces network policies.
func (s *Site) sceneFirewall() {
	start := s.begin()
	rules := `table inet look {
	set four { type ipv4_addr; flags dynamic; }
	set six { type ipv6_addr; flags dynamic; }
	chain in {
		type filter hook input priority 0
		tcp dport 8000 add @four { ip saddr }
		tcp dport 8000 add @six { ip6 saddr }
	}
}`
	pods := s.podsOf("ingress", "app=traefik")
	for _, p := range pods {
		if _, err := s.inPod(p, "nft", rules); err != nil {
			s.tb.Fatal(err)
		}
	}
	for _, p := range pods {
		for set, from := range map[string]string{"four": "203.0.113.", "six": "2001:db8:2::"} {
			s.Wait("clients in the rules of "+p.Name, func() error {
				out, err := s.inPod(p, "nft", "list set inet look "+set)
				if err != nil {
					return err
				}
				_, list, ok := strings.Cut(out, "elements = {")
				list, _, _ = strings.Cut(list, "}")
				if !ok {
					return fmt.Errorf("none: %s", out)
				}
				seen := 0
				for a := range strings.SplitSeq(list, ",") {
					switch a = strings.TrimSpace(a); {
					case strings.HasPrefix(a, from):
						seen++
					case a != gateway(p): // of kubelet's probes
						s.tb.Fatalf("%s was seen to come from %s", p.Name, a)
					}
				}
				if seen == 0 {
					return fmt.Errorf("no client among %s", list)
				}
				return nil
			})
		}
		if _, err := s.inPod(p, "nft", "delete table inet look"); err != nil {
			s.tb.Fatal(err)
		}
	}
	s.check("rules in pods see clients", start, s.load.End(), false)
}

// gateway is the address of a pod's node in the pods' network.
func gateway(p corev1.Pod) string {
	return netip.PrefixFrom(netip.MustParseAddr(p.Status.PodIP), 24).Masked().Addr().Next().String()
}

func (s *Site) podsOf(namespace, selector string) []corev1.Pod {
	s.tb.Helper()
	list, err := s.API.Client.CoreV1().Pods(namespace).List(s.tb.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.tb.Fatal(err)
	}
	return list.Items
}

// inPod runs a command of the node in a pod's network namespace.
func (s *Site) inPod(p corev1.Pod, argv ...string) (string, error) {
	i := slices.IndexFunc(s.Nodes(), func(n *Node) bool { return n.Name == p.Spec.NodeName })
	n := s.Nodes()[i]
	names, err := n.Exec("ls", "/run/netns")
	if err != nil {
		return "", err
	}
	for name := range strings.FieldsSeq(names) {
		addrs, err := n.Exec("ip", "-n", name, "-o", "addr")
		if err == nil && strings.Contains(addrs, " "+p.Status.PodIP+"/") {
			return n.Exec(append([]string{"nsenter", "--net=/run/netns/" + name}, argv...)...)
		}
	}
	return "", fmt.Errorf("no namespace on %s has the address %s of pod %s", n.Name, p.Status.PodIP, p.Name)
}
