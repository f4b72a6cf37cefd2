package churn

import (
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/lab"
)

// Scenario is something that happens to a site.
type Scenario struct {
	Name string
	// LBs that are up and Pods that are ready at the beginning.
	LBs, Pods int
	// Displaces says that it moves flows to other LB nodes or rows to other pods.
	Displaces bool
	// Penstock says that there is nothing to do to a control without agents.
	Penstock bool
	act      func(*Site)
}

// Scenarios are in the order of the issue. LB nodes and pods are numbered from 0.
var Scenarios = []Scenario{
	{Name: "LB node killed", LBs: 2, Pods: 6, act: func(s *Site) {
		s.kill(0)
		s.Pass(3 * time.Second)
	}},
	{Name: "LB node hangs", LBs: 2, Pods: 6, act: func(s *Site) {
		s.hang(0)
		s.Pass(6 * time.Second)
	}},
	{Name: "LB node joins", LBs: 2, Pods: 6, act: func(s *Site) {
		s.join(2)
		s.balancer.await()
		s.Pass(3 * time.Second)
	}},
	{Name: "killed and joins with rehash", LBs: 2, Pods: 6, act: func(s *Site) {
		s.join(2)
		s.kill(0)
		s.rehash()
		s.balancer.await()
		s.rehash()
		s.Pass(3 * time.Second)
	}},
	{Name: "pods 3 to 30 one by one", LBs: 2, Pods: 3, Displaces: true, act: func(s *Site) {
		for range 27 {
			s.scale(1)
			s.Pass(500 * time.Millisecond)
		}
		s.balancer.await()
		s.rehash()
		s.Pass(2 * time.Second)
	}},
	{Name: "rolling replacement", LBs: 2, Pods: 6, Displaces: true, act: func(s *Site) {
		s.roll(s.living())
		s.waitGone()
	}},
	{Name: "scale-in with draining", LBs: 2, Pods: 9, Displaces: true, act: func(s *Site) {
		for _, p := range s.living()[3:] {
			s.remove(p)
			s.Pass(time.Second)
		}
		s.rehash()
		s.waitGone()
	}},
	{Name: "readiness flaps", LBs: 2, Pods: 6, Displaces: true, act: func(s *Site) {
		for range 12 {
			s.flap(time.Second)
		}
		s.rehash()
	}},
	{Name: "weights change", LBs: 2, Pods: 6, Displaces: true, act: func(s *Site) {
		for i, weight := range []int{5, 1, 10, 2, 7, 3, 1, 4} {
			s.weigh(s.living()[i%6], weight)
			s.Pass(time.Second)
		}
		s.rehash()
		s.Pass(time.Second)
	}},
	{Name: "all of these and an LB dies amid", LBs: 2, Pods: 6, Displaces: true, act: all},
	{Name: "LB node's agent crashes", LBs: 2, Pods: 6, Displaces: true, Penstock: true, act: func(s *Site) {
		s.restartAgent(&s.LBs[0].Host, syscall.SIGKILL, func() {
			s.scale(2)
			s.Pass(2 * time.Second)
			s.rehash()
		})
		s.Pass(2 * time.Second)
	}},
	{Name: "ingress node's agent crashes", LBs: 2, Pods: 6, Displaces: true, Penstock: true, act: func(s *Site) {
		s.restartAgent(&s.Ingress[0].Host, syscall.SIGKILL, func() {
			s.scale(3)
			s.Pass(2 * time.Second)
			s.balancer.await()
			s.rehash()
		})
		s.Pass(2 * time.Second)
	}},
	{Name: "ingress node's agent restarts", LBs: 2, Pods: 6, Penstock: true, act: func(s *Site) {
		for _, g := range s.Ingress {
			s.restartAgent(&g.Host, syscall.SIGTERM, func() {})
		}
		s.Pass(2 * time.Second)
	}},
	{Name: "source gone", LBs: 2, Pods: 6, Penstock: true, act: func(s *Site) {
		s.sourceGone(func() {
			s.kill(0)
			s.Pass(3 * time.Second)
			s.restartAgent(&s.LBs[1].Host, syscall.SIGKILL, func() {})
			s.Pass(3 * time.Second)
		})
	}},
}

// all mixes everything, and an LB node dies in the middle while another one joins.
// The agents hear of it at different times, but of a new pod before flows are moved:
// one that was opened there can break on a node that has not heard (README, Limits),
// and an agent may be late by seconds where others take its processors.
func all(s *Site) {
	s.skew = 200 * time.Millisecond
	s.weigh(s.living()[1], 3)
	s.scale(6)
	old := s.living()[:4]
	s.flap(time.Second)
	s.roll(old[:2])
	s.balancer.await()
	s.kill(0)
	s.weigh(s.living()[0], 4)
	s.flap(time.Second)
	s.roll(old[2:])
	s.join(2)
	for _, p := range s.living()[:3] {
		s.remove(p)
		s.flap(500 * time.Millisecond)
	}
	s.balancer.await()
	s.scale(2)
	s.Pass(2 * time.Second)
	s.balancer.await()
	s.rehash()
	s.balancer.await()
	s.waitGone()
}

// roll replaces pods one after the other: a new one becomes ready, then the old one goes.
func (s *Site) roll(pods []*lab.Pod) {
	s.tb.Helper()
	for _, p := range pods {
		s.scale(1)
		s.Pass(time.Second)
		s.remove(p)
		s.Pass(500 * time.Millisecond)
	}
}

// flap makes a pod at random not ready for a while. Its flows go on.
func (s *Site) flap(d time.Duration) {
	pods := s.living()
	p := pods[s.rand.IntN(len(pods))]
	s.setReady(p, false)
	s.Pass(d)
	s.setReady(p, true)
	s.Pass(d / 2)
}

// rehash gives the router another seed for ECMP, which moves flows between LB nodes.
func (s *Site) rehash() {
	s.tb.Helper()
	s.note("the router hashes anew")
	const key = "net.ipv4.fib_multipath_hash_seed" // of both families, from Linux 6.11
	if _, err := os.Stat("/proc/sys/net/ipv4/fib_multipath_hash_seed"); err == nil {
		s.Router.Sysctl(s.tb, key, "0x"+string("123456789abcdef"[s.rand.IntN(15)]))
	}
	s.Pass(1500 * time.Millisecond)
}

// hang makes an LB node silent without taking its link down, so that the router finds
// out by BGP's hold time. For a control its routes go after the same time.
func (s *Site) hang(lb int) {
	s.tb.Helper()
	device := s.LBs[lb].Name
	s.Router.Run(s.tb, "nft", "add table inet hang; "+
		"add chain inet hang f { type filter hook forward priority 0; }; add rule inet hang f meta oifname "+device+" drop; "+
		"add chain inet hang o { type filter hook output priority 0; }; add rule inet hang o meta oifname "+device+" drop; "+
		"add chain inet hang i { type filter hook prerouting priority -300; }; add rule inet hang i meta iifname "+device+" drop")
	s.up[lb] = false
	if control, ok := s.balancer.(*nftBalancer); ok {
		s.Pass(3 * time.Second)
		control.routes()
	}
}

// sourceGone takes the manifests of all agents away while f runs.
func (s *Site) sourceGone(f func()) {
	s.tb.Helper()
	move := func(from, to string) {
		for _, h := range s.Hosts() {
			if err := os.Rename(h.Manifests()+from, h.Manifests()+to); err != nil {
				s.tb.Fatalf("%v", err)
			}
		}
	}
	move("", ".away")
	f()
	move(".away", "")
}

// ScenarioNamed finds one of Scenarios.
func ScenarioNamed(name string) (Scenario, bool) {
	return find(Scenarios, func(s Scenario) bool { return s.Name == name })
}

// ModeNamed finds one of Modes.
func ModeNamed(name string) (Mode, bool) {
	return find(Modes, func(m Mode) bool { return m.Name == name })
}

func find[T any](all []T, is func(T) bool) (found T, ok bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return found, false
}
