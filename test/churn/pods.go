package churn

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// grace is a pod's between deletion and SIGKILL. Within the first two thirds its flows
// are asked to close, one after the other.
const grace = 9 * time.Second

// add makes pods, each on the ingress node with the fewest, and starts their servers. They are
// listed, and not ready.
func (s *Site) add(n int) []*lab.Pod {
	s.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	var pods []*lab.Pod
	for range n {
		name := fmt.Sprintf("pod%d", s.made+1)
		p := s.Ingress[s.made%len(s.Ingress)].NewPod(s.tb, name)
		s.made++
		p.Begin(time.Now())
		s.servers[p] = p.Start(s.tb, self, serveRole, name, (grace * 2 / 3).String())
		fixture.Wait(s.tb, 20*time.Second, "the server of "+name, func() error {
			out, err := p.Output("ss", "-Hltn", fmt.Sprintf("sport = :%d", podPort))
			if err == nil && out == "" {
				err = fmt.Errorf("does not listen")
			}
			return err
		})
		s.cluster.Pods = append(s.cluster.Pods, p)
		pods = append(pods, p)
	}
	return pods
}

// scale adds n pods that become ready at once.
func (s *Site) scale(n int) []*lab.Pod {
	s.tb.Helper()
	pods := s.add(n)
	for _, p := range pods {
		p.SetReady(true, time.Now())
		s.note("%s on %s becomes ready", p.Name, p.Node.Name)
	}
	s.apply()
	return pods
}

// setReady changes a pod's readiness, as a probe does that the pod does not notice.
func (s *Site) setReady(p *lab.Pod, ready bool) {
	s.note("%s becomes ready: %t", p.Name, ready)
	p.SetReady(ready, time.Now())
	s.apply()
}

// weigh gives a pod a weight.
func (s *Site) weigh(p *lab.Pod, weight int) {
	s.note("%s has weight %d", p.Name, weight)
	p.Weight = weight
	s.apply()
}

// remove begins a pod's termination, which ends after its grace.
func (s *Site) remove(p *lab.Pod) {
	s.tb.Helper()
	now := time.Now()
	s.note("%s is to terminate", p.Name)
	p.Delete(now, grace)
	s.apply()
	if err := s.servers[p].Signal(syscall.SIGTERM); err != nil {
		s.tb.Fatalf("SIGTERM for %s: %v", p.Name, err)
	}
	s.ends = append(s.ends, end{p, now.Add(grace)})
}

// expire kills the pods whose grace is over.
func (s *Site) expire() {
	now := time.Now()
	for len(s.ends) > 0 && !s.ends[0].at.After(now) {
		p := s.ends[0].pod
		s.ends = s.ends[1:]
		s.note("%s is killed", p.Name)
		s.gone[p.Name] = now
		s.servers[p].Stop(s.tb, syscall.SIGKILL)
		delete(s.servers, p)
		if err := s.holder.killed(p.Name); err != nil {
			s.tb.Fatalf("%v", err)
		}
		s.cluster.Pods = slices.DeleteFunc(s.cluster.Pods, func(other *lab.Pod) bool { return other == p })
		s.apply()
	}
}

// living are the pods that are not terminating.
func (s *Site) living() []*lab.Pod {
	return slices.DeleteFunc(slices.Clone(s.cluster.Pods), func(p *lab.Pod) bool { return p.Terminating() })
}

// waitGone lets time pass until no pod is terminating.
func (s *Site) waitGone() {
	for len(s.ends) > 0 {
		s.Pass(100 * time.Millisecond)
	}
}

// apply tells the balancer what the cluster is now.
func (s *Site) apply() { s.balancer.follow() }
