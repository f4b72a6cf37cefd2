package cluster

import (
	"os/exec"
	"strings"
)

// helm runs Helm against the cluster, for the chart of this tree.
func (s *Site) helm(args ...string) (string, error) {
	path, err := exec.Command("../../hack/helm.sh").Output()
	if err != nil {
		return "", err
	}
	home := s.tb.TempDir()
	argv := []string{"env"}
	for _, name := range []string{"CACHE", "CONFIG", "DATA"} {
		argv = append(argv, "HELM_"+name+"_HOME="+home)
	}
	argv = append(argv, strings.TrimSpace(string(path)), "--kubeconfig", s.API.Kubeconfig, "--namespace", system)
	return s.Hub.Output(append(argv, args...)...)
}

// mustHelm is helm where an error ends the test.
func (s *Site) mustHelm(args ...string) {
	s.tb.Helper()
	if out, err := s.helm(args...); err != nil {
		s.tb.Fatalf("%v\n%s", err, out)
	}
}

const chart, release = "../../deploy/chart", "penstock"

// Install installs Penstock as deploy/README.md says, and waits until all its pods are ready.
func (s *Site) Install() {
	s.tb.Helper()
	s.mustHelm("install", release, chart, "--create-namespace", "--values", "testdata/values.yaml", "--wait", "--timeout", "2m")
	s.WaitDaemonSets()
}

// Upgrade has Penstock run from another image.
func (s *Site) Upgrade(tag string) {
	s.tb.Helper()
	s.mustHelm("upgrade", release, chart, "--reuse-values", "--set", "image.tag="+tag)
	s.WaitDaemonSets()
}

// Uninstall removes Penstock from the cluster.
func (s *Site) Uninstall() {
	s.tb.Helper()
	s.mustHelm("uninstall", release, "--wait", "--timeout", "6m")
}
