package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sceneLBLeaves takes an LB node out of service as an operator does, and back in.
func (s *Site) sceneLBLeaves() {
	leaver, other := s.LBs[0], s.LBs[1]
	start := s.begin()
	s.API.Kubectl(s.tb, "", "drain", leaver.Name, "--ignore-daemonsets")
	s.API.Kubectl(s.tb, "", "label", "node", leaver.Name, lbLabel+"-")
	s.WaitRoutes(s.web, other)
	s.row("drained LB node withdrew", start, "")
	// It is a node like others now.
	s.WaitDaemonSet(lbDaemonSet, 1)
	s.WaitDaemonSet(backendDaemonSet, len(s.Ingress)+1)
	s.check("LB node left", start, s.load.End(), false)
	start = s.begin()
	s.API.Kubectl(s.tb, "", "label", "node", leaver.Name, lbLabel+"=lb")
	s.API.Kubectl(s.tb, "", "uncordon", leaver.Name)
	s.WaitDaemonSets()
	s.WaitRoutes(s.web, s.LBs...)
	s.check("LB node joined", start, s.load.End(), false)
}

// sceneUninstall removes Penstock, of which nothing is to be left but the addresses in Services,
// and installs it anew.
func (s *Site) sceneUninstall() {
	s.load.Stop()
	s.mustHaveNoDefect()
	start := time.Now()
	s.Uninstall()
	s.row("Penstock uninstalled", start, "")
	for name, after := range s.footprints() {
		if left := after.minus(s.before[name]); len(left) > 0 {
			s.tb.Errorf("left on %s:\n%s", name, strings.Join(left, "\n"))
		}
		if lost := s.before[name].minus(after); len(lost) > 0 {
			s.tb.Errorf("lost on %s:\n%s", name, strings.Join(lost, "\n"))
		}
	}
	for _, left := range s.leftInCluster() {
		s.tb.Errorf("left in the cluster: %s", left)
	}
	if now := s.VIPs("ingress", "traefik"); !slices.Equal(now, s.web) {
		s.tb.Errorf("the Service had the addresses %v and has %v", s.web, now)
	}
	s.WaitRoutes(s.web)
	start = time.Now()
	s.Install()
	s.WaitRoutes(s.web, s.LBs...)
	for _, vip := range s.web {
		s.Wait("an answer after the second installation", func() error {
			_, err := s.Get(vip, ingressHost)
			return err
		})
	}
	s.row("installed again", start, "the same addresses")
}

// leftInCluster are objects and annotations of Penstock's, but for the namespace, which the operator
// made and Helm leaves.
func (s *Site) leftInCluster() (list []string) {
	s.tb.Helper()
	ctx := s.tb.Context()
	nodes, err := s.API.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, n := range nodes.Items {
		for k, v := range n.Annotations {
			if strings.Contains(k, "penstock") {
				list = append(list, fmt.Sprintf("annotation %s=%s of Node %s", k, v, n.Name))
			}
		}
	}
	kinds := "pods,daemonsets,jobs,configmaps,secrets,serviceaccounts,services,leases,roles,rolebindings," +
		"clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
	for line := range strings.Lines(s.API.Kubectl(s.tb, "", "get", kinds, "-A", "-o", "name")) {
		if strings.Contains(line, "penstock") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
