package cluster

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (s *Site) sceneInstall() {
	s.before = s.footprints()
	start := time.Now()
	s.Install()
	s.row("Penstock installed", start, "")
}

func (s *Site) sceneTraefik() {
	start := time.Now()
	s.web = s.DeployTraefik()
	vips := s.web
	s.WaitRoutes(vips, s.LBs...)
	s.row("Traefik serves", start, "")
	for _, vip := range vips {
		for _, host := range []string{ingressHost, routeHost} {
			s.Wait("an answer of "+host+" by "+vip.String(), func() error {
				a, err := s.Get(vip, host)
				if err == nil && a.For != s.clientOf(vip).String() {
					err = fmt.Errorf("the L7 tier saw client %s", a.For)
				}
				return err
			})
		}
	}
	s.Wait("the addresses in the Ingress's status", func() error {
		got, err := s.IngressAddresses()
		if err == nil && !slices.Equal(got, vips) {
			err = fmt.Errorf("it has %v, not %v", got, vips)
		}
		return err
	})
	s.Wait("access logs with the clients' own addresses", func() error {
		seen, err := s.Logged()
		if err != nil {
			return err
		}
		for _, vip := range vips {
			if seen[s.clientOf(vip)] == 0 {
				return fmt.Errorf("they have %v", seen)
			}
		}
		return nil
	})
	s.row("answers by Ingress and HTTPRoute", start, "both families, client's own address logged")
}

// sceneLoad starts the load that runs through the scenes that come.
func (s *Site) sceneLoad() {
	start := time.Now()
	s.load = s.StartLoad(s.web, s.VIPs("shop", "lines"))
	s.row("load", start, "%d connections held", holders)
}

// sceneRollTraefik replaces each pod of the L7 tier.
func (s *Site) sceneRollTraefik() {
	start := s.begin()
	s.API.Kubectl(s.tb, "", "-n", "ingress", "rollout", "restart", "deployment/traefik")
	s.WaitDeployment("ingress", "traefik")
	s.waitEnded("ingress")
	s.check("Traefik rolled", start, s.load.End(), false)
}

// sceneRollAgents replaces each pod of Penstock.
func (s *Site) sceneRollAgents() {
	start := s.begin()
	for _, d := range []string{lbDaemonSet, backendDaemonSet} {
		s.API.Kubectl(s.tb, "", "-n", system, "rollout", "restart", "daemonset/"+d)
	}
	s.WaitDaemonSets()
	s.check("Penstock rolled", start, s.load.End(), false)
}

func (s *Site) begin() time.Time {
	s.load.Begin()
	return time.Now()
}

// waitEnded waits until no pod of a namespace is ending any more.
func (s *Site) waitEnded(namespace string) {
	s.Wait("pods of "+namespace+" to end", func() error {
		list, err := s.API.Client.CoreV1().Pods(namespace).List(s.tb.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("%s is ending", p.Name)
			}
		}
		return nil
	})
}
