package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	system                        = "penstock-system"
	lbDaemonSet, backendDaemonSet = "penstock-lb", "penstock-backend"
)

// WaitDaemonSets waits until each node has the agent it is to have, of the newest revision and ready.
func (s *Site) WaitDaemonSets() {
	s.tb.Helper()
	s.WaitDaemonSet(lbDaemonSet, len(s.LBs))
	s.WaitDaemonSet(backendDaemonSet, len(s.Ingress))
}

// WaitDaemonSet waits until a DaemonSet wants that many pods, and has them.
func (s *Site) WaitDaemonSet(name string, want int) {
	s.tb.Helper()
	s.Wait("DaemonSet "+name, func() error {
		d, err := s.API.Client.AppsV1().DaemonSets(system).Get(s.tb.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		st := d.Status
		if st.ObservedGeneration != d.Generation || int(st.DesiredNumberScheduled) != want || st.NumberMisscheduled != 0 ||
			int(st.NumberAvailable) != want || int(st.UpdatedNumberScheduled) != want {
			return fmt.Errorf("%d wanted of %d, %d not wanted, %d updated, %d available",
				st.DesiredNumberScheduled, want, st.NumberMisscheduled, st.UpdatedNumberScheduled, st.NumberAvailable)
		}
		return nil
	})
}

// Agent is the Penstock pod of a node.
func (s *Site) Agent(n *Node) (corev1.Pod, error) {
	list, err := s.API.Client.CoreV1().Pods(system).List(context.Background(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
	if err != nil {
		return corev1.Pod{}, err
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			return p, nil
		}
	}
	return corev1.Pod{}, fmt.Errorf("no Penstock pod on %s", n.Name)
}

// Penstock runs the command line in the node's Penstock pod, as an operator does.
func (s *Site) Penstock(n *Node, args ...string) (string, error) {
	p, err := s.Agent(n)
	if err != nil {
		return "", err
	}
	return s.API.TryKubectl("", append([]string{"-n", system, "exec", p.Name, "--", "penstock"}, args...)...)
}

// VIPs waits for the addresses of a Service and gives them, IPv4 first.
func (s *Site) VIPs(namespace, name string) (vips []netip.Addr) {
	s.tb.Helper()
	s.Wait("addresses of Service "+namespace+"/"+name, func() error {
		svc, err := s.API.Client.CoreV1().Services(namespace).Get(s.tb.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		vips = nil
		for _, i := range svc.Status.LoadBalancer.Ingress {
			a, err := netip.ParseAddr(i.IP)
			if err != nil {
				return err
			}
			vips = append(vips, a)
		}
		if len(vips) != 2 || !vips[0].Is4() || vips[1].Is4() {
			return fmt.Errorf("it has %v", vips)
		}
		return nil
	})
	return vips
}

// WaitRoutes waits until the router sends packets to a VIP to exactly these LB nodes.
func (s *Site) WaitRoutes(vips []netip.Addr, nodes ...*Node) {
	s.tb.Helper()
	for _, vip := range vips {
		s.Wait(fmt.Sprintf("routes to %s", vip), func() error {
			hops, err := s.routes(vip)
			if err != nil {
				return err
			}
			if len(hops) != len(nodes) {
				return fmt.Errorf("the router has %v", hops)
			}
			for _, n := range nodes {
				if !hops[n.Addr4] && !hops[n.Addr6] {
					return fmt.Errorf("the router has %v, and not %s", hops, n.Name)
				}
			}
			return nil
		})
	}
}

// routes are the next hops in the router's FIB.
func (s *Site) routes(vip netip.Addr) (map[netip.Addr]bool, error) {
	family := "-4"
	if vip.Is6() {
		family = "-6"
	}
	out, err := s.Router.Output("ip", family, "route", "show", netip.PrefixFrom(vip, vip.BitLen()).String())
	if err != nil {
		return nil, err
	}
	hops := map[netip.Addr]bool{}
	words := strings.Fields(out)
	for i, w := range words {
		if w != "via" || i+1 == len(words) {
			continue
		}
		addr, err := netip.ParseAddr(words[i+1])
		if err != nil {
			return nil, errors.New("no next hop in " + out)
		}
		hops[addr] = true
	}
	return hops, nil
}
