//go:debug multipathtcp=0

// Command penstock is the load balancer's one binary: the agent that runs on
// each node, and the command line that asks it.
//
// Multipath TCP is off, because the kernel gives no MD5 signature (RFC 2385) to
// a listening socket that could become one, and BGP peers want it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/agent/system"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once; see endAtOnce for the agent
	os.Exit(run(ctx, os.Args[1:], env{
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		now:      time.Now,
		pinned:   system.Pinned,
		cleanup:  cleanupAll,
		openView: openPinned,
	}))
}
