package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binaries returns the directory with the programs server and kubectl, which it builds where
// they are not up to date. That takes minutes once, more than go test's default limit may
// leave: hack/test.sh does it before.
var Binaries = sync.OnceValues(func() (string, error) {
	root, err := root()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(root, "hack/kubetest.sh"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the API server: hack/kubetest.sh: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// root is the directory of the main module. Tests run in their package's directory.
func root() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test/kube/server/go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			break
		}
	}
	return "", fmt.Errorf("no test/kube/server above the working directory: %w", err)
}
