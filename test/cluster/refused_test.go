package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sceneRefused leads one node through all that keeps an agent of either role from working there, and gives
// the LB nodes a configuration that can't be. Each time the operator is told, and told alike in all
// places; and nothing else suffers.
func (s *Site) sceneRefused() {
	n, other := s.LBs[1], s.LBs[0]
	start := s.begin()
	s.refuseLabelOfNone()
	s.park(n)
	s.mustBeClean(n, s.before[n.Name])
	s.row("LB node without any agent", start, "")

	// An ingress node first.
	n.XDPPass(s.tb, "eth0")
	removeTCX := n.foreignTCX(s.tb)
	if _, err := n.Exec("umount", "/sys/fs/bpf"); err != nil {
		s.tb.Fatal(err)
	}
	foreign := n.mustFootprint(s.tb)
	s.API.Kubectl(s.tb, "", "label", "node", n.Name, tierLabel+"=l7")
	s.waitTold("no bpffs", s.failing(n, "backend"), "is not on a bpf filesystem", "mount -t bpf bpf /sys/fs/bpf")
	s.waitNotReady(n)
	s.mustBeClean(n, foreign)
	s.row("no bpffs told", start, "")
	s.twins()
	if _, err := n.Exec("mount", "-t", "bpf", "bpf", "/sys/fs/bpf"); err != nil {
		s.tb.Fatal(err)
	}
	s.WaitDaemonSet(backendDaemonSet, len(s.Ingress)+1)
	s.row("bpffs mounted, ingress node ready by itself", start, "")
	s.besideForeign(n)

	// Now an LB node. What its ConfigMap says meanwhile the other one refuses while it runs.
	s.mustHelm("upgrade", release, chart, "--reuse-values", "--values", "testdata/overlap.yaml")
	s.API.Kubectl(s.tb, "", "label", "node", n.Name, lbLabel+"=lb")
	overlap := []string{"pool more has addresses in common with", "of pool main (pools[0]); take them out of one"}
	s.waitTold("overlapping pools, at the start", s.failing(n, "lb"), overlap...)
	s.waitNotReady(n)
	s.mustBeClean(n, foreign)
	s.waitTold("overlapping pools, while it runs", s.running(other, "lb", "ConfigRefused"), overlap...)
	s.waitMetric(other, "penstock_config_reload_success 0")
	s.WaitRoutes(s.web, other)
	s.row("refused configuration told", start, "")
	twin := s.startTwin(n)
	s.mustHelm("rollback", release)
	s.waitMetric(other, "penstock_config_reload_success 1")
	s.renew(n)
	s.waitTold("another agent", s.failing(n, "lb"), "is served by a running agent", "role lb")
	s.waitNotReady(n)
	s.row("another agent told", start, "")
	twin()
	s.renew(n)
	s.waitTold("another XDP program", s.running(n, "lb", "AttachFailed"), "another XDP program (ID ", "bpftool net show dev eth0")
	s.waitNotReady(n)
	s.WaitRoutes(s.web, other)
	s.row("another XDP program told", start, "")
	n.Run(s.tb, "ip", "link", "set", "dev", "eth0", "xdpdrv", "off")
	removeTCX()
	s.WaitDaemonSets()
	s.WaitRoutes(s.web, s.LBs...)
	if out, err := s.Check(time.Minute); err != nil {
		s.tb.Errorf("%v\n%s", err, out)
	}
	s.check("bad input told and mended", start, s.load.End(), false)
}

// park takes a node both labels by which agents come, and waits until the last one has left.
func (s *Site) park(n *Node) {
	s.tb.Helper()
	s.API.Kubectl(s.tb, "", "label", "node", n.Name, lbLabel+"-", tierLabel+"-")
	s.Wait("no agent on "+n.Name, func() error {
		list, err := s.API.Client.CoreV1().Pods(system).List(s.tb.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("there is %s", list.Items[0].Name)
		}
		return err
	})
}

// renew has the node's agent start at once, and not when the kubelet next tries.
func (s *Site) renew(n *Node) {
	s.tb.Helper()
	p, err := s.Agent(n)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.API.Kubectl(s.tb, "", "-n", system, "delete", "pod", p.Name)
}

// besideForeign checks that an ingress node works beside programs of others and says so.
func (s *Site) besideForeign(n *Node) {
	s.tb.Helper()
	s.Wait("word of the other XDP program", func() error {
		status, err := s.Penstock(n, "status")
		for _, part := range []string{"another XDP program (ID ", "Ready:     yes"} {
			if err == nil && !strings.Contains(status, part) {
				err = fmt.Errorf("no %q in\n%s", part, status)
			}
		}
		return err
	})
	programs, err := n.tcx()
	if err != nil {
		s.tb.Fatal(err)
	}
	slices.Sort(programs)
	if want := []string{"egress backend_out", "ingress backend_in", "ingress foreign"}; !slices.Equal(programs, want) {
		s.tb.Errorf("eth0 of %s has %q, not %q", n.Name, programs, want)
	}
}

// waitMetric waits for a line of what a node's agent tells Prometheus.
func (s *Site) waitMetric(n *Node, line string) {
	s.tb.Helper()
	s.Wait(line+" of "+n.Name, func() error {
		out, err := n.Exec("curl", "-sS", "http://127.0.0.1:9470/metrics")
		if err == nil && !strings.Contains(out, "\n"+line+"\n") {
			err = fmt.Errorf("not in %s", lineWith(out, strings.Fields(line)[0]+" "))
		}
		return err
	})
}

// twins starts second agents beside those of pods, as units of systemd that were forgotten. They end
// and touch nothing.
func (s *Site) twins() {
	s.tb.Helper()
	for _, n := range []*Node{s.LBs[0], s.Ingress[0]} {
		before := n.mustFootprint(s.tb)
		role := "backend"
		if n == s.LBs[0] {
			role = "lb"
		}
		out, err := n.Exec(s.twin(n, role)...)
		if err == nil || !strings.Contains(err.Error(), "is served by a running agent") || !strings.Contains(err.Error(), "role "+role) {
			s.tb.Errorf("a second agent on %s: %v\n%s", n.Name, err, out)
		}
		s.mustBeAs(n, before)
	}
}

func (s *Site) mustBeAs(n *Node, before footprint) {
	s.tb.Helper()
	after := n.mustFootprint(s.tb)
	if diff := append(after.minus(before), before.minus(after)...); len(diff) > 0 {
		s.tb.Errorf("on %s this has changed:\n%s", n.Name, strings.Join(diff, "\n"))
	}
}

// twin is the command of an agent that is no pod.
func (s *Site) twin(n *Node, role string) []string {
	s.tb.Helper()
	dir := s.tb.TempDir()
	config := fmt.Sprintf("role: %s\nnode: %s\nsource: {kind: manifests, directory: %s}\ndatapath: {interfaces: [eth0]}\nmetrics: {address: \"\"}\n", role, n.Name, dir)
	if role == "lb" {
		config = strings.Replace(config, "eth0]", "eth0], seed: 000102030405060708090a0b0c0d0e0f", 1) + "vips: [198.51.100.0/24]\nbgp: {asn: 64513}\n"
	}
	file := filepath.Join(dir, "penstock.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		s.tb.Fatal(err)
	}
	return []string{s.binary, "agent", "--config", file}
}

// startTwin runs one where no other does, and gives what ends it.
func (s *Site) startTwin(n *Node) (end func()) {
	s.tb.Helper()
	pid, err := n.run("twin", s.twin(n, "lb")...)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.Wait("the second agent", func() error {
		if out, err := n.Exec(s.binary, "status"); out == "" {
			return err
		}
		return nil // whatever it says of itself
	})
	return func() { n.init.Call("Send", Signal{pid, syscall.SIGKILL}) }
}

// refuseLabelOfNone checks that no upgrade makes an end of all LB nodes by a label that no Node has.
func (s *Site) refuseLabelOfNone() {
	s.tb.Helper()
	_, err := s.helm("upgrade", release, chart, "--reuse-values", "--set", "lb.nodeLabel=example.com/penstock=edge")
	if err == nil || !strings.Contains(err.Error(), "which no Node has, and 2 LB nodes serve by another one") {
		s.tb.Fatalf("an upgrade that would drain all LB nodes: %v", err)
	}
}

// sceneBrokenImage upgrades to an image for another kind of machine. It stops at the first node of each
// role, of which the data path goes on, and routers keep the routes.
func (s *Site) sceneBrokenImage() {
	const tag = "foreign"
	tar := foreignMachine(s.tb, filepath.Join(filepath.Dir(s.binary), "helper"), tag)
	for _, n := range s.Nodes() {
		if err := n.Import(tar); err != nil {
			s.tb.Fatal(err)
		}
	}
	start := s.begin()
	s.mustHelm("upgrade", release, chart, "--reuse-values", "--set", "image.tag="+tag)
	for _, role := range []string{"lb", "backend"} {
		n := s.waitBroken(role)
		s.waitTold("image of another machine", told{role, map[string]func() (string, error){
			"kubectl describe pod": func() (string, error) { return s.describeAgent(n) },
			"penstock check":       func() (string, error) { return s.checkOf(n, role) },
		}}, "exec format error")
	}
	if _, err := s.helm("test", release, "--timeout", "15s"); err == nil {
		s.tb.Error("helm test passes")
	}
	s.row("image of another machine told", start, "")
	s.settle(time.Now()) // while the update stands still
	for _, role := range []string{"lb", "backend"} {
		s.waitBroken(role)
	}
	s.WaitRoutes(s.web, s.LBs...)
	s.check("upgrade to a broken image", start, s.load.End(), false)
	start = s.begin()
	s.mustHelm("rollback", release)
	s.WaitDaemonSets()
	s.WaitRoutes(s.web, s.LBs...)
	s.mustHelm("test", release) // which takes away what the failed one left
	s.check("rolled back", start, s.load.End(), false)
}

// waitBroken waits until exactly one agent of a role is not ready, and that is of the newest version.
func (s *Site) waitBroken(role string) (at *Node) {
	s.tb.Helper()
	s.Wait("the update of role "+role+" to stop at the first node", func() error {
		d, err := s.API.Client.AppsV1().DaemonSets(system).Get(s.tb.Context(), "penstock-"+role, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if st := d.Status; st.ObservedGeneration != d.Generation || st.UpdatedNumberScheduled != 1 || st.NumberUnavailable != 1 {
			return fmt.Errorf("%d updated, %d unavailable", st.UpdatedNumberScheduled, st.NumberUnavailable)
		}
		at = nil
		for _, p := range s.podsOf(system, "app.kubernetes.io/component="+role) {
			if podReady(p) || p.DeletionTimestamp != nil {
				continue
			}
			for _, n := range s.Nodes() {
				if n.Name == p.Spec.NodeName {
					at = n
				}
			}
		}
		if at == nil {
			return fmt.Errorf("all pods are ready")
		}
		return nil
	})
	return at
}
