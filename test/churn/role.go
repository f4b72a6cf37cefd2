package churn

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// The tool starts itself in the namespaces of pods and of the client: what runs
// there is its own binary with one of these as first argument.
const (
	serveRole = "churn-serve"
	holdRole  = "churn-hold"
)

// Role does what the arguments of the process say, if they name a role, and does not
// return then. Call it first in main and TestMain.
func Role() {
	if len(os.Args) < 2 || os.Args[1] != serveRole && os.Args[1] != holdRole {
		return
	}
	// Two cores for a whole site: less collection for more memory.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := roleOf(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func roleOf(ctx context.Context, role string, args []string) error {
	if role == serveRole {
		drain, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		return serve(ctx, args[0], podPort, drain)
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	var vips []netip.AddrPort
	var clients []netip.Prefix
	for s := range strings.SplitSeq(args[2], ",") {
		vips = append(vips, netip.MustParseAddrPort(s))
	}
	for s := range strings.SplitSeq(args[3], ",") {
		clients = append(clients, netip.MustParsePrefix(s))
	}
	return hold(ctx, args[0], interval, vips, clients)
}
