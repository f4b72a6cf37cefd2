package bgp_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain turns the test binary into a speaker process when a test asks for one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(speakerEnv); dir != "" {
		serveSpeaker(dir)
		return
	}
	goleak.VerifyTestMain(m, serveLoop)
}

// serveLoop is GoBGP's main goroutine, which cannot be ended.
var serveLoop = goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve")
