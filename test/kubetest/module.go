package kubetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// ModuleDir is where the files of a Go module are, such as the CustomResourceDefinitions of a project,
// which ours need not depend on. module has its version: path@v1.2.3.
func ModuleDir(tb testing.TB, module string) string {
	tb.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // outside of our module
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.Output()
	var m struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	if err != nil {
		tb.Fatalf("download %s: %v\n%s", module, err, out)
	}
	return m.Dir
}
