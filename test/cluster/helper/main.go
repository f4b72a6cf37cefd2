// Command helper is what the test's containers run: one static binary for pods that
// only have to be there.
//
//	helper pause    holds a Pod's namespaces and reaps what ends in them
//	helper echo     answers on HTTP and raw TCP, see echo.go
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	role := ""
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	var err error
	switch role {
	case "pause":
		pause()
	case "echo":
		err = echo()
	default:
		err = fmt.Errorf("usage: helper pause|echo")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
