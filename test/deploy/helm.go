package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Chart is the chart's directory, of a package in test/.
const Chart = "../../deploy/chart"

// HelmPath is where Helm is, which is built where it is not there yet. That takes minutes once.
var HelmPath = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../hack/helm.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build Helm: hack/helm.sh: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// Helm runs Helm and returns what it prints, on stderr too where it fails. It has no
// repositories and no plugins, whatever the user has.
func Helm(tb testing.TB, stdin string, args ...string) (string, error) {
	tb.Helper()
	bin, err := HelmPath()
	if err != nil {
		tb.Fatal(err)
	}
	home := tb.TempDir()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null")
	for _, name := range []string{"CACHE", "CONFIG", "DATA"} {
		cmd.Env = append(cmd.Env, fmt.Sprintf("HELM_%s_HOME=%s", name, filepath.Join(home, name)))
	}
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), fmt.Errorf("helm %s: %w", args[0], err)
	}
	return stdout.String(), nil
}

// Template renders the chart with values, as YAML, into a namespace.
func Template(tb testing.TB, namespace, values string, args ...string) (string, error) {
	tb.Helper()
	return Helm(tb, values, append([]string{"template", "penstock", Chart, "--namespace", namespace, "--values", "-"}, args...)...)
}
