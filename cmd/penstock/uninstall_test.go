package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/kube"
)

func TestUninstallWithoutACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	code, _, stderr := call(t, testNode(), true, "uninstall")
	if code != exitError || !strings.Contains(stderr, "KUBERNETES_SERVICE_HOST is not set") || !strings.Contains(stderr, "--kubeconfig") {
		t.Errorf("%d, %q", code, stderr)
	}
	if code, _, stderr := call(t, testNode(), true, "uninstall", "--timeout", "0s"); code != exitUsage || !strings.Contains(stderr, "write a time above 0") {
		t.Errorf("%d, %q", code, stderr)
	}
}

func TestUncleanNodes(t *testing.T) {
	var out bytes.Buffer
	c := &cli{env: env{stdout: &out}}
	c.printUnclean(nil)
	if out.Len() > 0 {
		t.Errorf("of no node it says %q", out.String())
	}
	c.printUnclean([]kube.Unclean{{Node: "lb1", Why: "its agent's pod p has not ended in 5m0s"}})
	for _, part := range []string{"lb1: its agent's pod p has not ended", "penstock cleanup --bpffs /host/sys/fs/bpf/penstock", "kubectl debug node/NODE"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("it does not say %q:\n%s", part, out.String())
		}
	}
}
