package bgp_test

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-lb/penstock/test/fixture"
)

// TestMain turns the test binary into a speaker process when a test asks for one.
func TestMain(m *testing.M) {
	fixture.ServeSelf(&Remote{ended: make(chan error, 1)})
	flag.Parse()
	moreAtOnce()
	goleak.VerifyTestMain(m, ofGoBGP...)
}

// moreAtOnce has more tests run side by side than there are processors, unless -parallel says how many:
// sessions wait for most of their time.
func moreAtOnce() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0)))) // a number is no error
	}
}

// ofGoBGP are goroutines that it does not end: its main one, and the queue of a session attempt that
// ended while a message came in, which nobody takes out any more.
var ofGoBGP = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve"),
	goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"),
}
