package bfd_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/test/fixture"
)

// TestMain turns the test binary into a BFD process when a test asks for one.
func TestMain(m *testing.M) {
	fixture.ServeSelf(&Remote{ended: make(chan error, 1)})
	goleak.VerifyTestMain(m)
}
