package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo runs the whole demo, which checks each of its steps and that nothing is
// left of it.
func TestDemo(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "penstock")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/penstock").CombinedOutput(); err != nil {
		t.Fatalf("build penstock: %v\n%s", err, out)
	}
	var out strings.Builder
	name := fmt.Sprintf("penstock-demo-%d", os.Getpid())
	if err := run(t.Context(), []string{"-penstock", binary, "-name", name, "run"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}
