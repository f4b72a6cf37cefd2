package bfd_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain turns the test binary into a BFD process when a test asks for one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(processEnv); dir != "" {
		serve(dir)
		return
	}
	goleak.VerifyTestMain(m)
}
