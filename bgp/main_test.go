package bgp_test

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// TestMain turns the test binary into a speaker process when a test asks for one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(speakerEnv); dir != "" {
		serveSpeaker(dir)
		return
	}
	// Sessions wait for most of their time, so more of them run at once than there are processors.
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if err := parallel.Value.Set(strconv.Itoa(max(8, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, serveLoop)
}

// serveLoop is GoBGP's main goroutine, which cannot be ended.
var serveLoop = goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve")
